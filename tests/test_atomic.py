"""A reader never sees half a file: whatever moment a write is cut off at, the old file or the new one is there."""

import subprocess
import sys

import pytest

from harness.atomic import atomic_path, write_atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("data", "written"),
    [(b"\x00\xff", b"\x00\xff"), ("é\r\n", b"\xc3\xa9\r\n"), ("", b"")],
    ids=["bytes", "text", "empty"],
)
def test_writes_exactly_what_it_is_given(tmp_path, data, written, durable):
    path = tmp_path / "new" / "folder" / "file"
    write_atomic(path, data, durable=durable)
    assert path.read_bytes() == written
    assert names(path.parent) == ["file"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_block_that_writes_nothing_is_an_error_and_changes_nothing(tmp_path):
    (tmp_path / "file").write_text("old")

    def forget():
        with atomic_path(tmp_path / "file"):
            pass

    with pytest.raises(FileNotFoundError):
        forget()
    assert (tmp_path / "file").read_text() == "old"


def test_a_process_that_dies_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    program = (
        "import os, sys; from pathlib import Path; from harness.atomic import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == 9
    assert path.read_text() == "old"
