"""A tournament whose images lie in an object store ends with the same board, byte for byte, as one on a disk; what is
lost or damaged there is made anew; and whoever scores, publishes or cleans up finds the place by himself."""

import json
import shutil
import threading
from contextlib import closing

import pytest
from builders import (
    Listener,
    first_pixel_dataset,
    play_file,
    read_ledger,
    write_submission,
    write_tournament,
)
from helpers import FakeSandbox
from places import files_at, key_of, make_bucket, make_place, overwrite, s3_server

from harness import bucket, runner
from harness.config import load_tournament
from harness.digest import digest_bytes
from harness.errors import EngineUnavailableError
from harness.executors.local_ground import Playground
from harness.objects import open_objects
from harness.store import Store
from harness.tournament import play

NOOP = '#!/bin/sh\ncp "$1"/*.png "$2"\n'
FIRST = """#!/bin/sh
for file in "$1"/*.png; do
    first=${first:-$file}
    cp "$first" "$2/${file##*/}"
done
"""
"""An attack that writes one picture under every name, which the harness then forces into the budget."""

SUM = """#!/bin/sh
for file in "$1"/*.png; do
    set -- "$1" "$2" $(cksum <"$file")
    echo "${file##*/},$(($3 % 900 + 1))"
done >"$2"
"""
"""A defense whose answer depends on every byte."""


@pytest.fixture(scope="module")
def server():
    with s3_server() as server:
        yield server


def write_tiny(folder):
    """Two attacks and a defense on four images, which lie in the store's own folder unless `objects` says more."""
    first_pixel_dataset(folder / "dataset")
    for name, role, program in (("first", "attack", FIRST), ("noop", "attack", NOOP), ("sum", "defense", SUM)):
        write_submission(folder / "submissions" / name, program, role)
    return write_tournament(folder / "tiny.yaml", batch_size=2)


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path)


@pytest.fixture
def place(server):
    return f"{make_bucket()}/deep/er"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, server):
    """A tournament that was played once with its images in an object store; not to be written to."""
    path, place = write_tiny(tmp_path_factory.mktemp("finished")), f"{make_bucket()}/deep/er"
    play_file(path, objects=place)
    return path.parent, place


