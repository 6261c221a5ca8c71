"""Before the first call everything is read, checked and copied: what is played is what was checked, and nobody's code
runs without isolation unless the organiser said so."""

import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import FakeSandbox, open_field, random_pixels, write_dataset, write_players, write_submission
from PIL import Image

from harness import preparation
from harness.errors import UserError
from harness.plan import attack_call
from harness.records import Role
from harness.round import Unavailable
from harness.submission import UnavailableError


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "dataset", 5)
    write_players(tmp_path / "players", ("noop", "shift 3"), ("shift 1",), ("sum",))
    return tmp_path


def faults(folder, sandbox=None, **keys):
    with pytest.raises(UserError) as caught, open_field(folder, sandbox, **keys):
        pass
    return [line.replace(f"{folder}/", "") for line in caught.value.faults]


class Bare(FakeSandbox):
    isolates = False


# --- the round


def test_a_round_lists_attacks_then_targeted_ones_then_defenses_by_name(folder):
    write_submission(folder / "players" / "x", "attack", "#!fake noop", name="0 first")
    with open_field(folder) as field:
        round_ = field.prepared.round
        assert [(attack.name, attack.targeted) for attack in round_.attacks] == [
            ("0 first", False), ("a0", False), ("a1", False), ("t0", True),
        ]  # fmt: skip
        assert [defense.name for defense in round_.defenses] == ["d0"]
        assert [player.name for player in field.prepared.attacks] == [attack.name for attack in round_.attacks]
        assert (round_.dataset, round_.image_size, round_.store) == ("tiny", (8, 6), "store")


@pytest.mark.parametrize(
    ("epsilon", "names", "budgets"),
    [
        (4, ("4",), ((4, 4, 4),)),
        ([4, 9], ("4", "9"), ((4, 4, 4), (9, 9, 9))),
        ("rotate", ("rotate",), ((4, 8, 12),)),
    ],
)
def test_budgets_by_batch(folder, epsilon, names, budgets):
    with open_field(folder, epsilon=epsilon, batch_size=2) as field:
        round_ = field.prepared.round
        assert (round_.epsilons, round_.budgets) == (names, budgets)
        assert [len(batch) for batch in round_.batches] == [2, 2, 1]
        for player, attack in zip(field.prepared.attacks, round_.attacks, strict=True):
            expected = tuple(
                tuple(
                    attack_call(player, budget, number, round_.batches[number]).unit.key
                    for number, budget in enumerate(row)
                )
                for row in budgets
            )
            assert attack.units == expected


def test_the_same_tournament_is_the_same_round_wherever_it_lies(folder, tmp_path):
    with open_field(folder) as field:
        first = field.prepared.round
    shutil.copytree(folder / "players", folder / "elsewhere")
    shutil.copytree(folder / "dataset", folder / "pictures")
    with open_field(folder, players="elsewhere", dataset="pictures", output="other") as field:
        assert field.prepared.round == first


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({"name": "renamed"}, True),
        ({"rules": "nips17-dev"}, True),
        ({"slots": 1}, True),
        ({"seed": 1}, False),
        ({"limits": {"seconds": 9}}, False),
    ],
    ids=["name", "rules", "slots", "seed", "limits"],
)
def test_what_decides_on_the_keys_of_calls(folder, keys, same):
    with open_field(folder) as field:
        before = field.prepared.round.unit_keys(), field.prepared.round.players()
    with open_field(folder, output="other", **keys) as field:
        assert ((field.prepared.round.unit_keys(), field.prepared.round.players()) == before) is same


def test_a_growing_dataset_keeps_the_batches_that_were_full(folder):
    with open_field(folder, batch_size=2) as field:
        before = [attack.units[0] for attack in field.prepared.round.attacks]
    images = folder / "dataset" / "images"
    Image.fromarray(random_pixels(99)).save(images / "img5.png")
    with (folder / "dataset" / "dataset.csv").open("a") as file:
        file.write("img5,6,506\n")
    with open_field(folder, batch_size=2) as field:
        for old, attack in zip(before, field.prepared.round.attacks, strict=True):
            assert attack.units[0][:2] == old[:2]
            assert attack.units[0][2] != old[2]


# --- submissions


@pytest.mark.parametrize(
    ("roles", "absent"),
    [
        ({"attacks": ()}, "attack"),
        ({"defenses": ()}, "defense"),
        ({"attacks": (), "targeted": ("noop",), "defenses": ()}, "defense"),
    ],
    ids=["no-attack", "no-defense", "targeted-alone"],
)
def test_a_round_of_one_side_alone_is_refused(tmp_path, roles, absent):
    """Its board would be empty, which nobody takes for a mistake of their own."""
    write_dataset(tmp_path / "dataset", 2)
    write_players(tmp_path / "players", **roles)
    assert faults(tmp_path) == [f"field: there is no {absent} among the submissions; add one under 'submissions'"]


