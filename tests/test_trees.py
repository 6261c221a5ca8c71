"""A stranger's folder is gone afterwards, whatever was made of it, and nothing outside of it is."""

import os

import pytest

from harness import trees
from harness.trees import remove_tree


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(trees, "SOME", 3)


@pytest.mark.usefixtures("small_parts")
def test_more_entries_than_are_looked_at_together(tmp_path):
    folder = tmp_path / "folder"
    for number in range(11):
        (folder / f"inner{number}" / "deep").mkdir(parents=True)
        (folder / f"file{number}").touch()
        (folder / f"inner{number}" / f"file{number}").touch()
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_deeper_than_a_path_can_say(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path):
    kept, folder = tmp_path / "kept", tmp_path / "folder"
    kept.mkdir()
    (kept / "file").touch()
    folder.mkdir()
    (folder / "link").symlink_to(kept)
    remove_tree(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]


@pytest.mark.usefixtures("small_parts")
def test_what_cannot_be_removed_is_left_and_ends_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(7):
        (folder / f"file{number}").touch()
    unlink = os.unlink

    def refuse_some(name, **keywords):
        if name in ("file1", "file4"):
            raise PermissionError(name)
        unlink(name, **keywords)

    monkeypatch.setattr(os, "unlink", refuse_some)
    remove_tree(folder)
    assert {"file1", "file4"} <= {path.name for path in folder.iterdir()}
