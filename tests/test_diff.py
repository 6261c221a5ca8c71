"""A comparison of two runs names what is different, from digests and answers and never by a guess; its parts sum to
the whole; a run against itself is nothing; the other way round everything has the other sign."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import cache

import jsonschema
import numpy as np
import pytest
from helpers import ROOT, make_audits, make_round, score_table
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.diff.build import build_diff, share
from harness.diff.causes import Kind
from harness.diff.match import match
from harness.diff.parts import MICRO, Part, in_micro
from harness.diff.rows import core_of
from harness.publish.evidence import Evidence
from harness.records import Role
from harness.round import Unavailable
from harness.scoring import NO_ANSWER, POLICIES, UNKNOWN

SCHEMA = json.loads((ROOT / "harness/diff/diff.schema.json").read_text())
RULES = sorted(POLICIES)
RANKINGS = {"defenses": Role.DEFENSE, "attacks": Role.ATTACK, "targeted_attacks": Role.TARGETED_ATTACK}


@cache
def validator():
    return jsonschema.Draft202012Validator(SCHEMA)


def compare(before, after, rules=None):
    """The comparison, once it is known to be plain JSON of the published form."""
    diff = json.loads(json.dumps(build_diff(before, after, rules), allow_nan=False))
    validator().validate(diff)
    for one in (one for key in RANKINGS for one in diff[key] if one["status"] == "both"):
        assert sum(round(value * MICRO) for value in one["parts"].values()) == round(one["change"] * MICRO)
    return diff


def evidence(table, rules="fair", provenance=None, **round_fields):
    """What a run leaves: every attack wrote an image of its own for each cell, unless `change` says otherwise."""
    audits = make_audits(table)
    for place in np.ndindex(audits.digests.shape):
        attack, epsilon, image = place
        audits.digests[place] = f"{table.attacks[attack]} {table.epsilons[epsilon]} {table.images[image]}"
    round_ = replace(make_round(table), rules=rules, **round_fields)
    return Evidence(round_, table, audits, (), provenance or {})


def table(images=6, *, attacks=2, defenses=2, seed=1, **fields):
    """Random answers of three classes; the last attack is targeted."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(1, 4, (attacks, 1, defenses, images))
    fields = {"clean": np.ones((defenses, images)), "untargeted": attacks - 1, "target": [2] * images} | fields
    return score_table(labels, **fields)


def kinds(diff):
    return [cause["kind"] for cause in diff["causes"]]


def cause(diff, kind):
    return next(cause for cause in diff["causes"] if cause["kind"] == kind)


def row(diff, name):
    return next(row for key in RANKINGS for row in diff[key] if row["name"] == name)


def parts(diff, name):
    """Those that are not nothing."""
    return {part: value for part, value in row(diff, name)["parts"].items() if value}


def only(table, *, attacks=None, defenses=None, images=None):
    """The table without the others, by positions."""
    attacks = list(range(len(table.attacks))) if attacks is None else attacks
    defenses = list(range(len(table.defenses))) if defenses is None else defenses
    images = list(range(len(table.images))) if images is None else images
    pick = lambda names, which: tuple(names[one] for one in which)  # noqa: E731
    return replace(
        table,
        attacks=pick(table.attacks, attacks),
        untargeted=sum(one < table.untargeted for one in attacks),
        defenses=pick(table.defenses, defenses),
        images=pick(table.images, images),
        labels=table.labels[np.ix_(attacks, range(len(table.epsilons)), defenses, images)],
        valid=table.valid[np.ix_(attacks, range(len(table.epsilons)), images)],
        clean=table.clean[np.ix_(defenses, images)],
        true_labels=table.true_labels[images],
        target_classes=table.target_classes[images],
    )


def with_entry(evidence, name, /, **fields):
    """One submission's entry in the round, changed."""
    round_ = evidence.round
    change = lambda entries: tuple(replace(one, **fields) if one.name == name else one for one in entries)  # noqa: E731
    return replace(evidence, round=replace(round_, attacks=change(round_.attacks), defenses=change(round_.defenses)))