def test_targeted_attacks_are_attacks(tmp_path):
    write_dataset(tmp_path / "dataset", 2)
    write_players(tmp_path / "players", (), ("noop",))
    with open_field(tmp_path) as field:
        assert [attack.name for attack in field.prepared.round.attacks] == ["t0"]


def test_what_is_played_is_the_stores_own_copy(folder):
    with open_field(folder) as field:
        for player in (*field.prepared.attacks, *field.prepared.defenses):
            assert player.code == field.store.code / player.submission.digest
            assert player.code.is_dir()


def test_all_bad_submissions_are_named_at_once(folder):
    write_submission(folder / "players" / "b1", executable=False)
    write_submission(folder / "players" / "b2", type="attak")
    (folder / "players" / "b3.zip").write_bytes(b"")
    found = faults(folder)
    assert [line.split(":")[0] for line in found] == ["players/b1", "players/b2/metadata.json", "players/b3.zip"]


def test_a_folder_without_metadata_is_passed_over_and_named(folder):
    (folder / "players" / "notes").mkdir()
    with open_field(folder) as field:
        assert field.listener.lines == [f"{folder / 'players' / 'notes'}: passed over, it has no metadata.json"]


def test_two_of_one_name(folder):
    write_submission(folder / "players" / "x", program="#!fake noop", name="a1")
    (line,) = faults(folder)
    assert line.startswith("a1: two submissions of type attack have this name (")


def test_an_archive_is_the_same_submission_as_its_folder(folder):
    with open_field(folder) as field:
        before = {attack.name: attack.submission for attack in field.prepared.round.attacks}
    with zipfile.ZipFile(folder / "players" / "packed.zip", "w") as packed:
        for path in sorted((folder / "players" / "a1").iterdir()):
            packed.write(path, f"inside/{path.name}")
    with open_field(folder) as field:
        after = {attack.name: attack.submission for attack in field.prepared.round.attacks}
        assert after == before | {"packed": before["a1"]}
        assert list(field.store.work.iterdir()) == []


def test_without_isolation_only_trusted_code_is_played(folder):
    (line,) = faults(folder, Bare())
    assert line.startswith(
        "players/a0: the process sandbox does not isolate, and this submission is not the project's own; "
    )
    assert line.endswith("use --sandbox docker, or --trust-submissions if you trust its authors")
    with open_field(folder, Bare(), trust_submissions=True):
        pass


def test_the_projects_own_submissions_need_no_word_of_trust(folder, monkeypatch):
    monkeypatch.setattr(preparation, "OWN_SUBMISSIONS", folder / "players")
    with open_field(folder, Bare()):
        pass
    outside = write_submission(folder / "outside", program="#!fake noop")
    (folder / "players" / "inside").symlink_to(outside)
    assert faults(folder, Bare())[0].startswith("players/inside: the process sandbox does not isolate")


def test_an_archive_is_never_the_projects_own(folder, monkeypatch):
    monkeypatch.setattr(preparation, "OWN_SUBMISSIONS", folder / "players")
    with zipfile.ZipFile(folder / "players" / "packed.zip", "w") as packed:
        packed.writestr("metadata.json", "{}")
    assert faults(folder, Bare())[0].startswith("players/packed.zip: the process sandbox does not isolate")


# --- who cannot be played


class Refusing(FakeSandbox):
    """Runs nobody whose container is `needs-an-engine`."""

    def prepare(self, submission, use_gpu):
        if submission.metadata.container == "needs-an-engine":
            raise UnavailableError(submission, "it needs an engine", "--sandbox docker")
        return super().prepare(submission, use_gpu)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def lacking(folder, name, role="attack", program="#!fake noop", weights=("w",), **more):
    return write_submission(folder / "players" / name, role, program, weights=list(weights), **more)


def test_who_is_unavailable_is_listed_by_type_and_name_and_said_at_once(folder, cache):
    lacking(folder, "z", weights=["w", "v"])
    lacking(folder, "y", "defense", "#!fake sum")
    lacking(folder, "x", "targeted_attack")
    write_submission(folder / "players" / "w", "attack", "#!fake noop", container="needs-an-engine")
    with open_field(folder, Refusing()) as field:
        round_ = field.prepared.round
        nowhere = "are neither in its own folder nor in the weights folder"
        assert round_.unavailable == (
            Unavailable("w", Role.ATTACK, "it needs an engine", "--sandbox docker"),
            Unavailable("z", Role.ATTACK, f"its weights w, v {nowhere}", "harness weights fetch w v"),
            Unavailable("y", Role.DEFENSE, f"its weights w {nowhere}", "harness weights fetch w"),
            Unavailable("x", Role.TARGETED_ATTACK, f"its weights w {nowhere}", "harness weights fetch w"),
        )
        assert field.listener.lines == [str(one) for one in round_.unavailable]
        assert [attack.name for attack in round_.attacks] == ["a0", "a1", "t0"]


