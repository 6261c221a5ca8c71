"""Whatever the place of the objects is, one contract holds: bytes that come back have their digest, what is missing or
damaged is named and never handed out, and several machines may add, read and remove at once."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from places import FORMS, SHARED, key_of, make_place, overwrite, s3_server

from harness.digest import digest_bytes
from harness.errors import StoreDamagedError, UserError
from harness.objects import OWNER, claim, open_objects

NOWHERE = "0" * 64


@pytest.fixture(scope="module")
def server():
    with s3_server() as server:
        yield server


@pytest.fixture
def place(request, tmp_path, server):
    return make_place(request.param, tmp_path)


@pytest.fixture
def objects(place, tmp_path):
    return open_objects(place, tmp_path / "cache")


@pytest.fixture
def other(place, tmp_path):
    """The same place, as another machine (or, of a store's own folder, a later process) sees it."""
    own = place == str(tmp_path / "cache")
    return lambda name="other": open_objects(place, tmp_path / ("cache" if own else name))


every_form = pytest.mark.parametrize("place", FORMS, indirect=True)
shared_forms = pytest.mark.parametrize("place", SHARED, indirect=True)


@every_form
@pytest.mark.parametrize("data", [b"", b"x", bytes(300_000)], ids=len)
def test_what_was_added_is_found_by_its_digest(objects, other, data):
    digest = objects.add(data)
    assert digest == digest_bytes(data)
    assert objects.read(digest) == data
    assert other().read(digest) == data


@every_form
def test_a_new_place_is_empty(objects):
    assert list(objects.digests()) == []
    assert objects.remove_damaged() == objects.remove_unfinished() == objects.remove([NOWHERE]) == 0
    assert not objects.has(NOWHERE)


@every_form
def test_adding_again_changes_nothing(objects, other):
    digests = {objects.add(b"same"), objects.add(b"same"), other().add(b"same")}
    assert set(objects.digests()) == digests
    assert len(digests) == 1


@every_form
def test_a_file_is_added_as_its_bytes_are(objects, other, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 8192)
    digest = objects.add_file(path)
    assert digest == objects.add_file(path) == digest_bytes(path.read_bytes())
    other().copy(digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


@every_form
def test_a_link_may_be_read_by_all_and_written_by_none(objects, other, tmp_path):
    digest = objects.add(b"x")
    for number, one in enumerate((objects, other(), other())):
        one.link(digest, tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == b"x"
        assert stat.S_IMODE((tmp_path / str(number)).stat().st_mode) == 0o444


@every_form
def test_a_copy_may_be_changed(objects, other, tmp_path):
    digest = objects.add(b"good")
    for number, one in enumerate((objects, other())):
        one.copy(digest, tmp_path / str(number))
        (tmp_path / str(number)).chmod(0o644)
        (tmp_path / str(number)).write_bytes(b"evil")
    assert objects.read(digest) == other().read(digest) == other("third").read(digest) == b"good"


@every_form
@pytest.mark.parametrize("act", ["read", "link", "copy"])
def test_what_is_missing_is_named(objects, tmp_path, act):
    arguments = () if act == "read" else (tmp_path / "target",)
    with pytest.raises(StoreDamagedError, match=f"object {NOWHERE} is missing"):
        getattr(objects, act)(NOWHERE, *arguments)
    assert not (tmp_path / "target").exists()


@every_form
@pytest.mark.parametrize(("left", "act"), [(b"evil", "read"), (b"goo", "link"), (b"", "copy")])
def test_what_is_damaged_is_named_and_removed_and_can_be_made_again(objects, other, place, tmp_path, left, act):
    digest = objects.add(b"good")
    overwrite(place, key_of(digest), left)
    later, arguments = other(), () if act == "read" else (tmp_path / "target",)
    with pytest.raises(StoreDamagedError, match=f"object {digest} is damaged"):
        getattr(later, act)(digest, *arguments)
    assert not (tmp_path / "target").exists()
    assert list(later.digests()) == []
    assert later.add(b"good") == digest
    assert other("third").read(digest) == b"good"


@every_form
def test_all_that_is_damaged_is_removed(objects, other, place):
    """Over a network, when a process asks for the second time: all that is there has to come for that."""
    digests = [objects.add(bytes([number])) for number in range(6)]
    for number, digest in enumerate(digests[:4]):
        overwrite(place, key_of(digest), bytes(number))
    far = place.startswith(("s3:", "memory:"))
    assert [other().remove_damaged(), other().remove_damaged()] == ([0, 4] if far else [4, 0])
    assert set(objects.digests()) == set(digests[4:])
    assert objects.remove_damaged() == 0


@shared_forms
def test_all_that_is_damaged_of_what_is_brought_is_removed(objects, other, place):
    digests = [objects.add(bytes([number])) for number in range(6)]
    for digest in digests[:4]:
        overwrite(place, key_of(digest), b"evil")
    with pytest.raises(StoreDamagedError, match=f"object {digests[0]} is damaged"):
        other().bring(digests)
    assert set(objects.digests()) == set(digests[4:])


@every_form
def test_what_is_removed_is_gone_and_counted(objects, other):
    digests = [objects.add(bytes(size)) for size in (10, 20, 30)]
    assert objects.remove([*digests[:2], NOWHERE]) == 30
    assert set(objects.digests()) == set(digests[2:])
    assert [objects.has(digest) for digest in digests] == [False, False, True]
    for one in (objects, other()):
        with pytest.raises(StoreDamagedError, match="is missing"):
            one.read(digests[0])


@every_form
def test_strangers_files_are_passed_over(objects, place):
    digest = objects.add(b"x")
    for name in ("readme.txt", "zz/" + "0" * 62, f"{digest[:2]}/.0123456789abcdef"):
        overwrite(place, name, b"?")
    assert list(objects.digests()) == [digest]
    assert objects.remove_damaged() == 0


@every_form
def test_many_threads_add_and_read_at_once(objects, other):
    blobs = [bytes([number]) * 1000 for number in range(8)] * 4
    second = other()
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(objects.add, blobs))
        assert list(pool.map(second.read, digests)) == blobs
    assert set(objects.digests()) == set(digests)
    assert objects.remove_unfinished() == 0


@every_form
def test_a_note_lies_beside_the_objects(objects, other):
    assert objects.read_note("note.txt") is None
    objects.add_note("note.txt", b"one")
    objects.add_note("note.txt", b"two")
    assert other().read_note("note.txt") == b"one"
    assert list(objects.digests()) == []


@every_form
def test_a_place_is_one_stores(objects, other):
    claim(objects, "first")
    claim(other(), "first")
    with pytest.raises(UserError, match=r"holds the objects of another store .*choose another place") as caught:
        claim(other(), "second")
    assert str(caught.value).startswith(objects.place)


@every_form
def test_of_stores_that_claim_a_place_at_once_one_gets_it(objects, other):
    machines = [other() for _ in range(4)]
    start = threading.Barrier(len(machines))

    def try_to_claim(number):
        start.wait()
        try:
            claim(machines[number], f"store {number}")
        except UserError:
            return None
        return f"store {number}".encode()

    with ThreadPoolExecutor(len(machines)) as pool:
        owners = [owner for owner in pool.map(try_to_claim, range(len(machines))) if owner]
    assert owners == [objects.read_note(OWNER)]


@every_form
def test_a_place_that_has_lost_its_note_is_not_taken_for_the_one(objects):
    """A shared folder that is not mounted is an empty folder."""
    with pytest.raises(UserError, match=r"has no owner.txt, though .*; mount or restore it, or begin anew") as caught:
        claim(objects, "me", used=True)
    assert len(caught.value.faults) == 1
    assert objects.read_note(OWNER) is None
    claim(objects, "me")
    claim(objects, "me", used=True)


@shared_forms
def test_what_was_brought_is_here_whatever_becomes_of_the_place(objects, other, tmp_path):
    digests = [objects.add(bytes([number])) for number in range(40)]
    later = other()
    later.bring(digests)
    objects.remove(digests)
    for number, digest in enumerate(digests):
        assert later.read(digest) == bytes([number])
        later.link(digest, tmp_path / str(number))
    assert list(later.digests()) == []
    assert not any(map(later.has, digests)), "that is asked of the place"


@shared_forms
def test_what_cannot_be_brought_is_named(objects):
    digest = objects.add(b"x")
    with pytest.raises(StoreDamagedError, match=f"object {NOWHERE} is missing"):
        objects.bring([digest, NOWHERE])


@shared_forms
@pytest.mark.parametrize("left", [b"evil", b""], ids=["damaged", "empty"])
@pytest.mark.parametrize("act", ["read", "copy"])
def test_a_cache_that_is_damaged_is_mended_from_the_place(objects, other, tmp_path, left, act):
    digest = objects.add(b"good")
    for machine in (objects, other()):
        machine.read(digest)
    path = tmp_path / "other" / key_of(digest)
    path.unlink()
    path.write_bytes(left)
    later = other()
    if act == "read":
        assert later.read(digest) == b"good"
    else:
        later.copy(digest, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == b"good"
    assert path.read_bytes() == b"good"


@shared_forms
def test_what_the_cache_has_and_the_place_lost_is_sent_again(objects, other):
    digest = objects.add(b"x")
    other().remove([digest])
    assert objects.read(digest) == b"x"
    assert objects.add(b"x") == digest
    assert other("third").read(digest) == b"x"