def shares(table):
    """Normalised scores by name, counted here: the defenses' and the untargeted attacks', under `fair`."""
    correct = table.labels == table.true_labels
    fooled = (table.labels >= 0) & ~correct
    found = {name: correct[:, :, number].mean() for number, name in enumerate(table.defenses)}
    return found | {name: fooled[number].mean() for number, name in enumerate(table.attacks[: table.untargeted])}


# --- nothing


def test_a_run_against_itself_is_nothing():
    one = evidence(table())
    diff = compare(one, one)
    assert diff["moved"] == {"rank": False, "score": False, "significant": False, "any": False}
    assert diff["causes"] == []
    assert all(not parts(diff, row["name"]) for key in RANKINGS for row in diff[key])
    assert diff["shared"] == {
        "images": 6, "only_before": 0, "only_after": 0, "other_pixels": 0, "other_true_labels": 0,
        "other_target_classes": 0,
    }  # fmt: skip


# --- each cause


def test_a_submission_that_came_or_went_moves_its_opponents_scores():
    whole = table(attacks=3)
    less = only(whole, attacks=[0, 2])
    diff = compare(evidence(less), evidence(whole))
    assert kinds(diff) == ["added"]
    assert cause(diff, "added")["submissions"] == [{"type": "attack", "name": "a1"}]
    assert row(diff, "a1")["status"] == "added"
    expected = shares(whole)["d0"] - shares(less)["d0"]
    assert parts(diff, "d0") == pytest.approx({"opponents": expected}, abs=1e-6)
    assert row(diff, "d0")["like_with_like"]["difference"] == 0
    assert parts(diff, "a0") == {}
    gone = compare(evidence(whole), evidence(less))
    assert kinds(gone) == ["removed"]
    assert row(gone, "a1")["status"] == "removed"
    assert diff["moved"]["rank"]
    assert not diff["moved"]["significant"]


def test_other_code_under_the_same_name_is_told_and_blamed():
    before = evidence(table())
    changed = table()
    changed.labels[:, 0, 0, :3] = 1
    changed.labels[:, 0, 0, 3:] = 2
    after = with_entry(evidence(changed), "d0", submission="e" * 64, player="another player")
    diff = compare(before, after)
    assert kinds(diff) == ["code"]
    assert cause(diff, "code") | {"kind": "code"} == {
        "kind": "code",
        "before": "submission of d0",
        "after": "e" * 64,
        "submissions": [{"type": "defense", "name": "d0"}],
    }
    assert parts(diff, "d0") == pytest.approx({"own": shares(changed)["d0"] - shares(before.table)["d0"]}, abs=1e-6)
    assert set(parts(diff, "a0")) <= {"opponents_changed"}
    assert row(diff, "d0")["own"]["differs_in"] == "code"
    assert row(diff, "d0")["own"]["changed"] > 0
    assert row(diff, "d0")["own"]["by_chance"] == 0
    assert row(diff, "d1")["parts"] == dict.fromkeys(Part, 0)


def test_an_attack_with_other_code_is_blamed_for_what_its_images_did():
    before, changed = evidence(table()), table()
    changed.labels[0] = 3
    after = with_entry(evidence(changed), "a0", submission="e" * 64, player="other", units=(("other",),))
    after.audits.digests[0] = [[f"another {image}" for image in changed.images]]
    diff = compare(before, after)
    assert kinds(diff) == ["code"]
    assert set(parts(diff, "a0")) == {"own"}
    assert set(parts(diff, "d0")) == {"opponents_changed"}
    assert row(diff, "a0")["own"] | {"submission": 0, "container": 0, "failed_calls": 0} == {
        "differs_in": "code", "submission": 0, "container": 0, "compared": 6, "changed": 6, "by_chance": 0,
        "failed_calls": 0,
    }  # fmt: skip


def test_where_both_sides_changed_nobody_is_blamed():
    """The attack wrote another image and the defense is another player: its old answer to the new image is unknown."""
    before, changed = evidence(table()), table()
    changed.labels[0, :, 0] = 3 - (table().labels[0, :, 0] == 3)
    after = with_entry(evidence(changed), "d0", player="other")
    after.audits.digests[0] = [[f"another {image}" for image in changed.images]]
    diff = compare(before, after)
    assert set(parts(diff, "d0")) == {"both_changed"}
    assert set(parts(diff, "a0")) == {"both_changed"}