def test_the_others_are_the_players_that_they_always_were(folder, cache):
    with open_field(folder) as field:
        before = field.prepared.round
    lacking(folder, "z")
    with open_field(folder) as field:
        after = field.prepared.round
    assert (after.attacks, after.defenses) == (before.attacks, before.defenses)


def test_an_archive_may_lack_weights_or_bring_them(folder, cache):
    with zipfile.ZipFile(folder / "players" / "packed.zip", "w") as packed:
        for path in sorted(lacking(folder, "loose").iterdir()):
            packed.write(path, f"inside/{path.name}")
    with open_field(folder) as field:
        assert [one.name for one in field.prepared.round.unavailable] == ["loose", "packed"]
    with zipfile.ZipFile(folder / "players" / "packed.zip", "a") as packed:
        packed.writestr("inside/weights/w.safetensors", "1")
    with open_field(folder) as field:
        assert [one.name for one in field.prepared.round.unavailable] == ["loose"]
        brought = {attack.name: attack.submission for attack in field.prepared.round.attacks}["packed"]
    (cache / "w.safetensors").write_text("1")
    with open_field(folder) as field:
        assert field.prepared.round.unavailable == ()
        assert {attack.name: attack.submission for attack in field.prepared.round.attacks}["loose"] == brought


def test_who_is_unavailable_is_judged_by_the_same_rules(folder, cache):
    lacking(folder, "twin").rename(folder / "twin")
    lacking(folder, "twin")
    submissions = [str(folder / "players" / "*"), str(folder / "twin")]
    assert faults(folder, submissions=submissions)[0].startswith(
        "twin: two submissions of type attack have this name ("
    )
    shutil.rmtree(folder / "players" / "twin")
    lacking(folder, "y", labels="cifar10")
    assert faults(folder)[0].startswith("y: answers in the label space cifar10")


@pytest.mark.parametrize(
    ("role", "containers", "end"),
    [
        ("defense", ["busybox:1"], "every defense is unavailable (x0); use harness weights fetch w"),
        (
            "defense",
            ["needs-an-engine", "needs-an-engine"],
            "every defense is unavailable (x0, x1); use --sandbox docker",
        ),
        (
            "attack",
            ["needs-an-engine", "busybox:1"],
            "every attack is unavailable (x0, x1); use harness weights fetch w and --sandbox docker",
        ),
    ],
)
def test_a_round_without_a_side_is_none_and_says_what_would_help(tmp_path, cache, role, containers, end):
    write_dataset(tmp_path / "dataset", 2)
    attacks, defenses = (["noop"], []) if role == "defense" else ([], ["sum"])
    write_players(tmp_path / "players", attacks, (), defenses)
    for number, container in enumerate(containers):
        weights = [] if container == "needs-an-engine" else ["w"]
        program = "#!fake sum" if role == "defense" else "#!fake noop"
        lacking(tmp_path, f"x{number}", role, program, weights, container=container)
    assert faults(tmp_path, Refusing()) == [f"field: {end}"]


def test_a_submission_for_another_label_space_is_refused(folder):
    write_submission(folder / "players" / "x", "defense", "#!fake sum", labels="cifar10")
    write_submission(folder / "players" / "y", "defense", "#!fake sum", labels="imagenet-1001")
    (line,) = faults(folder)
    assert line.startswith("x: answers in the label space cifar10, the dataset tiny is labelled in imagenet-1001; ")


def test_a_submission_may_do_without_a_gpu(folder):
    asked = {}

    class Asking(FakeSandbox):
        def prepare(self, submission, use_gpu):
            asked[submission.name] = use_gpu
            return f"image for {use_gpu}"

    write_submission(folder / "players" / "x", "defense", "#!fake sum no gpu", gpu=False)
    with open_field(folder, Asking()) as field, ThreadPoolExecutor(1) as pixels:
        assert not any(asked.values())
        tournament = field.tournament
        prepared = preparation.prepare(tournament, field.store, Asking(), pixels, True, print)
        assert {name for name, gpu in asked.items() if not gpu} == {"x"}
        assert {player.container for player in prepared.defenses} == {"image for True", "image for False"}
        players = (*prepared.attacks, *prepared.defenses)
        assert {player.name for player in players if not player.gpu} == {"x"}
        assert all(player.gpu is player.unit.gpu for player in players)


def test_roles_come_from_the_metadata_and_not_from_the_folder(folder):
    with open_field(folder) as field:
        roles = {player.name: player.submission.role for player in (*field.prepared.attacks, *field.prepared.defenses)}
    assert roles == {"a0": Role.ATTACK, "a1": Role.ATTACK, "t0": Role.TARGETED_ATTACK, "d0": Role.DEFENSE}
