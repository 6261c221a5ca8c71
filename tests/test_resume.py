"""What is recorded stays and is never done twice: a run may be killed at any moment, and the same command goes on."""

import hashlib
import json
import random
import shutil
import signal
import sqlite3
import time

import pytest
from builders import (
    first_pixel,
    first_pixel_dataset,
    harness_process,
    living,
    play_file,
    read_board,
    read_index,
    read_ledger,
    rule_defense,
    store_identity,
    write_attack,
    write_submission,
    write_tournament,
)
from engine import assert_gone, containers, wait_until
from PIL import Image

from harness.records import Role

STOPPED = "harness: stopped; what is recorded is kept, and the same command goes on from there\n"


def sum_of_pixels(pixels):
    return int(1 + pixels.sum() % 900)


def shift(folder, amount, pause=0.0):
    body = f"import time\ntime.sleep({pause})\nfor name in names: write(name, read(name) + {amount})\n"
    return write_attack(folder, body)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tournament that was played once, and the Result of that; not to be written to."""
    path = write_tiny(tmp_path_factory.mktemp("finished"))
    return path, play_file(path)


@pytest.fixture
def tiny(finished, tmp_path):
    """A finished tournament to go on with."""
    shutil.copytree(finished[0].parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tiny.yaml"


def write_tiny(folder, pause=0.0):
    """Two attacks, a targeted one and two defenses on six images in batches of two."""
    first_pixel_dataset(folder / "dataset", count=6)
    shift(folder / "submissions/plus3", 3, pause)
    shift(folder / "submissions/minus9", -9, pause)
    body = "for name in names: write(name, read(name) + int(wanted[name]))"
    write_attack(folder / "submissions/towards", body, "targeted_attack")
    rule_defense(folder / "submissions/first_pixel", first_pixel)
    rule_defense(folder / "submissions/sum_of_pixels", sum_of_pixels)
    return write_tournament(folder / "tiny.yaml", batch_size=2, slots=2)


def board_bytes(path):
    return (path.parent / "out/leaderboard.json").read_bytes()


def predictions(store):
    return read_index(store, "SELECT player, digest, label FROM predictions ORDER BY player, digest")


def assert_nothing_twice(store):
    """Every image was asked of a defense once, every batch of an attack once."""
    ((asked,),) = read_index(store, "SELECT SUM(images) FROM calls WHERE role = 'defense'")
    assert asked == len(predictions(store))
    keys = [key for key, _, _ in read_ledger(store)]
    assert len(set(keys)) == len(keys)


# --- killed


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = write_tiny(tmp_path_factory.mktemp("uninterrupted"), pause=0.1)
    play_file(path)
    return path


@pytest.mark.parametrize("seed", [1])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_board(tmp_path, uninterrupted, seed):
    draw = random.Random(seed)
    path, store = write_tiny(tmp_path, pause=0.1), tmp_path / "out/store"
    recorded = 0
    for _ in range(3):
        with harness_process("run", path) as harness:
            wait_for_calls(store, recorded + draw.randrange(1, 4))
            time.sleep(draw.uniform(0, 0.2))
        assert harness.returncode == -signal.SIGKILL  # else it ended too soon to be killed
        recorded = len(ledger_or_nothing(store))
    with harness_process("run", path) as last:
        _, errors = last.communicate(timeout=120)
    assert (last.returncode, errors) == (0, "")
    assert board_bytes(path) == board_bytes(uninterrupted)
    assert predictions(store) == predictions(uninterrupted.parent / "out/store")
    assert_nothing_twice(store)
    assert len([1 for _, role, _ in read_ledger(store) if role != Role.DEFENSE]) == 9
    assert list((store / "work").iterdir()) == []
    assert_gone(store_identity(tmp_path / "out"))


def wait_for_calls(store, number):
    wait_until(lambda: len(ledger_or_nothing(store)) >= number)


def ledger_or_nothing(store):
    """The ledger of a store that may be about to be made."""
    try:
        return read_ledger(store)
    except sqlite3.OperationalError:
        return []


def test_what_a_killed_run_left_alive_is_ended_by_the_next(tmp_path, run_main):
    first_pixel_dataset(tmp_path / "dataset")
    flag = tmp_path / "second-time"
    write_submission(tmp_path / "submissions/once", f"#!/bin/sh\ntest -e {flag} || sleep 600\n")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    path = write_tournament(tmp_path / "tiny.yaml")
    with harness_process("run", path):
        wait_until(lambda: [one for one in submissions_of(tmp_path / "out") if "sleep" in one.name()])
    assert submissions_of(tmp_path / "out")
    flag.touch()
    assert run_main("run", path) == 0
    assert_gone(store_identity(tmp_path / "out"))


def submissions_of(output):
    """The living processes that a run of the process sandbox started."""
    identity = store_identity(output)
    return living(identity) if identity else []


# --- stopped


@pytest.fixture
def endless(tmp_path):
    """Attacks that do not end by themselves, one of them deaf to kind words."""
    first_pixel_dataset(tmp_path / "dataset")
    for name, deaf in (("patient", ""), ("deaf", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n")):
        write_attack(tmp_path / "submissions" / name, f"{deaf}import time\nprint('begun', flush=True)\ntime.sleep(600)")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_run_says_so_and_leaves_nothing(endless, number):
    with harness_process("run", write_tournament(endless / "tiny.yaml", slots=2)) as harness:
        wait_until(lambda: len(submissions_of(endless / "out")) >= 2)
        harness.send_signal(number)
        _, errors = harness.communicate(timeout=60)
    assert (harness.returncode, errors) == (130, STOPPED)
    assert_gone(store_identity(endless / "out"))
    assert list((endless / "out/store/work").iterdir()) == []


def test_an_impatient_second_signal_does_not_cut_the_clean_up_short(endless):
    with harness_process("run", write_tournament(endless / "tiny.yaml", slots=2)) as harness:
        wait_until(lambda: len(submissions_of(endless / "out")) >= 2)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            harness.send_signal(number)
            time.sleep(0.02)
        _, errors = harness.communicate(timeout=60)
    assert (harness.returncode, errors) == (130, STOPPED)
    assert_gone(store_identity(endless / "out"))
    assert list((endless / "out/store/work").iterdir()) == []


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_run_leaves_no_container(endless, docker_engine, number):
    def running():
        identity = store_identity(endless / "out")
        found = containers(docker_engine, identity) if identity else []
        return len([one for one in found if one.status == "running"]) >= 2

    with harness_process("run", write_tournament(endless / "tiny.yaml", slots=2, sandbox="docker")) as harness:
        wait_until(running)
        harness.send_signal(number)
        _, errors = harness.communicate(timeout=60)
    assert (harness.returncode, errors) == (130, STOPPED)
    assert not containers(docker_engine, store_identity(endless / "out"))
    assert list((endless / "out/store/work").iterdir()) == []


def test_one_harness_at_a_time_writes_a_store(endless, run_main, capsys):
    path = write_tournament(endless / "tiny.yaml")
    with harness_process("run", path) as harness:
        wait_until(lambda: submissions_of(endless / "out"))
        assert run_main("run", path) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "another harness is at work" in line
        assert submissions_of(endless / "out")
        harness.terminate()
        harness.communicate(timeout=60)


# --- known already


def test_a_second_run_calls_nobody(tiny, finished):
    assert set(finished[1].calls) == {"plus3", "minus9", "towards", "first_pixel", "sum_of_pixels"}
    before, ledger = board_bytes(tiny), read_ledger(tiny.parent / "out/store")
    again = play_file(tiny)
    assert again.calls == {}
    assert again.board["complete"]
    assert board_bytes(tiny) == before
    assert read_ledger(tiny.parent / "out/store") == ledger
    assert_nothing_twice(tiny.parent / "out/store")


def test_the_same_store_gives_the_same_bytes_to_another_output(tiny):
    shared = tiny.parent / "out/store"
    assert play_file(tiny, store=shared, output=tiny.parent / "other").calls == {}
    assert (tiny.parent / "other/leaderboard.json").read_bytes() == board_bytes(tiny)


def test_a_new_defense_is_all_that_is_called(tiny):
    """One defense's time, whatever was played before."""
    store, ledger = tiny.parent / "out/store", read_ledger(tiny.parent / "out/store")
    rule_defense(tiny.parent / "submissions/another", first_pixel_again)
    result = play_file(tiny)
    assert set(result.calls) == {"another"}
    assert read_ledger(store)[: len(ledger)] == ledger
    assert {role for _, role, _ in read_ledger(store)[len(ledger) :]} == {"defense"}
    assert [row["name"] for row in result.board["defenses"]].count("another") == 1
    assert result.board["complete"]
    assert_nothing_twice(store)