def test_another_answer_to_the_same_image_by_the_same_player_is_chance():
    before, changed = evidence(table()), table()
    changed.labels[0, 0, 0, 0] = 1 + changed.labels[0, 0, 0, 0] % 3
    diff = compare(before, evidence(changed))
    assert kinds(diff) == ["chance"]
    assert cause(diff, "chance")["submissions"] == [{"type": "defense", "name": "d0"}]
    own = row(diff, "d0")["own"]
    assert (own["differs_in"], own["compared"], own["changed"], own["by_chance"]) == (None, 6 + 2 * 6, 1, 1)


def test_another_image_from_the_same_call_is_chance_and_from_another_call_is_none():
    before, after = evidence(table()), evidence(table())
    after.audits.digests[0, 0, 0] = "written otherwise"
    diff = compare(before, after)
    assert kinds(diff) == ["chance"]
    assert row(diff, "a0")["own"]["by_chance"] == 1
    other_call = with_entry(after, "a0", units=(("other batch",),))
    assert kinds(compare(before, other_call)) == []
    assert row(compare(before, other_call), "a0")["own"]["changed"] == 1


def test_the_same_submission_in_another_container():
    noted = [{"name": "d0", "type": "defense", "digest": "d", "container": "process:1"}]
    other = [{"name": "d0", "type": "defense", "digest": "d", "container": "process:2"}]
    before = evidence(table(), provenance={"submissions": noted})
    after = with_entry(evidence(table(), provenance={"submissions": other}), "d0", player="other")
    diff = compare(before, after)
    assert kinds(diff) == ["container"]
    assert (cause(diff, "container")["before"], cause(diff, "container")["after"]) == ("process:1", "process:2")
    assert row(diff, "d0")["own"]["differs_in"] == "container"


def test_another_player_of_the_same_code_and_container_plays_under_other_conditions():
    diff = compare(evidence(table()), with_entry(evidence(table(), seed=7), "a0", player="other"))
    assert kinds(diff) == ["conditions", "seed"]
    assert cause(diff, "conditions")["submissions"] == [{"type": "attack", "name": "a0"}]
    assert (cause(diff, "seed")["before"], cause(diff, "seed")["after"]) == (1, 7)
    assert diff["moved"] == {"rank": False, "score": False, "significant": False, "any": True}


def test_a_new_name_for_the_same_submission_is_no_new_submission():
    after = with_entry(evidence(table()), "d0", name="zebra")
    after = replace(after, table=replace(after.table, defenses=("zebra", "d1")))
    diff = compare(evidence(table()), after)
    assert kinds(diff) == ["renamed"]
    assert row(diff, "zebra")["renamed_from"] == "d0"
    assert parts(diff, "zebra") == {}
    assert not diff["moved"]["score"]


def test_images_are_compared_by_their_pixels():
    whole = table(8)
    before, after = evidence(only(whole, images=range(6))), evidence(only(whole, images=range(2, 8)))
    diff = compare(before, after)
    assert kinds(diff) == ["images"]
    assert diff["shared"] | {"images": 4, "only_before": 2, "only_after": 2} == diff["shared"]
    assert set(parts(diff, "d0")) <= {"images"}
    assert row(diff, "d0")["like_with_like"]["images"] == 4
    assert row(diff, "d0")["like_with_like"]["difference"] == 0
    assert row(diff, "d0")["change"] == pytest.approx(shares(after.table)["d0"] - shares(before.table)["d0"], abs=2e-6)


def test_the_same_id_with_other_pixels_is_another_image():
    before, after = evidence(table()), evidence(table())
    images = (replace(after.round.images[0], clean="other pixels"), *after.round.images[1:])
    diff = compare(before, replace(after, round=replace(after.round, images=images)))
    assert kinds(diff) == ["images"]
    assert (diff["shared"]["images"], diff["shared"]["other_pixels"]) == (5, 1)


def test_another_order_of_the_images_moves_nothing_else():
    whole = table()
    turned = only(whole, images=list(range(6))[::-1])
    diff = compare(evidence(whole), evidence(turned))
    assert kinds(diff) == ["images"]
    assert diff["shared"]["images"] == 6
    assert not diff["moved"]["score"]


