"""What a submission finds in its folders must tell it nothing that it was not told: a defense that knew which images
were made together would know the attack. And nothing that it does there may reach the store."""

import os
import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest
from helpers import FakeSandbox, open_field, write_dataset, write_players

from harness.plan import attack_call
from harness.records import Role, Slot


class Looking(FakeSandbox):
    """Looks at what is staged; `look(job)` runs where the submission would.

    held: keeps the files open, so that no later file has the inode of one that is gone.
    """

    def __init__(self, isolates, held):
        super().__init__(self.look)
        self.isolates, self.held = isolates, held
        self.found = []

    def look(self, job):
        for path in sorted(job.inputs.glob("*.png")):
            file = self.held.enter_context(path.open("rb"))
            self.found.append((job.role, path.name, path.stat(), file.read()))


@pytest.fixture(params=[True, False], ids=["isolating", "bare"])
def sandbox(request):
    with ExitStack() as held:
        yield Looking(request.param, held)


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "dataset", 6)
    write_players(tmp_path / "players", ("shift 3", "shift 9"), ("shift 1",), ("sum",))
    return tmp_path


def test_a_defenses_images_are_copies_and_an_attacks_are_links_where_they_are_safe(folder, sandbox):
    """The number of links, the inode and the times of an object would tell when and with what else it was made."""
    with open_field(folder, sandbox, trust_submissions=True) as field:
        field.play()
        assert {role for role, *_ in sandbox.found} == set(Role)
        inodes = {path.stat().st_ino for path in field.store.objects.path.glob("*/*")}
        for role, _, status, _ in sandbox.found:
            linked = sandbox.isolates and role is not Role.DEFENSE
            assert (status.st_nlink > 1) is linked
            assert (status.st_ino in inodes) is linked
            assert status.st_mode & 0o777 == (0o444 if linked else 0o644)


def test_a_defense_learns_nothing_from_the_times_of_its_images(folder, sandbox):
    with open_field(folder, sandbox, trust_submissions=True) as field:
        field.play()
        times = {(status.st_mtime_ns, status.st_atime_ns) for role, _, status, _ in sandbox.found if role == "defense"}
        assert times == {(0, 0)}


def test_what_is_staged_is_what_the_call_says(folder, sandbox):
    with open_field(folder, sandbox, trust_submissions=True) as field:
        field.play()
        known = {field.store.objects.read(digest) for digest in set(field.store.objects.digests())}
        assert {data for *_, data in sandbox.found} == known


def test_a_defenses_images_are_made_in_the_order_of_their_names(folder, monkeypatch):
    """The order in which files were made shows in their inodes: it must be that of names that tell nothing."""
    with open_field(folder) as field:
        made = []
        put = type(field.arena)._put

        def watch(arena, role, digest, target):
            made.append((role, target.parent, target.name))
            put(arena, role, digest, target)

        monkeypatch.setattr(type(field.arena), "_put", watch)
        field.play()
        folders = {parent for role, parent, _ in made if role is Role.DEFENSE}
        assert folders
        for folder in folders:
            names = [name for _, parent, name in made if parent == folder]
            assert names == sorted(names)


@pytest.mark.parametrize("gpu", [False, True], ids=["without", "with"])
@pytest.mark.parametrize("slot", [Slot(0, (0,)), Slot(0, (0,), "GPU-1")], ids=["bare-slot", "slot-with-gpu"])
def test_only_a_call_that_is_known_to_have_a_gpu_gets_one(folder, gpu, slot):
    sandbox = FakeSandbox()
    with open_field(folder, sandbox) as field:
        player = replace(field.prepared.attacks[0], gpu=gpu)
        call = attack_call(player, 4, 0, field.prepared.round.batches[0])
        field.arena.play(call, slot, threading.Event())
        assert [job.gpu for job in sandbox.jobs] == [slot.gpu if gpu else None]
        assert sandbox.jobs[0].cores == slot.cores


def test_code_is_linked_only_where_nobody_can_write_through(folder, sandbox):
    found = []
    sandbox._trouble = lambda job: found.append((job.code / job.entry_point).stat().st_nlink)
    with open_field(folder, sandbox, trust_submissions=True) as field:
        field.play()
    assert found
    assert all((links > 1) is (sandbox.isolates and os.geteuid() == 0) for links in found)


def test_nothing_staged_is_left(folder, sandbox):
    with open_field(folder, sandbox, trust_submissions=True) as field:
        field.play()
        assert list(field.store.work.iterdir()) == []
