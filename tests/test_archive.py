"""An archive comes from a stranger: it may claim any size, any path and any kind of file, or be half of one, and must
neither write outside its folder nor fill the disk nor end in a traceback."""

import errno
import io
import os
import stat
import tarfile
import tracemalloc
import warnings
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import archive
from harness.archive import unpack
from harness.errors import UserError
from harness.trees import copy_tree

FILES = {"metadata.json": b"{}", "run.sh": b"#!/bin/sh\n", "data/table.csv": b"1,2\n" * 100}


def write_zip(path, files, *, modes=None, compression=zipfile.ZIP_DEFLATED):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as opened:
        warnings.simplefilter("ignore")  # of two entries of one name
        for name, data in files:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            opened.writestr(info, data)
    return path


def write_tar(path, files, *, modes=None, kinds=None):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as opened:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.mode = (modes or {}).get(name, 0o644) & 0o777
            info.type = (kinds or {}).get(name, tarfile.REGTYPE)
            info.linkname = "metadata.json"
            info.size = len(data) if info.isreg() else 0
            opened.addfile(info, io.BytesIO(data))
    return path


WRITERS = {"zip": write_zip, "tar": write_tar, "tar.gz": write_tar, "tgz": write_tar}


@pytest.fixture(params=list(WRITERS))
def pack(request, tmp_path):
    """Packs (name, bytes) pairs into an archive of each kind."""
    path = tmp_path / f"packed.{request.param}"
    return lambda files, **options: WRITERS[request.param](path, files, **options)


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(path, target):
    """The one line of the error, without the archive's name; nothing was written beside the target."""
    beside = sorted(path.parent.iterdir())
    with pytest.raises(UserError) as caught:
        unpack(path, target)
    assert sorted(path.parent.iterdir()) == beside
    (line,) = caught.value.faults
    return line.removeprefix(f"{path}: ")


def test_files_come_out_as_they_went_in(pack, target):
    modes = {"run.sh": 0o100755, "data/table.csv": 0o100600}
    assert unpack(pack(FILES.items(), modes=modes), target) == target
    assert contents(target) == FILES
    found = {name: stat.S_IMODE((target / name).stat().st_mode) for name in FILES}
    assert found == {"metadata.json": 0o644, "run.sh": 0o755, "data/table.csv": 0o644}


def test_set_user_id_does_not_survive(pack, target):
    unpack(pack(FILES.items(), modes={"run.sh": 0o104755}), target)
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755


def test_the_folder_may_be_packed_with_its_name(pack, target):
    files = {f"my attack/{name}": data for name, data in FILES.items()} | {"__MACOSX/x": b""}
    assert unpack(pack(files.items()), target) == target / "my attack"


@pytest.mark.parametrize(
    "names", [["run.sh"], ["a/b/metadata.json"], ["a/metadata.json", "b/metadata.json"]], ids=["none", "deeper", "two"]
)
def test_where_there_is_not_one_metadata(pack, target, names):
    assert refused(pack([(name, b"") for name in names]), target).startswith("has no metadata.json at its top")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "\\evil", ".."])
def test_names_that_lead_outside(pack, target, name):
    line = refused(pack([*FILES.items(), (name, b"x")]), target)
    assert "would be written outside its folder" in line
    assert not os.path.lexists("/evil")


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK], ids=["link", "pipe", "device", "socket"]
)
def test_zip_entries_that_are_no_files(tmp_path, target, kind):
    path = write_zip(tmp_path / "x.zip", [*FILES.items(), ("odd", b"/etc")], modes={"odd": kind | 0o777})
    assert refused(path, target) == "'odd' is no regular file; pack plain files only"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_tar_entries_that_are_no_files(tmp_path, target, kind):
    path = write_tar(tmp_path / "x.tar", [*FILES.items(), ("odd", b"")], kinds={"odd": kind})
    assert refused(path, target) == "'odd' is no regular file; pack plain files only"


def test_folders_of_an_archive_are_made_only_for_files(tmp_path, target):
    kinds = {"empty": tarfile.DIRTYPE, "../outside": tarfile.DIRTYPE}
    files = [("empty", b""), ("../outside", b""), *FILES.items()]
    unpack(write_tar(tmp_path / "x.tar", files, kinds=kinds), target)
    assert contents(target) == FILES
    assert not (target / "empty").exists()


@pytest.mark.parametrize(
    "names",
    [["run.sh", "run.sh"], ["run.sh", "./run.sh"], ["a", "a/b"], ["a/b", "a"]],
    ids=["twice", "dot", "under", "over"],
)
def test_one_path_twice(pack, target, names):
    line = refused(pack([("metadata.json", b"{}"), *((name, b"x") for name in names)]), target)
    assert line.startswith("cannot be unpacked (")


def test_names_that_no_disk_takes(pack, target):
    assert refused(pack([("x" * 300, b"")]), target).startswith("cannot be unpacked (")