def first_pixel_again(pixels):
    return int(pixels[0, 0, 0] // 10)


def test_a_new_attack_and_its_column_are_all_that_is_called(tiny):
    store, ledger = tiny.parent / "out/store", read_ledger(tiny.parent / "out/store")
    shift(tiny.parent / "submissions/plus11", 11)
    result = play_file(tiny)
    assert set(result.calls) == {"plus11", "first_pixel", "sum_of_pixels"}
    assert result.calls["plus11"] == 3
    assert read_ledger(store)[: len(ledger)] == ledger
    after = f"SELECT role, SUM(images) FROM calls WHERE number > {len(ledger)} GROUP BY role ORDER BY role"
    assert read_index(store, after) == [("attack", 6), ("defense", 12)]
    assert_nothing_twice(store)


def test_an_attack_that_changes_nothing_costs_no_defense_call(tiny):
    shift(tiny.parent / "submissions/noop", 0)
    write_attack(tiny.parent / "submissions/copy", "import shutil\nfor n in names: shutil.copy(source / n, target / n)")
    write_attack(tiny.parent / "submissions/silent", "pass")
    assert play_file(tiny).calls == {"noop": 3, "copy": 3, "silent": 3}


def test_names_and_true_labels_are_no_part_of_a_call(tiny):
    before = read_board(tiny.parent / "out")
    shutil.move(tiny.parent / "submissions/plus3", tiny.parent / "submissions/renamed")
    table = tiny.parent / "dataset/dataset.csv"
    table.write_text(table.read_text().replace("img1,1,", "img1,777,"))
    result = play_file(tiny, name="another name")
    assert result.calls == {}
    (one, other) = (board["defenses"][0]["clean_accuracy"]["normalised"] for board in (before, result.board))
    assert (one, other) == (1.0, pytest.approx(5 / 6, abs=1e-6))


def test_another_epsilon_calls_the_attacks_again(tiny):
    calls = play_file(tiny, epsilon=[16, 2]).calls
    assert [calls[name] for name in ("plus3", "minus9", "towards")] == [3, 3, 3]


# --- not what it was


def test_a_dataset_image_that_changed_between_runs_stops_the_next(tiny, run_main, capsys):
    before, ledger = board_bytes(tiny), read_ledger(tiny.parent / "out/store")
    image = tiny.parent / "dataset/images/img2.png"
    original = image.read_bytes()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(image)
    assert run_main("run", tiny) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"harness: {image}: this image of the dataset changed since the run began; restore it")
    assert (board_bytes(tiny), read_ledger(tiny.parent / "out/store")) == (before, ledger)
    image.write_bytes(original)
    assert play_file(tiny).calls == {}
    assert board_bytes(tiny) == before