def test_other_labels_of_the_same_images():
    before = evidence(table())
    after = evidence(table(true=[3, 1, 1, 1, 1, 1], target=[2, 2, 2, 2, 2, 3]))
    diff = compare(before, after)
    assert kinds(diff) == ["labels"]
    assert (diff["shared"]["other_true_labels"], diff["shared"]["other_target_classes"]) == (1, 1)
    assert set(parts(diff, "d0")) | set(parts(diff, "a0")) == {"labels"}


def test_another_label_space():
    before = evidence(table())
    after = replace(before, round=replace(before.round, labels=before.round.labels.model_copy(update={"space": "x"})))
    assert kinds(compare(before, after)) == ["label_space"]


def test_other_rules():
    holes = table()
    holes.labels[0, 0, 0, :2] = NO_ANSWER
    before, after = evidence(holes), evidence(holes, "nips17-dev")
    diff = compare(before, after)
    assert kinds(diff) == ["rules"]
    assert set(parts(diff, "a0")) == {"rules"}
    assert parts(diff, "a0")["rules"] == pytest.approx(2 / 12, abs=1e-6)
    alike = compare(before, after, rules="fair")
    assert kinds(alike) == []
    assert not alike["moved"]["any"]


def test_rules_under_which_an_incomplete_attack_counts_for_nobody():
    some = table(valid=np.arange(12).reshape(2, 1, 6) > 0)
    diff = compare(evidence(some), evidence(some, "nips17-final"))
    assert kinds(diff) == ["rules"]
    assert set(parts(diff, "d0")) <= {"rules"}


def test_other_budgets():
    generator = np.random.default_rng(3)
    labels = generator.integers(1, 3, (1, 2, 2, 5))
    both = score_table(labels)
    one = replace(both, epsilons=("5",), labels=labels[:, 1:], valid=both.valid[:, 1:])
    diff = compare(evidence(one), evidence(both))
    assert kinds(diff) == ["epsilons"]
    assert (cause(diff, "epsilons")["before"], cause(diff, "epsilons")["after"]) == (["5"], ["4", "5"])
    assert set(parts(diff, "d0")) <= {"epsilons"}
    assert row(diff, "d0")["like_with_like"]["difference"] == 0


def test_answers_that_are_not_known():
    hole = table()
    hole.labels[0, 0, 0, 0], hole.true_labels[0] = UNKNOWN, table().labels[0, 0, 0, 0]
    whole = table(true=hole.true_labels)
    diff = compare(evidence(hole), evidence(whole))
    assert kinds(diff) == ["holes"]
    assert (cause(diff, "holes")["before"], cause(diff, "holes")["after"]) == (1, 0)
    assert parts(diff, "d0") == pytest.approx({"holes": 1 / 12}, abs=1e-6)
    assert not diff["before"]["complete"]


def test_who_is_unavailable_on_one_side():
    left_out = Unavailable("x", Role.DEFENSE, "its weights are nowhere", "harness weights fetch x")
    before, after = evidence(table()), evidence(table(), unavailable=(left_out,))
    assert cause(compare(before, after), "unavailable") == {
        "kind": "unavailable",
        "before": None,
        "after": "its weights are nowhere",
        "submissions": [{"type": "defense", "name": "x"}],
    }
    assert kinds(compare(after, after)) == []


NOTED = {
    "harness": "1", "sandbox": "process", "versions_per_call": "1", "packages": {"numpy": "2.1"},
    "machine": {"host": "a", "system": "Linux-1", "python": "3.11", "cores": 2, "memory": 5},
    "limits": {"seconds": 5.0, "memory": 1, "cpus": None, "pids": 1, "output": 1, "gpu_memory": None},
    "slots": [{"cores": [0], "gpu": None}], "submissions": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changed", "before", "after"),
    [
        ("limits", {"limits": NOTED["limits"] | {"seconds": 9.0}}, NOTED["limits"], NOTED["limits"] | {"seconds": 9.0}),
        ("versions_per_call", {"versions_per_call": "all"}, "1", "all"),
        ("sandbox", {"sandbox": "docker"}, "process", "docker"),
        ("versions", {"packages": {"numpy": "2.2"}}, {"numpy": "2.1"}, {"numpy": "2.2"}),
        ("versions", {"harness": "2"}, {"harness": "1"}, {"harness": "2"}),
        ("machine", {"machine": NOTED["machine"] | {"cores": 4}}, {"cores": 2}, {"cores": 4}),
        ("machine", {"slots": [{"cores": [0], "gpu": "GPU-1"}]}, {"gpu": False}, {"gpu": True}),
    ],
)
def test_what_the_runs_noted_of_themselves(kind, changed, before, after):
    diff = compare(evidence(table(), provenance=NOTED), evidence(table(), provenance=NOTED | changed))
    assert diff["causes"] == [{"kind": kind, "before": before, "after": after, "submissions": []}]


