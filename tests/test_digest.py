"""Digests are the identity of everything that is stored: a change of one of these literals throws away every result
that anybody has. They are pinned, and so is what they do and do not depend on."""

import hashlib
import json
import os
import time
from dataclasses import fields, replace

import pytest
from helpers import write_submission
from hypothesis import given
from hypothesis import strategies as st

from harness.digest import (
    LARGE_BYTES,
    SETTLED_NS,
    digest_bytes,
    digest_file,
    digest_tree,
    digest_value,
    seed_from,
    tree_files,
)
from harness.records import Limits, Role, WorkUnit
from harness.submission import load_submission

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)

UNIT = WorkUnit(Role.ATTACK, "s" * 64, "c" * 64, "i" * 64, 16, 7, Limits())

OTHER = {
    "role": Role.TARGETED_ATTACK,
    "submission": "t" * 64,
    "container": "d" * 64,
    "inputs": "j" * 64,
    "epsilon": 8,
    "seed": 8,
    "limits": Limits(seconds=499.0),
    "gpu": True,
    "protocol": 2,
}


def test_bytes_are_plain_sha256():
    assert digest_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_bytes(memoryview(b"abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.binary(max_size=200))
def test_a_file_has_the_digest_of_its_bytes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(data)
    assert digest_file(path) == digest_bytes(data)


def overwrite(path, data):
    """Writes in place and sets the time of the last change back to what it was."""
    before = path.stat()
    path.write_bytes(data)
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of a file system has ticks
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("age", [2 * SETTLED_NS, -(10**12)], ids=["settled", "from-the-future"])
def test_a_file_that_was_written_over_is_read_again_whatever_its_time_of_change(tmp_path, monkeypatch, age):
    monkeypatch.setattr("harness.digest.SETTLED_NS", -(10**18))  # nothing is too new to be remembered
    path, moment = tmp_path / "weights", time.time_ns() - age
    one, other = bytes(LARGE_BYTES), bytes([1]) * LARGE_BYTES
    path.write_bytes(one)
    os.utime(path, ns=(moment, moment))
    assert digest_file(path) == digest_bytes(one)
    overwrite(path, other)
    assert path.stat().st_mtime_ns == moment
    assert digest_file(path) == digest_bytes(other)


@pytest.mark.parametrize(
    ("size", "settled", "times"),
    [(LARGE_BYTES, -(10**18), 1), (LARGE_BYTES, 10**18, 2), (LARGE_BYTES - 1, -(10**18), 2)],
    ids=["large", "large-but-new", "small"],
)
def test_only_a_large_file_that_was_left_alone_is_not_read_again(tmp_path, monkeypatch, size, settled, times):
    monkeypatch.setattr("harness.digest.SETTLED_NS", settled)
    (tmp_path / "weights").write_bytes(bytes(size))
    reads, read = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *arguments: reads.append(1) or read(*arguments))
    assert digest_file(tmp_path / "weights") == digest_file(tmp_path / "weights") == digest_bytes(bytes(size))
    assert len(reads) == times


def test_value_is_pinned():
    value = {"b": [1, None, "é"], "a": True}
    assert digest_value("unit", value) == "f930021b9efd4b96865b6283cc1375f9bd26cf2fa56c345ce7fab2d8e42dc9d7"


@given(st.dictionaries(st.text(), JSON), st.randoms())
def test_value_does_not_depend_on_the_order_of_keys(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest_value("unit", dict(items)) == digest_value("unit", value)


@given(st.lists(JSON, min_size=2, max_size=2))
def test_different_values_and_kinds_differ(pair):
    same = json.dumps(pair[0], sort_keys=True) == json.dumps(pair[1], sort_keys=True)
    assert (digest_value("unit", pair[0]) == digest_value("unit", pair[1])) is same
    assert digest_value("unit", pair[0]) != digest_value("player", pair[0])


def test_seeds_are_pinned():
    assert seed_from("player", [0, "x"]) == 1164794170
    assert seed_from("bootstrap", 0) == 453237669


@given(st.text(), JSON)
def test_seeds_fit_in_32_bits(kind, value):
    assert 0 <= seed_from(kind, value) < 1 << 32


def test_work_unit_is_pinned():
    assert UNIT.key == "67abad44dbd1f428e02c2c770e8d732a1d8bcaac29039f0bf8a80d4d6d189fdb"
    assert UNIT.player == "02a22f9aaa5b90e4cffdff8140af028a93d13218d4286291597e49a431192995"


def test_every_field_of_a_work_unit_is_tried_below():
    assert set(OTHER) == {field.name for field in fields(WorkUnit)}


@pytest.mark.parametrize("field", OTHER)
def test_the_key_depends_on_every_field_and_the_player_on_all_but_the_input(field):
    other = replace(UNIT, **{field: OTHER[field]})
    assert other.key != UNIT.key
    assert (other.player == UNIT.player) is (field in ("inputs", "epsilon"))


@pytest.mark.parametrize("limit", [field.name for field in fields(Limits)])
def test_the_key_depends_on_every_limit(limit):
    limits = replace(Limits(), **{limit: 17})
    known = limit == "gpu_memory"  # which says how many calls share a GPU, and changes no result
    assert (replace(UNIT, limits=limits).key == UNIT.key) is known


# --- folders


@pytest.fixture
def folder(tmp_path):
    return write_submission(tmp_path / "tree", program="#!/bin/sh\nexit 0\n", files={"data/table": "1,2\n"})


def tree(folder):
    return load_submission(folder).digest


def test_tree_is_pinned(folder):
    assert tree(folder) == "cbfe767be2f82d8d18c4daf391328949bd7b92725850351c4bd40543271bc912"


def rename(folder):
    return folder.rename(folder.parent / "another name")


def describe(folder):
    keys = json.loads((folder / "metadata.json").read_text())
    words = {"name": "Best of all", "authors": ["A"], "description": "It attacks.", "url": "https://example.org"}
    (folder / "metadata.json").write_text(json.dumps(keys | words, indent=4))
    return folder


def leave_caches(folder):
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("ref")
    (folder / "data/.DS_Store").write_bytes(b"x")
    return folder


def close_to_others(folder):
    (folder / "run.sh").chmod(0o700)
    (folder / "data/table").chmod(0o600)
    return folder


@pytest.mark.parametrize("change", [rename, describe, leave_caches, close_to_others])
def test_the_digest_stays_when_the_code_stays(folder, change):
    before = tree(folder)
    assert tree(change(folder)) == before


def edit_code(folder):
    (folder / "run.sh").write_text("#!/bin/sh\nexit 1\n")


def edit_data(folder):
    (folder / "data/table").write_text("1,3\n")


def make_executable(folder):
    (folder / "data/table").chmod(0o755)


def add_file(folder):
    (folder / "data/empty").write_text("")


def move_file(folder):
    (folder / "data/table").rename(folder / "data/chart")


def change_entry_point(folder):
    (folder / "other.sh").write_text("")
    (folder / "other.sh").chmod(0o755)
    set_key(folder, entry_point="other.sh")


def change_type(folder):
    set_key(folder, type="defense")


def set_key(folder, **changes):
    keys = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(keys | changes))


@pytest.mark.parametrize(
    "change", [edit_code, edit_data, make_executable, add_file, move_file, change_entry_point, change_type]
)
def test_the_digest_changes_with_what_the_code_does(folder, change):
    before = tree(folder)
    change(folder)
    assert tree(folder) != before


def test_the_entry_point_alone_changes_the_digest(folder):
    functional = {"type": "attack", "entry_point": "run.sh"}
    assert digest_tree(folder, functional) != digest_tree(folder, functional | {"entry_point": "data/table"})


# --- weights


NAMED = "7b46d7d7c04adbae39fa6791058a82b9d9bbe133835861c57cc63679b9344485"


@pytest.fixture
def named(folder, tmp_path, monkeypatch):
    """A submission that names its weights; the weights folder is `cache`."""
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    set_key(folder, weights=["tiny", "another_1"])
    return folder


def put(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.safetensors").write_text(text)


def test_weights_count_the_same_wherever_they_lie(named, tmp_path):
    put(tmp_path / "cache", tiny="1", another_1="2", of_others="3")
    assert tree(named) == NAMED
    put(named / "weights", tiny="1")
    assert tree(named) == NAMED
    put(named / "weights", another_1="2")
    assert tree(named) == NAMED
    set_key(named, weights=[])
    assert tree(named) == NAMED, "files that are not named so are files of the submission all the same"


def test_whether_weights_could_be_executed_means_nothing(named, tmp_path):
    put(tmp_path / "cache", tiny="1")
    put(named / "weights", another_1="2")
    for path in (tmp_path / "cache/tiny.safetensors", named / "weights/another_1.safetensors"):
        path.chmod(0o755)
    assert tree(named) == NAMED


@pytest.mark.parametrize("where", ["cache", "tree/weights"])
def test_the_digest_changes_with_the_bytes_of_weights(named, tmp_path, where):
    put(tmp_path / "cache", tiny="1", another_1="2")
    put(tmp_path / where, tiny="2")
    assert tree(named) != NAMED


def test_a_submission_without_named_weights_has_the_digest_that_it_always_had(folder):
    before = tree(folder)
    set_key(folder, weights=[])
    assert tree(folder) == before


def test_links_are_listed_and_not_followed(folder):
    (folder / "data/loop").symlink_to(folder)
    assert [name for name, _ in tree_files(folder)] == ["data/loop", "data/table", "metadata.json", "run.sh"]
