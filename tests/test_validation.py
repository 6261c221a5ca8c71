"""What lies in an output folder was put there by a stranger: a pipe must not make us wait, a link must not make us read
another's file, and a folder in a picture's place is that picture's fault and not the end of the run."""

import itertools
import os
import socket
import threading

import pytest

from harness import validation
from harness.records import Fault
from harness.validation import OutputFaultError, bytes_below, count_unknown, read_output

NAME = "image.png"
DATA = bytes(range(100))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(DATA)
    (tmp_path / "output").mkdir()
    monkeypatch.chdir(tmp_path / "output")
    return tmp_path / "output"


def nothing(path):
    pass


def soft_link(path):
    path.symlink_to("../secret")


def link_to_itself(path):
    path.symlink_to(path.name)


def link_to_nothing(path):
    path.symlink_to("absent")


def hard_link(path):
    os.link(path.parent.parent / "secret", path)


def directory(path):
    path.mkdir()


def full_directory(path):
    path.mkdir()
    (path / NAME).write_bytes(DATA)


def pipe(path):
    os.mkfifo(path)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)


def device(path):
    path.symlink_to("/dev/zero")


def too_large(path):
    path.write_bytes(DATA + b"x")


def sparse(path):
    path.touch()
    os.truncate(path, 1 << 40)


BAD = {
    nothing: Fault.MISSING,
    soft_link: Fault.NOT_A_FILE,
    link_to_itself: Fault.NOT_A_FILE,
    link_to_nothing: Fault.NOT_A_FILE,
    hard_link: Fault.NOT_A_FILE,
    directory: Fault.NOT_A_FILE,
    full_directory: Fault.NOT_A_FILE,
    pipe: Fault.NOT_A_FILE,
    unix_socket: Fault.NOT_A_FILE,
    device: Fault.NOT_A_FILE,
    too_large: Fault.TOO_LARGE,
    sparse: Fault.TOO_LARGE,
}


def open_files():
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_is_no_file_of_its_own_has_a_fault(folder, make):
    make(folder / NAME)
    before = open_files()
    with pytest.raises(OutputFaultError) as caught:
        read_output(folder, NAME, len(DATA))
    assert caught.value.fault is BAD[make]
    assert caught.value.detail
    assert open_files() == before


def test_a_file_is_read_whole(folder):
    for data in (b"", DATA):
        (folder / NAME).write_bytes(data)
        before = open_files()
        assert read_output(folder, NAME, len(DATA)) == data
        assert open_files() == before


def test_a_folder_that_is_gone_has_nothing(folder):
    folder.rmdir()
    with pytest.raises(OutputFaultError) as caught:
        read_output(folder, NAME, 1)
    assert caught.value.fault is Fault.MISSING
    assert count_unknown(folder, []) == 0


def test_a_file_in_the_folders_place_has_nothing(folder):
    folder.rmdir()
    folder.write_bytes(DATA)
    with pytest.raises(OutputFaultError) as caught:
        read_output(folder, NAME, 1)
    assert caught.value.fault is Fault.NOT_A_FILE
    assert count_unknown(folder, []) == 0


def test_a_link_in_the_folders_place_is_not_followed(folder):
    """Whoever may remove the folder could have another's read as its own."""
    (folder / NAME).write_bytes(DATA)
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")
    before = open_files()
    with pytest.raises(OutputFaultError) as caught:
        read_output(folder, NAME, len(DATA))
    assert caught.value.fault is Fault.NOT_A_FILE
    assert open_files() == before


def test_unknown_names_are_counted_whatever_they_are(folder):
    directory(folder / "folder")
    pipe(folder / "pipe")
    link_to_nothing(folder / "link")
    (folder / NAME).touch()
    (folder / os.fsdecode(b"\xff\n")).touch()
    assert count_unknown(folder, [NAME, "absent.png"]) == 4
    assert count_unknown(folder, []) == 5


def test_counting_ends(folder, monkeypatch):
    monkeypatch.setattr(validation, "MAX_LISTED", 10)
    for number in range(15):
        (folder / str(number)).touch()
    assert count_unknown(folder, []) == 10


# --- how much was written

ENOUGH = 1 << 60


def test_an_empty_folder_takes_nothing(folder):
    assert bytes_below(folder, ENOUGH) == 0


def test_what_is_written_is_counted_at_any_depth(folder):
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(os.urandom(1 << 20))
    (folder / "file").write_bytes(os.urandom(1 << 20))
    assert 2 << 20 <= bytes_below(folder, ENOUGH) < 3 << 20


def test_a_sparse_file_counts_what_it_takes_up(folder):
    sparse(folder / "sparse")
    assert bytes_below(folder, ENOUGH) < 1 << 20


def test_empty_files_add_up(folder):
    for number in range(100):
        (folder / str(number)).touch()
    assert bytes_below(folder, ENOUGH) >= 100 * 512


def test_links_are_not_followed(folder):
    (folder.parent / "secret").write_bytes(os.urandom(1 << 20))
    (folder / "up").symlink_to("..")
    (folder / "secret").symlink_to("../secret")
    assert bytes_below(folder, ENOUGH) < 1 << 20


def test_looking_ends_once_it_is_enough(folder, monkeypatch):
    """Each name has a cost; a million of them are not all looked at."""
    for number in range(50):
        (folder / f"folder{number}").mkdir()
        (folder / f"folder{number}" / "file").write_bytes(bytes(10_000))
    opened = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    assert bytes_below(folder, 25_000) > 25_000
    assert len(opened) < 10


def test_a_folder_too_deep_to_be_looked_at_counts_as_too_much(folder):
    here = os.open(folder, os.O_RDONLY)
    handles = [here]
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=handles[-1])
        handles.append(os.open("x" * 200, os.O_RDONLY, dir_fd=handles[-1]))
    try:
        assert bytes_below(folder, 1 << 40) > 1 << 40
    finally:
        for parent, child in reversed(list(itertools.pairwise(handles))):
            os.close(child)
            os.rmdir("x" * 200, dir_fd=parent)
        os.close(here)


def test_a_folder_that_changes_meanwhile_is_no_error(folder):
    """As in a run: the submission writes and removes while we look."""
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            (folder / "a").mkdir(exist_ok=True)
            (folder / "a" / "file").write_bytes(DATA)
            (folder / "a" / "file").unlink()
            (folder / "a").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            assert bytes_below(folder, ENOUGH) < 1 << 20
    finally:
        stop.set()
        thread.join()


def test_a_folder_that_is_gone_takes_nothing(folder):
    folder.rmdir()
    assert bytes_below(folder, ENOUGH) == 0
