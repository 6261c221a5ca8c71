"""`harness diff` over runs that were really played: people go by the text, a gate by the exit code, a program by the
JSON; and nobody's name moves a cursor."""

import io
import json
import re
import shutil
from contextlib import closing
from dataclasses import replace

import pytest
from builders import first_pixel_dataset, play_file, rule_defense, write_attack, write_tournament
from helpers import ROOT, make_audits, make_round, score_table
from rich.console import Console

from harness.commands.diff import evidence_of
from harness.diff.build import build_diff
from harness.diff.text import MOST, lines_of
from harness.publish.evidence import Evidence, without_place, write_evidence
from harness.publish.manifest import write_manifest
from harness.records import Role
from harness.round import Unavailable
from harness.store import Store
from harness.terminal import Terminal

COPY = "for name in names:\n    write(name, read(name))\n"
DARKEN = "for name in names:\n    write(name, read(name) - epsilon)\n"
DICE = """
import os
for name in names:
    write(name, read(name) + int.from_bytes(os.urandom(4), "big") % (epsilon + 1))
"""


def first_pixel(pixels):
    return int(pixels[0, 0, 0] // 10)


def second_pixel(pixels):
    return int(pixels[0, 1, 0] // 10)


def one(pixels):
    return 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs into one store: `first`, `again` (the same), `newcomer` (one attack more), `recoded` (another defense under
    the name of one); and `dice` and `reroll`, into two stores, of an attack that is not deterministic."""
    folder = tmp_path_factory.mktemp("diff")
    first_pixel_dataset(folder / "dataset", 6)
    write_attack(folder / "attacks" / "copy", COPY)
    write_attack(folder / "newcomers" / "darken", DARKEN)
    write_attack(folder / "gamblers" / "gambler", DICE)
    rule_defense(folder / "defenses" / "pixel", first_pixel)
    rule_defense(folder / "defenses" / "constant", one)
    rule_defense(folder / "recoded" / "pixel", second_pixel)
    rule_defense(folder / "recoded" / "constant", one)
    lists = {
        "first": ["attacks/*", "defenses/*"],
        "again": ["attacks/*", "defenses/*"],
        "newcomer": ["attacks/*", "newcomers/*", "defenses/*"],
        "recoded": ["attacks/*", "recoded/*"],
        "dice": ["gamblers/*", "defenses/constant", "defenses/pixel"],
        "reroll": ["gamblers/*", "defenses/constant", "defenses/pixel"],
    }
    for name, submissions in lists.items():
        store = {} if name in ("dice", "reroll") else {"store": "store"}
        write_tournament(folder / f"{name}.yaml", submissions=submissions, output=name, **store)
        play_file(folder / f"{name}.yaml")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "120")
    return place


GATES = ("rank", "score", "significant", "any")


@pytest.mark.parametrize(
    ("before", "after", "codes"),
    [
        ("first", "first", (0, 0, 0, 0)),
        ("first", "again.yaml", (0, 0, 0, 0)),
        ("first", "newcomer", (1, 1, 0, 1)),
        ("newcomer.yaml", "first.yaml", (1, 1, 0, 1)),
        ("first", "recoded", (1, 1, 0, 1)),
        ("dice", "reroll", (None, None, 0, 1)),
    ],
)
def test_the_exit_code_of_a_gate(here, run_main, capfd, before, after, codes):
    for gate, code in zip(GATES, codes, strict=True):
        found = run_main("diff", before, after, "--fail-on", gate)
        assert code is None or found == code, gate
    assert run_main("diff", before, after) == 0
    assert capfd.readouterr().err == ""


def test_nothing_moved_is_said_in_these_words(here, run_main, capfd):
    run_main("diff", "first", "again")
    assert capfd.readouterr().out.splitlines() == [
        "nothing moved",
        "before: first: 6 images of tiny, epsilon 16, rules fair",
        "after:  again: 6 images of tiny, epsilon 16, rules fair",
    ]


def test_other_rules_are_a_difference_unless_both_are_counted_by_the_same(here, run_main, capfd, tmp_path):
    shutil.copytree(here / "first", tmp_path / "first")
    path = tmp_path / "first" / "round.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rules": "nips17-dev", "store": str(here / "store")}))
    assert run_main("diff", "first", tmp_path / "first", "--fail-on", "any") == 1
    assert "rules             fair → nips17-dev" in capfd.readouterr().out
    assert run_main("diff", "first", tmp_path / "first", "--fail-on", "any", "--rules", "fair") == 0


def test_what_is_told_of_a_newcomer(here, run_main, capfd):
    run_main("diff", "first", "newcomer")
    out = capfd.readouterr().out
    assert "of 4 submissions 1 new, 1 moved in rank" in out
    assert "  new               attack darken\n" in out
    assert "because of who plays " in out
    assert "like with like no difference" in out


def test_what_is_told_of_other_code(here, run_main, capfd):
    run_main("diff", "first", "recoded")
    out = capfd.readouterr().out
    assert "  code              defense pixel (" in out
    assert "#1  pixel  1.000 → 0.167 (-0.833)\n      because of own code -0.833; like with like -0.833 " in out
    assert "#2 → #1  constant  0.167 → 0.167 (+0.000)\n" in out
    assert "because of changed opponents +" in out
    assert "possible ranks " in out


def test_the_example_of_the_page_is_what_is_told(here, run_main, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    run_main("diff", "first", "recoded")
    mask = lambda text: re.sub(r"\b[0-9a-f]{12}\b", "DIGEST", text)  # noqa: E731
    out = mask(capfd.readouterr().out).splitlines()
    page = (ROOT / "docs/diff.md").read_text().partition("looks like this")[2]
    example = [mask(line[4:]) for line in page[: page.index("That is a round")].splitlines() if line.startswith("    ")]
    assert example[-1] == "..."
    assert [line for line in out if line][: len(example) - 1] == example[:-1]


def test_an_attack_that_throws_dice_is_found_out(here, run_main, capfd):
    run_main("diff", "dice", "reroll", "--json", "-")
    captured = capfd.readouterr()
    diff = json.loads(captured.out)
    assert [cause["kind"] for cause in diff["causes"]] == ["chance"]
    assert diff["causes"][0]["submissions"] == [{"type": "attack", "name": "gambler"}]
    assert 0 < diff["attacks"][0]["own"]["by_chance"] <= 6
    assert "attack gambler: asked the same again" in captured.err


def test_json_goes_where_it_is_sent(here, run_main, capfd, tmp_path):
    run_main("diff", "first", "newcomer", "--json", tmp_path / "diff.json")
    text = capfd.readouterr().out
    run_main("diff", "first", "newcomer", "--json", "-")
    captured = capfd.readouterr()
    assert captured.out == (tmp_path / "diff.json").read_text()
    assert captured.err == text


def test_a_bundle_is_as_good_as_its_run(here, run_main, capfd, tmp_path):
    evidence = without_place(evidence_of("first"))
    (tmp_path / "evidence").mkdir()
    write_evidence(evidence, tmp_path / "evidence")
    write_manifest(evidence, tmp_path)
    assert run_main("diff", "first", tmp_path, "--fail-on", "any") == 0
    assert run_main("diff", tmp_path, "recoded", "--fail-on", "score") == 1
    assert "own code" in capfd.readouterr().out


def test_a_run_whose_store_is_gone_is_read_from_its_results(here, run_main, tmp_path):
    shutil.copytree(here / "first", tmp_path / "first")
    assert run_main("diff", "first", tmp_path / "first", "--fail-on", "any") == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "provenance.json").unlink(), "provenance.json: is missing, so the run did not end"),
        (lambda run: (run / "provenance.json").write_text("[]"), "provenance.json: is not what a run writes"),
        (lambda run: (run / "round.json").unlink(), "no run was begun there"),
    ],
    ids=["unfinished", "foreign", "none"],
)
def test_what_cannot_be_compared(here, run_main, capfd, tmp_path, spoil, message):
    shutil.copytree(here / "first", tmp_path / "first")
    spoil(tmp_path / "first")
    assert run_main("diff", "first", tmp_path / "first", "--json", tmp_path / "diff.json") == 1
    captured = capfd.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "diff.json").exists()


# --- the words


def evidence(table, **round_fields):
    return Evidence(replace(make_round(table), **round_fields), table, make_audits(table), (), {})


def shown(diff, width=100, **options):
    file = io.StringIO()
    Terminal(Console(file=file, width=width, color_system=None, **options)).lines(lines_of(diff))
    return file.getvalue()


HOSTILE = "\x1b[2J\r[red]x[/red] \u202e:smile: [link=http://x]y[/link] \x07"


def test_hostile_words_stand_there_as_they_are():
    table = score_table([[[[1, 2]]]])
    hostile = replace(table, defenses=(HOSTILE,))
    left_out = Unavailable(HOSTILE, Role.DEFENSE, HOSTILE, HOSTILE)
    after = evidence(hostile, tournament=HOSTILE, dataset=HOSTILE, unavailable=(left_out,))
    text = shown(build_diff(evidence(table), after), width=400)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert text.count("[red]x[/red] \ufffd:smile: [link=http://x]y[/link]") >= 4


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_lines_end_where_the_window_does(here, width):
    text = shown(build_diff(evidence_of("first"), evidence_of("newcomer")), width)
    assert max(map(len, text.splitlines())) <= width
    assert {"copy", "pixel", "darken"} <= set(text.replace(",", " ").split())


def test_of_many_the_first_are_told_of_and_the_rest_counted():
    many = MOST + 7
    before = score_table([[[[1, 1, 2]] * many]])
    after = score_table([[[[1, 2, 2]] * many]])
    text = shown(build_diff(evidence(before), evidence(after)))
    assert text.count("0.667 → 0.333 (-0.333)") == MOST
    assert "  and 7 more that moved; --json has all of them\n" in text


def test_who_moved_by_more_than_chance_comes_first():
    before = score_table([[[[1] * 30, [1] * 10 + [2] * 20, [1] * 9 + [2] * 21]]])
    after = score_table([[[[1] * 28 + [2] * 2, [1] * 10 + [2] * 20, [1] * 29 + [2]]]])
    text = shown(build_diff(evidence(before), evidence(after)))
    assert "#3 → #1  d2" in text
    assert text.index("  d2  ") < text.index("  d0  ") < text.index("  d1  ")
    assert "p 0.000, more than chance" in text
    assert "may be chance" in text
    assert "2 by more than chance" in text  # the defense, and the attack that it withstands


def test_plain_arrows_where_the_terminal_knows_no_others():
    class Ascii(io.StringIO):
        encoding = "ascii"

    file = Ascii()
    table, other = score_table([[[[1, 2]]]]), score_table([[[[1, 1]]]])
    Terminal(Console(file=file, width=80)).lines(lines_of(build_diff(evidence(table), evidence(other))))
    assert file.getvalue().isascii()
    assert "0.500 -> 1.000" in file.getvalue()


def test_the_store_is_only_read(here, run_main):
    with closing(Store(here / "store")) as store, store.writing():
        assert run_main("diff", "first", "again", "--fail-on", "any") == 0