@pytest.fixture
def remote(finished, tmp_path, place):
    """A copy of it and of all that is at its place."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    files, root = files_at(finished[1])
    for path in files.find(root):
        overwrite(place, path.removeprefix(f"{root}/"), files.cat_file(path))
    (tmp_path / "out/store/place").write_text(place)
    return tmp_path / "tiny.yaml"


def board(output):
    return (output / "leaderboard.json").read_bytes()


def empty_cache(store):
    shutil.rmtree(store / "objects")


@pytest.mark.parametrize("form", ["s3://", "memory://", "shared folder"])
def test_the_board_is_the_same_wherever_the_images_lie(tiny, tmp_path, server, form):
    play_file(tiny, output=str(tmp_path / "local"))
    place = make_place(form, tmp_path)
    play_file(tiny, objects=place)
    assert board(tmp_path / "out") == board(tmp_path / "local")
    with closing(Store(tmp_path / "local/store")) as local, closing(Store(tmp_path / "out/store")) as store:
        assert store.objects.place == place
        assert set(store.objects.digests()) == set(local.objects.digests())
        for digest in local.objects.digests():
            assert files_at(place)[0].cat_file(f"{files_at(place)[1]}/{key_of(digest)}") == local.objects.read(digest)


def test_nothing_is_called_again_and_nobody_needs_the_cache(remote, run_main, capfd, tmp_path):
    before, ledger = board(tmp_path / "out"), read_ledger(tmp_path / "out/store")
    empty_cache(tmp_path / "out/store")
    assert run_main("run", remote) == 0
    assert "nothing was left to call" in capfd.readouterr().out
    (tmp_path / "out/leaderboard.json").unlink()
    assert run_main("score", tmp_path / "out") == 0
    assert board(tmp_path / "out") == before
    assert read_ledger(tmp_path / "out/store") == ledger


def test_pictures_are_published_and_made_again_from_there(remote, run_main, tmp_path):
    empty_cache(tmp_path / "out/store")
    assert run_main("publish", tmp_path / "out", "--to", tmp_path / "site") == 0
    assert list((tmp_path / "site").rglob("clean-0.*"))
    empty_cache(tmp_path / "out/store")
    assert run_main("verify", tmp_path / "site", "--store", tmp_path / "out") == 0


@pytest.mark.parametrize("step", [1, 2], ids=["all", "every second one"])
@pytest.mark.parametrize("left", [None, b"evil"], ids=["lost", "damaged"])
def test_what_is_lost_or_damaged_there_is_made_anew(remote, run_main, tmp_path, place, left, step):
    """By one command, whatever it is. Another defense has to see images that were made before."""
    before = board(tmp_path / "out")
    with closing(Store(tmp_path / "out/store")) as store:
        digests = sorted(store.objects.digests())
        if left is None:
            store.objects.remove(digests[::step])
        else:
            for digest in digests[::step]:
                overwrite(place, key_of(digest), left)
    empty_cache(tmp_path / "out/store")
    write_submission(tmp_path / "submissions/other", f"{SUM}# another\n", "defense")
    assert run_main("run", remote) == 0
    with closing(Store(tmp_path / "out/store")) as store:
        assert sorted(store.objects.digests()) == digests
    objects = open_objects(place, tmp_path / "another machine")
    assert [digest_bytes(objects.read(digest)) for digest in digests] == digests
    shutil.rmtree(tmp_path / "submissions/other")
    assert run_main("run", remote) == 0
    assert board(tmp_path / "out") == before


def test_one_command_mends_damage_of_more_calls_than_it_begins_again(tmp_path, run_main):
    """Here each of twelve calls has damage of its own, and a command begins but thrice."""
    first_pixel_dataset(tmp_path / "dataset", 12)
    write_submission(tmp_path / "submissions/noop", NOOP, "attack")
    write_submission(tmp_path / "submissions/sum", SUM, "defense")
    path, place = write_tournament(tmp_path / "tiny.yaml", batch_size=1, slots=1), make_place("memory://", tmp_path)
    play_file(path, objects=place)
    before = board(tmp_path / "out")
    with closing(Store(tmp_path / "out/store")) as store:
        for digest in store.objects.digests():
            overwrite(place, key_of(digest), b"evil")
    empty_cache(tmp_path / "out/store")
    write_submission(tmp_path / "submissions/other", f"{SUM}# another\n", "defense")
    assert run_main("run", path) == 0
    shutil.rmtree(tmp_path / "submissions/other")
    assert run_main("run", path) == 0
    assert board(tmp_path / "out") == before


def test_gc_removes_what_no_run_needs_from_the_place_and_from_the_cache(remote, run_main, capfd, tmp_path, place):
    with closing(Store(tmp_path / "out/store")) as store:
        needed = set(store.objects.digests())
        extra = store.objects.add(bytes(3 << 20))
    capfd.readouterr()
    assert run_main("gc", tmp_path / "out", "--dry-run") == 0
    assert "1 other objects and 0 copies of code are unused" in capfd.readouterr().out
    files, root = files_at(place)
    assert files.exists(f"{root}/{key_of(extra)}")
    assert run_main("gc", tmp_path / "out") == 0
    assert "3.0 MiB freed" in capfd.readouterr().out
    assert not files.exists(f"{root}/{key_of(extra)}")
    assert not (tmp_path / "out/store/objects" / key_of(extra)).exists()
    with closing(Store(tmp_path / "out/store")) as store:
        assert set(store.objects.digests()) == needed
    assert run_main("run", remote) == 0
    assert "nothing was left to call" in capfd.readouterr().out


def test_the_option_stands_over_the_file_and_a_store_stays_where_it_is(tiny, run_main, capfd, tmp_path, place):
    assert run_main("run", tiny, "--objects", place) == 0
    line = f"{tmp_path}/out/store: its objects are at {place} and not at {tmp_path}/elsewhere; name that, or another"
    assert run_main("run", tiny, "--objects", tmp_path / "elsewhere") == 1
    assert line in capfd.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("wrong", ["s3://nobody-made-this/x", "s4://bucket/x", "s3://key:secret@bucket/x", "s3://[x"])
def test_a_slip_of_the_pen_is_one_line_and_not_for_life(tiny, run_main, capfd, tmp_path, place, monkeypatch, wrong):
    monkeypatch.setattr(bucket, "BACK_OFF_SECONDS", 0.01)
    assert run_main("run", tiny, "--objects", wrong) == 1
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "secret" not in err
    assert run_main("run", tiny, "--objects", place) == 0
    with closing(Store(tmp_path / "out/store")) as store:
        assert store.objects.place == place


def test_a_folder_in_the_file_is_taken_from_the_files_own_folder(tiny, run_main, tmp_path):
    text = tiny.read_text()
    tiny.write_text(f"{text}objects: shared\n")
    assert run_main("run", tiny) == 0
    with closing(Store(tmp_path / "out/store")) as store:
        assert store.objects.place == str(tmp_path / "shared")


def test_a_store_that_is_another_ones_place_is_refused(remote, run_main, capfd, tmp_path, place):
    assert run_main("run", remote, "--output", tmp_path / "second", "--objects", place) == 1
    assert f"{place}: holds the objects of another store" in capfd.readouterr().err


def test_a_server_that_is_down_is_one_line(remote, run_main, capfd, tmp_path, server, place, monkeypatch):
    monkeypatch.setattr(bucket, "BACK_OFF_SECONDS", 0.01)
    server.stop()
    try:
        capfd.readouterr()
        assert run_main("run", remote) == 1
        err = capfd.readouterr().err
        assert run_main("score", tmp_path / "out") == 0, "a board needs no images"
    finally:
        server.start()
    assert err.startswith(f"harness: {place}: no place for objects (")
    assert len(err.splitlines()) == 1
    assert run_main("run", remote) == 0


class Breaking(Listener):
    """A display that stops the server when a call ended, and has it started again a while after the next has failed."""

    def __init__(self, server):
        super().__init__()
        self._server, self._away = server, False
        self.failures = []
        self.starts = threading.Timer(0.3, server.start)

    def ended(self, call, outcome, progress):
        super().ended(call, outcome, progress)
        if not self._away:
            self._server.stop()
            self._away = True

    def failed(self, call, error, again):
        self.failures.append((call.label, again))
        if len(self.failures) == 1:
            self.starts.start()


def test_a_server_that_is_away_for_a_while_changes_nothing(tiny, tmp_path, server, place, monkeypatch):
    monkeypatch.setattr(bucket, "BACK_OFF_SECONDS", 0.01)
    monkeypatch.setattr(runner, "BACK_OFF_SECONDS", 0.1)
    play_file(tiny, output=str(tmp_path / "local"), slots=1)
    display = Breaking(server)
    try:
        play(load_tournament(tiny, {"objects": place, "slots": 1}), display)
    finally:
        display.starts.join()
    assert len(display.calls) > 1, "it was away in the midst of the run"
    assert [again for _, again in display.failures] == [True]
    assert board(tmp_path / "out") == board(tmp_path / "local")


def test_calls_wait_for_a_place_that_does_not_answer(server, tmp_path, place, monkeypatch):
    """Else each would be given up after a few attempts."""
    monkeypatch.setattr(bucket, "BACK_OFF_SECONDS", 0.01)
    ground = Playground(FakeSandbox(), open_objects(place, tmp_path))
    ground.check()
    server.stop()
    try:
        with pytest.raises(EngineUnavailableError, match=f"{place}: the objects do not answer"):
            ground.check()
    finally:
        server.start()
    ground.check()


def test_no_key_is_written_down(remote, server, tmp_path):
    """Where the objects lie is said, how to get there is not."""
    secrets = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    words = [server.environment[name].encode() for name in secrets]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files for word in words if word in path.read_bytes()] == []
    assert "objects" not in json.loads((tmp_path / "out/round.json").read_text())