@pytest.mark.parametrize(
    "changed",
    [
        {"machine": NOTED["machine"] | {"host": "b"}},
        {"began": "later"},
        {"seconds": 99.0},
        {"limits": None},
        {"sandbox": ""},
        {"slots": []},
    ],
    ids=str,
)
def test_clocks_and_hosts_and_what_was_not_noted_are_no_difference(changed):
    diff = compare(evidence(table(), provenance=NOTED), evidence(table(), provenance=NOTED | changed))
    assert diff["causes"] == []


def test_another_batch_size():
    one = evidence(table())
    assert kinds(compare(one, replace(one, round=replace(one.round, batch_size=9)))) == ["batch_size"]


def test_the_same_change_of_many_is_one_cause():
    after = evidence(table())
    for name in ("a0", "a1", "d0", "d1"):
        after = with_entry(after, name, player=f"other {name}")
    diff = compare(evidence(table()), after)
    assert kinds(diff) == ["conditions"]
    assert len(diff["causes"][0]["submissions"]) == 4


def test_every_kind_is_described_and_in_the_schema():
    assert SCHEMA["$defs"]["cause"]["properties"]["kind"]["enum"] == list(Kind)
    assert list(SCHEMA["$defs"]["both"]["properties"]["parts"]["properties"]) == list(Part)
    page = (ROOT / "docs/diff.md").read_text()
    assert [name for name in (*Kind, *Part) if f"| `{name}` |" not in page] == []


def test_an_opponent_that_counts_in_one_run_only_has_changed_and_is_not_compared():
    """Under `nips17-final` a defense without every label scores no attack, whichever attack it failed on."""
    whole = table(attacks=3)
    whole.labels[0, 0, 1], whole.labels[1, 0, 1, 0] = 1, NO_ANSWER
    before, after = only(whole, attacks=[0, 2]), whole
    diff = compare(evidence(before, "nips17-final"), evidence(after, "nips17-final"))
    both, first = ((before.labels[0, 0, :count] != 1).mean() for count in (2, 1))
    assert both == first / 2 > 0
    assert parts(diff, "a0") == pytest.approx({"opponents_changed": first - both}, abs=1e-6)
    assert row(diff, "a0")["like_with_like"]["opponents"] == 1
    assert row(diff, "a0")["like_with_like"]["difference"] == 0


def test_what_changed_together_is_blamed_in_equal_parts():
    """Another label of the image, and the defense says it: without the label it would have lost, without the answer,
    too. The order of the steps must not decide whom the score is owed to."""
    before, after = (evidence(score_table([[[[label] * 4]]], true=[label] * 4)) for label in (1, 2))
    assert parts(compare(before, after), "d0") == {}
    lost = evidence(score_table([[[[2] * 4]]], true=[3] * 4))
    assert parts(compare(before, lost), "d0") == {"labels": -0.5, "own": -0.5}
    assert parts(compare(lost, before), "d0") == {"labels": 0.5, "own": 0.5}


# --- chance