def test_a_dataset_image_that_changes_during_a_run_stops_it(tiny, run_main, capsys):
    image = tiny.parent / "dataset/images/img2.png"
    (tiny.parent / "out/leaderboard.json").unlink()
    original = image.read_bytes()
    body = f"Image.new('RGB', (8, 8)).save({str(image)!r})"
    write_attack(tiny.parent / "submissions/vandal", body)
    assert run_main("run", tiny) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(image) in line
    assert not (tiny.parent / "out/leaderboard.json").exists()
    image.write_bytes(original)
    shutil.rmtree(tiny.parent / "submissions/vandal")
    assert play_file(tiny).calls == {}


def test_a_deleted_object_is_made_again(tiny):
    output = tiny.parent / "out"
    before, known = board_bytes(tiny), predictions(output / "store")
    clean = [image["clean"] for image in json.loads((output / "round.json").read_text())["images"]]
    ((made,),) = read_index(output / "store", "SELECT digest FROM audits WHERE image = 'img3' AND raw_linf = 3 LIMIT 1")
    for digest in (clean[0], made):
        (output / "store/objects" / digest[:2] / digest[2:]).unlink()
    assert play_file(tiny).calls == {"plus3": 1}
    for digest in (clean[0], made):
        data = (output / "store/objects" / digest[:2] / digest[2:]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
    assert (board_bytes(tiny), predictions(output / "store")) == (before, known)
    assert play_file(tiny).calls == {}


def test_a_damaged_object_is_found_before_it_is_shown_and_made_again(tiny, run_main, capsys):
    store = tiny.parent / "out/store"
    ((made,),) = read_index(store, "SELECT digest FROM audits WHERE image = 'img3' AND raw_linf = 3 LIMIT 1")
    path = store / "objects" / made[:2] / made[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20] + bytes(20))
    rule_defense(tiny.parent / "submissions/another", first_pixel_again)
    assert run_main("run", tiny) == 0
    said = capsys.readouterr().out
    assert f"object {made} is damaged; run the same command again to make it anew: this is done now" in said
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made
    assert read_board(tiny.parent / "out")["complete"]
    ((shown,),) = read_index(store, f"SELECT COUNT(*) FROM predictions WHERE digest = '{made}'")
    assert shown == 3


def test_a_deleted_copy_of_a_submission_is_made_again(tiny):
    shutil.rmtree(tiny.parent / "out/store/code")
    rule_defense(tiny.parent / "submissions/another", first_pixel_again)
    assert set(play_file(tiny).calls) == {"another"}
