"""The index is what a run that was killed goes on from: what is recorded is found again exactly, recording it twice
does no harm, and a file that is damaged is said to be so."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from dataclasses import replace

import pytest
from helpers import ROOT, predictions
from hypothesis import given
from hypothesis import strategies as st

from harness.digest import digest_value
from harness.errors import UserError
from harness.index import SCHEMA_VERSION, Index
from harness.records import Fault, ImageAudit, Limits, Outcome, Prediction, Role, Verdict, WorkUnit
from harness.rows import FAULTS

ATTACK = WorkUnit(Role.ATTACK, "a" * 64, "c", "inputs", 16, 7, Limits())
DEFENSE = WorkUnit(Role.DEFENSE, "b" * 64, "c", "inputs", None, 7, Limits())

D0, D1, D2 = (character * 64 for character in "012")
UNKNOWN = "f" * 64

AUDITS = (
    ImageAudit("img1", D1, None, 20, 5, 16, 123.25, 1.5),
    ImageAudit("img0", D0, Fault.CORRUPT),
    ImageAudit("img2", D1),
)
PREDICTIONS = (Prediction(D1, 7), Prediction(D0, None, Fault.MISSING), Prediction(D2, 0))


def outcome(unit, **fields):
    return Outcome(unit.key, Verdict.OK, 0, 1.5, 1 << 20, "log\n", **fields)


@pytest.fixture
def index(tmp_path):
    with closing(Index(tmp_path / "index.sqlite")) as index:
        yield index


def test_which_images_a_defense_was_asked_about_is_told_without_its_answers(index):
    assert index.answered(UNKNOWN).tolist() == []
    for number, answers in enumerate((PREDICTIONS[:1], PREDICTIONS)):
        unit = replace(DEFENSE, inputs=str(number))
        index.record(unit, "d", outcome(unit, predictions=answers), "now")
    assert index.answered(DEFENSE.player).tolist() == index.answers(DEFENSE.player)[0].tolist()


def test_images_are_found_by_the_first_byte_of_their_digests(index):
    digests = [f"{first:02x}" + rest * 31 for first in (0, 0x7F, 0x80, 0xFF) for rest in ("00", "7f", "ff")]
    numbers = dict(zip(map(bytes.fromhex, digests), index.add_images(digests).tolist(), strict=True))
    found = [index.numbers_from(first) for first in range(256)]
    assert all(value[0] == first for first, images in enumerate(found) for value in images)
    assert {value: number for images in found for value, number in images.items()} == numbers


def test_what_an_attack_made_comes_back_in_order(index):
    index.record(ATTACK, "a", outcome(ATTACK, images=AUDITS), "now")
    assert index.audits(ATTACK.key) == list(AUDITS)
    assert index.audits(UNKNOWN) == []


def test_what_a_defense_answered_comes_back(index):
    index.record(DEFENSE, "d", outcome(DEFENSE, predictions=PREDICTIONS), "now")
    assert predictions(index, DEFENSE.player) == {D1: 7, D0: None, D2: 0}
    assert predictions(index, UNKNOWN) == {}


def test_predictions_of_several_calls_are_put_together(index):
    for number, answers in enumerate((PREDICTIONS[:1], PREDICTIONS[1:])):
        unit = replace(DEFENSE, inputs=str(number))
        index.record(unit, "d", outcome(unit, predictions=answers), "now")
    assert predictions(index, DEFENSE.player) == {D1: 7, D0: None, D2: 0}


def test_the_ledger_has_all_there_is_to_say_about_a_call(index):
    bad = replace(outcome(ATTACK, images=AUDITS), verdict=Verdict.TIMEOUT, exit_code=None, unknown_names=3)
    index.record(ATTACK, "a batch 1", bad, "2024-01-01T00:00:00+00:00")
    index.record(DEFENSE, "d", outcome(DEFENSE, predictions=PREDICTIONS), "later")
    (call,) = index.calls([ATTACK.player])
    assert (call.key, call.role, call.player, call.label) == (ATTACK.key, Role.ATTACK, ATTACK.player, "a batch 1")
    assert (call.verdict, call.exit_code, call.seconds, call.peak_memory) == (Verdict.TIMEOUT, None, 1.5, 1 << 20)
    assert (call.images, call.faults, call.unknown_names) == (3, {"corrupt": 1}, 3)
    assert (call.log, call.finished) == ("log\n", "2024-01-01T00:00:00+00:00")
    assert [call.label for call in index.calls([DEFENSE.player, ATTACK.player])] == ["a batch 1", "d"]
    assert list(index.calls([])) == []


def test_recording_twice_keeps_the_last(index):
    index.record(ATTACK, "a", outcome(ATTACK, images=AUDITS), "now")
    again = tuple(replace(audit, digest=D2) for audit in AUDITS)
    index.record(ATTACK, "b", outcome(ATTACK, images=again), "later")
    assert index.audits(ATTACK.key) == list(again)
    assert [call.label for call in index.calls([ATTACK.player])] == ["b"]
    for label in (7, 8):
        index.record(DEFENSE, "d", outcome(DEFENSE, predictions=(Prediction(D1, label),)), "now")
    assert predictions(index, DEFENSE.player) == {D1: 8}


def test_images_have_numbers_for_life(index, tmp_path):
    """Answers name images by number: one that moved would give its answers to another image."""
    digests = [digest_value("image", number) for number in range(1200)]
    numbers = index.add_images(digests[:700] + digests[:2])
    assert numbers[:2].tolist() == numbers[700:].tolist()
    assert len(set(numbers.tolist())) == 700
    assert 0 not in numbers
    assert index.add_images(digests)[:700].tolist() == numbers[:700].tolist()
    index.keep_only([], [])
    with closing(Index(tmp_path / "index.sqlite")) as later:
        assert later.numbers([UNKNOWN, *digests[:700]]).tolist() == [0, *numbers[:700].tolist()]
        assert later.digests(later.numbers(digests[::-1])) == digests[::-1]
        assert later.last_image == 1200


def test_the_numbers_of_what_an_attack_made_are_told(index):
    numbers = index.record(ATTACK, "a", outcome(ATTACK, images=AUDITS), "now")
    assert index.digests(numbers) == [D1, D0, D1]
    assert [(key, rows["image"].tolist()) for key, rows in index.made([UNKNOWN, ATTACK.key])] == [
        (ATTACK.key, numbers.tolist())
    ]
    assert index.record(DEFENSE, "d", outcome(DEFENSE, predictions=PREDICTIONS), "now").size == 0


@pytest.mark.parametrize("fault", [None, *Fault])
def test_every_fault_comes_back(index, fault):
    audit = ImageAudit("img", D0, fault)
    index.record(ATTACK, "a", outcome(ATTACK, images=(audit,)), "now")
    index.record(DEFENSE, "d", outcome(DEFENSE, predictions=(Prediction(D0, None, fault),)), "now")
    assert index.audits(ATTACK.key) == [audit]
    assert predictions(index, DEFENSE.player) == {D0: None}


def test_the_place_of_each_fault_is_kept():
    """Files hold the place and not the word."""
    assert [fault.value for fault in FAULTS[:10]] == [
        "missing", "not_a_file", "too_large", "not_png", "corrupt", "wrong_mode", "wrong_size", "not_an_integer",
        "outside_labels", "duplicate",
    ]  # fmt: skip


def test_of_a_long_ledger_the_last_calls_may_be_all_that_is_wanted(index):
    for number in range(1100):
        unit = replace(ATTACK, seed=number % 2, inputs=str(number))
        index.record(unit, str(number), outcome(unit), "now")
    players = [replace(ATTACK, seed=seed).player for seed in range(2)]
    assert [call.label for call in index.calls(players)] == [str(number) for number in range(1100)]
    assert [call.label for call in index.calls(players, most=3)] == ["1097", "1098", "1099"]
    assert [call.label for call in index.calls(players[:1], most=3)] == ["1098"]
    assert len(list(index.calls(players, most=5000))) == 1100


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 2000])
def test_many_keys_are_looked_up_at_once(index, count):
    pairs = [(f"source{number}", f"canonical{number}") for number in range(count)]
    index.add_sources(pairs)
    index.record(ATTACK, "a", outcome(ATTACK), "now")
    assert index.canonical_of([source for source, _ in pairs] + ["other"]) == dict(pairs)
    assert index.known_calls([digest_value("call", source) for source, _ in pairs] + [ATTACK.key]) == {ATTACK.key}


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    seconds=st.floats(0, 1e9),
    measures=st.tuples(
        st.integers(0, 255), st.integers(0, 2**40), st.integers(0, 255), st.floats(0, 1e9), st.floats(0, 255)
    ),
)
def test_any_value_is_kept_exactly(tmp_path_factory, text, seconds, measures):
    with closing(Index(tmp_path_factory.mktemp("index") / "index.sqlite")) as index:
        audit = ImageAudit(text, D0, None, *measures)
        index.record(ATTACK, text, replace(outcome(ATTACK, images=(audit,)), log=text, seconds=seconds), "now")
        (call,) = index.calls([ATTACK.player])
        assert (call.label, call.log, call.seconds) == (text, text, seconds)
        assert index.audits(ATTACK.key) == [audit]


def test_another_process_and_a_later_one_see_what_was_recorded(index, tmp_path):
    index.record(DEFENSE, "d", outcome(DEFENSE, predictions=PREDICTIONS), "now")
    with closing(Index(tmp_path / "index.sqlite")) as second:
        assert predictions(second, DEFENSE.player) == predictions(index, DEFENSE.player)


def test_an_outcome_is_recorded_whole_or_not_at_all(index):
    """A label that does not fit undoes the call that it belongs to."""
    bad = outcome(DEFENSE, predictions=(Prediction(D1, 7), Prediction(D0, 1 << 40)))
    with pytest.raises(OverflowError):
        index.record(DEFENSE, "d", bad, "now")
    assert index.known_calls([DEFENSE.key]) == set()
    assert predictions(index, DEFENSE.player) == {}
    assert index.numbers([D0, D1]).tolist() == [0, 0]


def test_threads_may_record_side_by_side(index):
    def record(thread):
        for number in range(20):
            unit = replace(ATTACK, seed=100 * thread + number)
            index.record(unit, "a", outcome(unit, images=AUDITS), "now")
            assert len(index.audits(unit.key)) == len(AUDITS)

    threads = [threading.Thread(target=record, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    players = {replace(ATTACK, seed=100 * thread + number).player for thread in range(4) for number in range(20)}
    assert len(list(index.calls(players))) == 80


def test_our_own_failures_are_told_by_player(index):
    """Many rounds share a store: one must not be told of the failures of another."""
    for number in range(4):
        index.record_attempt("key", f"player {number % 2}", f"call {number}", "gone", "now")
    assert index.attempts(["player 1"]) == [("call 1", "gone", "now"), ("call 3", "gone", "now")]
    assert [label for label, _, _ in index.attempts(iter(["player 1", "player 0"]))] == [f"call {n}" for n in range(4)]
    assert index.attempts(["player 2"]) == index.attempts([]) == []


def test_rounds_are_kept_once_and_may_be_forgotten(index):
    for folder in ("b", "a", "b"):
        index.add_round(folder)
    assert index.rounds() == ["a", "b"]
    index.forget_round("a")
    index.forget_round("unknown")
    assert index.rounds() == ["b"]


def test_what_was_built_is_found_by_its_context(index, tmp_path):
    assert index.built_images() == {}
    index.add_built_images({"context 1": "image 1", "context 2": "image 2"})
    index.add_built_images({"context 2": "image 3"})
    index.add_built_images({})
    assert index.built_images() == {"context 1": "image 1", "context 2": "image 3"}
    with closing(Index(tmp_path / "index.sqlite")) as later:
        assert later.built_images() == index.built_images()


def test_only_what_is_named_is_kept(index):
    units = [replace(ATTACK, epsilon=epsilon) for epsilon in (4, 8, 12)]
    stranger = replace(ATTACK, submission="c" * 64)
    for unit in (*units, stranger):
        index.record(unit, str(unit.epsilon), outcome(unit, images=AUDITS), "now")
    other = replace(DEFENSE, submission="d" * 64)
    for unit in (DEFENSE, other):
        index.record(unit, "d", outcome(unit, predictions=PREDICTIONS), "now")
    kept = [units[0].key, units[2].key]
    for _ in range(2):
        index.keep_only(kept, [ATTACK.player, DEFENSE.player])
        assert index.known_calls([unit.key for unit in (*units, stranger, DEFENSE, other)]) == {*kept, DEFENSE.key}
        assert [bool(index.audits(unit.key)) for unit in (*units, stranger)] == [True, False, True, False]
        assert predictions(index, DEFENSE.player)
        assert not predictions(index, other.player)
        assert len(list(index.calls([ATTACK.player, stranger.player]))) == 2


def test_sources_are_forgotten_by_their_canonical_image(index):
    index.add_sources([("s1", "c1"), ("s2", "c1"), ("s3", "c3")])
    index.forget_sources(["c1", "unknown"])
    assert index.canonical_of(["s1", "s2", "s3"]) == {"s3": "c3"}


# --- files that are none


def filled(path):
    with closing(Index(path)) as index:
        for number in range(200):
            unit = replace(ATTACK, seed=number)
            index.record(unit, "a", outcome(unit, images=AUDITS), "now")


@pytest.fixture(scope="module")
def filled_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("filled") / "index.sqlite"
    filled(path)
    return path.read_bytes()


def read_everything(path):
    with closing(Index(path)) as index:
        list(index.calls([ATTACK.player]))
        index.known_calls([ATTACK.key])
        index.canonical_of(["x"])
        for number in range(200):
            index.audits(replace(ATTACK, seed=number).key)
        index.record(ATTACK, "a", outcome(ATTACK, images=AUDITS), "now")


def test_an_intact_file_is_read(tmp_path):
    filled(tmp_path / "index.sqlite")
    read_everything(tmp_path / "index.sqlite")


@pytest.mark.parametrize("damage", ["text", "header", "pages"])
def test_a_damaged_file_is_said_to_be_one(tmp_path, damage):
    path = tmp_path / "index.sqlite"
    filled(path)
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"this is no database\n" * 500)
    elif damage == "header":
        data[:16] = b"SQLite format 2\0"
    else:
        data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"index\.sqlite: the index cannot be read \(.*\); move the store away"):
        read_everything(path)


def test_an_empty_file(tmp_path):
    """An index that is made is there whole or not at all, so this one was cut off."""
    (tmp_path / "index.sqlite").touch()
    with pytest.raises(UserError, match=r"the index cannot be read \(it is empty\); move the store away"):
        Index(tmp_path / "index.sqlite")


@given(st.randoms(use_true_random=False), st.sampled_from(["bytes", "page", "cut off", "zeros"]))
def test_a_damage_anywhere_is_found_or_does_no_harm(tmp_path_factory, filled_bytes, draw, kind):
    """One line, whatever SQLite or the words in it make of damaged pages; never a bug of ours."""
    data = bytearray(filled_bytes)
    place = draw.randrange(len(data))
    if kind == "bytes":
        for _ in range(20):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif kind == "page":
        data[place // 4096 * 4096 : (place // 4096 + 1) * 4096] = draw.randbytes(4096)
    elif kind == "cut off":
        del data[place:]
    else:
        data[place:] = bytes(len(data) - place)
    path = tmp_path_factory.mktemp("damaged") / "index.sqlite"
    path.write_bytes(data)
    with suppress(UserError):
        read_everything(path)


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(UserError, match="the index cannot be written"):
        Index(tmp_path)


OPEN = """
import sys
from pathlib import Path
from harness.index import Index
sys.stdin.readline()
Index(Path(sys.argv[1])).close()
print("opened")
"""


def test_several_may_make_it_at_once(tmp_path):
    for number in range(3):
        command = [sys.executable, "-c", OPEN, tmp_path / f"{number}.sqlite"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(4)]
        for process in begun:
            process.stdin.write("\n")
        assert [process.communicate(timeout=60) for process in begun] == [("opened\n", "")] * 4
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_disk_that_is_full_when_it_is_made_leaves_none(tmp_path, monkeypatch):
    """Half an index under the name of one would be taken for damage ever after."""
    connect = sqlite3.connect

    def connect_small(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 3")
        return database

    monkeypatch.setattr(sqlite3, "connect", connect_small)
    with pytest.raises(UserError, match=r"the index cannot be written \(database or disk is full\); make room"):
        Index(tmp_path / "index.sqlite")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    Index(tmp_path / "index.sqlite").close()


def test_a_file_of_another_version(tmp_path):
    path = tmp_path / "index.sqlite"
    with closing(Index(path)):
        pass
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UserError, match="was made by another version of the harness; choose another output"):
        Index(path)


def test_a_full_disk_is_said_to_be_one(index):
    """SQLite's own limit on the number of pages gives the very error of a disk without room."""
    index._database.execute("PRAGMA max_page_count = 20")
    with pytest.raises(UserError, match=r"index\.sqlite: the index cannot be written \(.*full\); make room"):
        index.record(ATTACK, "x" * 1_000_000, outcome(ATTACK), "now")
    assert index.known_calls([ATTACK.key]) == set()