def test_a_difference_is_tested_in_pairs_over_the_shared_images():
    """40 of 200 images that were wrong are right now: more than chance; one of them is not."""
    generator = np.random.default_rng(0)
    labels = generator.integers(1, 3, (1, 1, 2, 200))
    better, hardly = labels.copy(), labels.copy()
    wrong = np.flatnonzero(labels[0, 0, 0] != 1)
    better[0, 0, 0, wrong[:40]] = 1
    hardly[0, 0, 0, wrong[:1]] = 1
    before = evidence(score_table(labels))
    much, little = (row(compare(before, evidence(score_table(one))), "d0") for one in (better, hardly))
    assert much["like_with_like"]["difference"] == pytest.approx(0.2)
    low, high = much["like_with_like"]["interval"]
    assert 0.1 < low < 0.2 < high < 0.3
    assert much["like_with_like"]["p_adjusted"] < 1e-6
    assert little["like_with_like"]["p_adjusted"] == 1
    assert compare(before, evidence(score_table(better)))["moved"]["significant"]
    assert not compare(before, evidence(score_table(hardly)))["moved"]["significant"]


def test_p_values_are_adjusted_for_the_number_of_rows():
    before, changed = evidence(table(40, defenses=4)), table(40, defenses=4)
    changed.labels[:, 0, 0, :12] = 1
    diff = compare(before, evidence(changed))
    alike = [one["like_with_like"] for key in RANKINGS for one in diff[key]]
    raw = sorted(one["p"] for one in alike)
    assert min(one["p_adjusted"] for one in alike) == pytest.approx(min(1, raw[0] * len(alike)), abs=1e-5)


def test_nothing_is_compared_where_nothing_is_shared():
    other = replace(table(), images=tuple("uvwxyz"))
    diff = compare(evidence(table()), evidence(other))
    assert diff["shared"]["images"] == 0
    assert row(diff, "d0")["like_with_like"] is None
    assert not diff["moved"]["significant"]
    apart = compare(evidence(only(table(), defenses=[0])), evidence(only(table(), defenses=[1])))
    assert row(apart, "a0")["like_with_like"] is None


# --- any two runs


NAMES = st.lists(st.integers(0, 3), unique=True, min_size=1, max_size=3).map(sorted)
LABELS = st.sampled_from([UNKNOWN, NO_ANSWER, 1, 2])


@st.composite
def runs(draw):
    """A run among up to four attacks, defenses and images of a small world, of which any two have much in common."""
    attacks, defenses, images, epsilons = draw(NAMES), draw(NAMES), draw(NAMES), draw(NAMES.map(lambda all: all[:2]))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    shape = len(attacks), len(epsilons), len(defenses), len(images)
    answers = draw(st.lists(LABELS, min_size=1, max_size=4))
    made = replace(
        score_table(
            generator.choice(answers, shape),
            valid=generator.random((shape[0], shape[1], shape[3])) < draw(st.sampled_from([0.7, 1])),
            clean=generator.choice(answers, (shape[2], shape[3])),
            true=generator.integers(1, 3, shape[3]),
            target=generator.integers(1, 3, shape[3]),
            untargeted=sum(one < 2 for one in attacks),
        ),
        attacks=tuple(f"a{one}" for one in attacks),
        defenses=tuple(f"d{one}" for one in defenses),
        images=tuple(f"i{one}" for one in images),
        epsilons=tuple(str(one) for one in epsilons),
    )
    run = evidence(made, draw(st.sampled_from(RULES)), seed=draw(st.integers(1, 2)))
    versions = generator.integers(0, 2, run.audits.digests.shape)
    for place in np.ndindex(versions.shape):
        run.audits.digests[place] += (
            f" version {versions[place]}" if (made.labels[place[0], place[1]] >= 0).any() else ""
        )
    for name in (*made.attacks, *made.defenses):
        if draw(st.booleans()):
            run = with_entry(run, name, player=f"second player of {name}")
    return run


@settings(max_examples=40)
@given(runs(), runs())
def test_the_parts_sum_to_the_whole(before, after):
    """To what the two boards say, which are computed without any of this."""
    two = share(before, after, None)
    for old, new in (pair for field in two.fields.values() for pair in field.both):
        exact, _ = core_of(two, old, new)
        assert set(exact) == set(Part)
        change = two.sides[1].rows[new.who]["normalised"] - two.sides[0].rows[old.who]["normalised"]
        assert float(sum(exact.values(), Fraction(0))) == pytest.approx(change, abs=2e-6)


SHARES = st.fractions(0, 1, max_denominator=50)