def test_too_many_files(pack, target, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ENTRIES", len(FILES) - 1)
    assert refused(pack(FILES.items()), target) == f"has more than {len(FILES) - 1} files; pack fewer"


def test_a_bomb_is_stopped_while_it_unpacks(pack, target, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 20)
    bomb = [(f"zeros{number}", bytes(400_000)) for number in range(8)]
    assert refused(pack([("metadata.json", b"{}"), *bomb]), target).startswith("unpacks to more than")
    assert sum(map(len, contents(target).values())) <= 1 << 20


def test_exactly_the_limit_is_taken(pack, target, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", sum(map(len, FILES.values())))
    monkeypatch.setattr(archive, "MAX_ENTRIES", len(FILES))
    assert unpack(pack(FILES.items()), target) == target


def test_one_byte_over_the_limit_is_not(pack, target, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", sum(map(len, FILES.values())) - 1)
    assert refused(pack(FILES.items()), target).startswith("unpacks to more than")


def test_an_archive_that_is_too_large_is_not_opened(pack, target, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 10)
    assert refused(pack(FILES.items()), target).startswith("is larger than")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize("data", [b"", b"not an archive at all", b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_what_is_no_archive(tmp_path, target, name, data):
    (tmp_path / name).write_bytes(data)
    assert refused(tmp_path / name, target).startswith("cannot be unpacked (")


def test_a_locked_archive(tmp_path, target):
    path = write_zip(tmp_path / "x.zip", FILES.items(), compression=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = data.find(mark)
        while start >= 0:
            data[start + offset] |= 1
            start = data.find(mark, start + 1)
    path.write_bytes(data)
    assert refused(path, target).startswith("cannot be unpacked (")


@pytest.mark.parametrize("kind", list(WRITERS))
@given(data=st.data())
def test_a_damaged_archive_unpacks_or_is_refused(tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("damaged")
    path = WRITERS[kind](folder / f"x.{kind}", FILES.items())
    packed = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(packed[: data.draw(st.integers(len(packed) // 2, len(packed)))])
    (folder / "target").mkdir()
    with suppress(UserError):
        unpack(path, folder / "target")
    assert sorted(folder.iterdir()) == [folder / "target", path]


def write_long_name(path, stated, data):
    """A tar whose first header is a GNU long name of `stated` bytes, of which `data` is there."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, stated
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as opened:
        opened.fileobj.write(header.tobuf(tarfile.GNU_FORMAT) + data)
    return path


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_name_of_gigabytes_is_refused_before_it_is_read(tmp_path, target, kind):
    """Eighty megabytes of zeros are eighty kilobytes of gzip; tarfile would hold them in memory twice."""
    size = 80 << 20
    path = write_long_name(tmp_path / f"x.{kind}", size, bytes(size))
    tracemalloc.start()
    try:
        assert refused(path, target) == f"cannot be unpacked (a header of {size} bytes); pack the folder again"
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("extra", [0, 1], ids=["at-the-limit", "over"])
def test_the_limit_of_a_header(tmp_path, target, extra):
    path = write_long_name(tmp_path / "x.tar", archive.MAX_HEADER_BYTES + extra, b"")
    assert ("a header of 65537 bytes" in refused(path, target)) is bool(extra)


@pytest.mark.parametrize("where", ["pax_headers", "pax_file_headers"], ids=["global", "of-a-file"])
def test_extended_headers_are_taken_up_to_a_size(tmp_path, target, where):
    def packed(comment):
        with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as opened:
            if where == "pax_headers":
                opened.pax_headers = {"comment": comment}
                opened.fileobj.write(opened.tarinfo.create_pax_global_header(opened.pax_headers))
            for name, data in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                info.pax_headers = {"comment": comment} if where == "pax_file_headers" else {}
                opened.addfile(info, io.BytesIO(data))
        return tmp_path / "x.tar"

    assert refused(packed("x" * archive.MAX_HEADER_BYTES), target).startswith("cannot be unpacked (a header of 65")
    assert contents(target) == {}
    unpack(packed("x" * 1000), target)
    assert contents(target) == FILES


@pytest.mark.parametrize("form", ["pax", "gnu"])
def test_the_map_of_a_sparse_file_is_not_read(tmp_path, target, form):
    """Forty kilobytes of gzip were two gigabytes of map in memory."""
    info = tarfile.TarInfo("run.sh")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as opened:
        if form == "pax":
            body = b"200000\n" + b"0\n" * 400_000
            info.size = len(body)
            sparse = {"major": "1", "minor": "0", "name": "run.sh", "realsize": "0"}
            info.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
            opened.addfile(info, io.BytesIO(body))
        else:
            info.type = tarfile.GNUTYPE_SPARSE
            opened.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    assert refused(tmp_path / "x.tar.gz", target) == "cannot be unpacked (a sparse file); pack the folder again"


def test_a_long_path_is_no_fault(tmp_path, target):
    long = "/".join(["folder"] * 40) + "/table.csv"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "x.tar", "w", format=form) as opened:
            for name in ("metadata.json", f"{form}/{long}"):
                opened.addfile(tarfile.TarInfo(name), io.BytesIO())
        unpack(tmp_path / "x.tar", target)
        assert (target / str(form) / long).is_file()
        (target / "metadata.json").unlink()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_the_archives_fault(pack, target, monkeypatch, number):
    def full(*_):
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(archive, "_copy", full)
    with pytest.raises(OSError, match="No space left") as caught:
        unpack(pack(FILES.items()), target)
    assert caught.value.errno == number


def test_the_reason_is_one_line_whatever_the_archive_says(tmp_path, target, monkeypatch):
    def broken(*_):
        raise ValueError("bad\n  entry 'a\r\nb'")

    monkeypatch.setattr(archive, "_copy", broken)
    path = write_zip(tmp_path / "x.zip", FILES.items())
    assert refused(path, target) == "cannot be unpacked (bad entry 'a b'); pack the folder again"


def test_a_copy_leaves_out_what_the_digest_leaves_out(tmp_path):
    for name in ("keep/a", "__pycache__/b", "keep/.git/c", ".DS_Store"):
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text(name)
    copy_tree(tmp_path / "from", tmp_path / "to")
    assert contents(tmp_path / "to") == {"keep/a": b"keep/a"}
    copy_tree(tmp_path / "from", tmp_path / "linked", link=True)
    assert (tmp_path / "linked/keep/a").samefile(tmp_path / "from/keep/a")
    assert not (tmp_path / "to/keep/a").samefile(tmp_path / "from/keep/a")