@given(st.lists(st.fractions(-1, 1, max_denominator=50), min_size=9, max_size=9), SHARES)
def test_rounding_keeps_the_sum_and_moves_nothing_by_more_than_a_millionth(values, start):
    exact = dict(zip(Part, values, strict=True))
    whole = round((start + sum(values)) * MICRO) - round(start * MICRO)
    micro = in_micro(exact, whole)
    assert sum(micro.values()) == whole
    assert all(abs(micro[part] - exact[part] * MICRO) <= 1.5 for part in Part)
    opposite = in_micro({part: -value for part, value in exact.items()}, -whole)
    assert opposite == {part: -value for part, value in micro.items()}


@settings(max_examples=40)
@given(runs())
def test_any_run_against_itself_is_nothing(run):
    diff = compare(run, run)
    assert not any(diff["moved"].values())
    assert diff["causes"] == []


SWAPPED = {"added": "removed", "removed": "added"}


def mirrored(diff):
    """What the comparison the other way round must be, apart from the order of lists."""
    causes = [
        {"kind": SWAPPED.get(one["kind"], one["kind"]), "before": one["after"], "after": one["before"],
         "submissions": one["submissions"]}
        for one in diff["causes"]
    ]  # fmt: skip
    shared = diff["shared"] | {"only_before": diff["shared"]["only_after"], "only_after": diff["shared"]["only_before"]}
    rows = {key: [_mirrored_row(one) for one in diff[key]] for key in RANKINGS}
    return diff | {"before": diff["after"], "after": diff["before"], "causes": causes, "shared": shared} | rows


def _mirrored_row(one):
    turned = one | {"before": one["after"], "after": one["before"], "status": SWAPPED.get(one["status"], "both")}
    if one["status"] != "both":
        return turned
    alike, own = one["like_with_like"], one["own"]
    turned |= {key: -one[key] for key in ("rank_change", "change")}
    turned["parts"] = {part: -value for part, value in one["parts"].items()}
    if alike:
        low, high = alike["interval"]
        turned["like_with_like"] = alike | {
            "before": alike["after"], "after": alike["before"], "difference": -alike["difference"],
            "interval": [-high, -low],
        }  # fmt: skip
    turned["own"] = own | {
        key: {"before": own[key]["after"], "after": own[key]["before"]}
        for key in ("submission", "container", "failed_calls")
    }
    return turned


def in_order(diff):
    """The same, lists of rows and causes sorted, and floats as they are told."""
    rows = {key: sorted(diff[key], key=lambda one: (one["name"], one["status"])) for key in RANKINGS}
    causes = sorted(
        (one | {"submissions": sorted(one["submissions"], key=str)} for one in diff["causes"]), key=lambda one: str(one)
    )
    return flat(diff | rows | {"causes": causes})


def flat(value, path=""):
    if isinstance(value, dict):
        return {place: one for key, inner in value.items() for place, one in flat(inner, f"{path}.{key}").items()}
    if isinstance(value, list):
        return {place: one for key, inner in enumerate(value) for place, one in flat(inner, f"{path}.{key}").items()}
    return {path: value}


@settings(max_examples=40)
@given(runs(), runs())
def test_the_other_way_round_everything_has_the_other_sign(before, after):
    forth, back = in_order(mirrored(compare(before, after))), in_order(compare(after, before))
    assert forth.keys() == back.keys()
    floats = {place for place, value in forth.items() if isinstance(value, float)}
    assert {place: value for place, value in forth.items() if place not in floats} == {
        place: value for place, value in back.items() if place not in floats
    }
    assert {place: forth[place] for place in floats} == pytest.approx(
        {place: back[place] for place in floats}, abs=2e-6
    )


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_matching_leaves_nobody_out_and_pairs_nobody_twice(before, after):
    pairs = match(before, after, lambda one: one, lambda one: one % 2)
    assert sorted(old for old, _ in pairs if old is not None) == list(range(len(before)))
    assert sorted(new for _, new in pairs if new is not None) == list(range(len(after)))
    assert all(before[old] % 2 == after[new] % 2 for old, new in pairs if old is not None and new is not None)
    left = [before[old] % 2 for old, new in pairs if new is None], [after[new] % 2 for old, new in pairs if old is None]
    assert not set(left[0]) & set(left[1])
