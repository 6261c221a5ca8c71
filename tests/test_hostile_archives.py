"""An archive made to hurt is refused with one line, in little memory and on little disk, and the run ends there; or it
unpacks to plain files inside its folder, and the round is played as if nothing were odd about it.

Every case is unpacked by itself and then handed in through a tournament file.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import stat
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib

import hostile
import pytest
from helpers import ANSWER, COPY, write_dataset, write_submission

from harness import archive
from harness.archive import unpack
from harness.errors import UserError
from harness.validation import bytes_below

METADATA = json.dumps({"type": "attack", "container": "busybox:1", "entry_point": "run.sh"}).encode()
GOOD = (("metadata.json", METADATA), ("run.sh", COPY.encode()))
SMALL = 4 << 20
"""What the tests let an archive unpack to whatever its own size; the real limit is larger."""

CASES = {}


def case(attempt, file, rule, line=None):
    """Registers a builder of the bytes of `file`. line: a pattern of what is said; None where it is played."""

    def register(build):
        CASES[f"{build.__name__}.{file}"] = (attempt, f"{build.__name__}.{file}", build, rule, line)
        return build

    return register


def zipped(*more, method=zipfile.ZIP_DEFLATED, modes=None, before=()):
    """A zip of a good submission and of further (name, bytes)."""
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w") as opened:
        warnings.simplefilter("ignore")  # of two entries of one name
        for name, data in (*before, *GOOD, *more):
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            default = 0o100755 if name == "run.sh" else 0o100644
            info.external_attr = (modes or {}).get(name, default) << 16
            opened.writestr(info, data)
    return packed.getvalue()


def tarred(*infos, mode="w", before=()):
    """A tar of a good submission and of further TarInfos, or (TarInfo, bytes)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as opened:
        for info in (*before, *(file(name, data, 0o755) for name, data in GOOD), *infos):
            info, data = info if isinstance(info, tuple) else (info, b"")
            opened.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def file(name, data=b"", mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return info, data


def entry(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


OUTSIDE = "names stay inside the folder"
PLAIN = "regular files and folders only"
SIZE = "100 times the archive's size at most, and never more than 16 GiB"
COUNT = "10,000 entries at most, looked at before they are unpacked"
SHOWN = "names can be shown"
SOUND = "what cannot be read as packed is refused whole"


# --- paths


@case("a zip whose file leads up out of its folder (zip slip)", "zip", OUTSIDE, "'../evil' would be written outside")
def zip_slip():
    return zipped(("../evil", b"x"))


@case("a tar whose file leads up out of its folder", "tar", OUTSIDE, "'a/../../evil' would be written outside")
def tar_slip():
    return tarred(file("a/../../evil", b"x"))


@case("a zip with an absolute path", "zip", OUTSIDE, "'/evil-of-a-zip' would be written outside")
def absolute_zip():
    return zipped(("/evil-of-a-zip", b"x"))


@case("a tar with an absolute path", "tar.gz", OUTSIDE, "'/evil-of-a-tar' would be written outside")
def absolute_tar():
    return tarred(file("/evil-of-a-tar", b"x"), mode="w:gz")


@case("a path of Windows, with a drive and with backslashes that lead up", "zip", OUTSIDE)
def windows_path():
    return zipped(("C:\\evil", b"x"), ("a\\..\\..\\evil", b"x"))


@case("a folder entry that leads outside, without a file in it", "tar", "folders are made for files only")
def folder_outside():
    return tarred(entry("../outside", tarfile.DIRTYPE), entry("/outside", tarfile.DIRTYPE))


@case("a name of 300 characters", "zip", OUTSIDE, r"cannot be unpacked \(.*File name too long")
def long_name():
    return zipped(("x" * 300, b"x"))


@case("1,000 folders inside one another", "zip", "50 folders inside one another at most", "has more than 50 folders")
def deep():
    return zipped(("/".join(["d"] * 1000) + "/x", b"x"))


@case("a name with a line break, which forges a line of the log", "zip", SHOWN, r"'a\\nharness: all is well' has char")
def line_break():
    return zipped(("a\nharness: all is well", b"x"))


@case("a name that clears the screen and colours it", "tar", SHOWN, r"'\\x1b\[2J\\x1b\[31mred' has characters")
def escape_sequence():
    return tarred(file("\x1b[2J\x1b[31mred", b"x"))


@case("a name that turns the direction of text, so that it seems to end in .txt", "zip", SHOWN, r"'run\\u202etxt.sh'")
def bidi():
    return zipped(("run\u202etxt.sh", b"x"))


@case("a name whose bytes are no text", "tar", SHOWN, r"'\\udcff\\udcfe' has characters")
def no_text():
    return tarred(file("\udcff\udcfe", b"x"))


@case("a NUL in a name, behind which another name stands", "zip", OUTSIDE, "cannot be unpacked")
def nul():
    packed = zipped(("metadata.json#.sh", b"{}"))
    return packed.replace(b"metadata.json#", b"metadata.json\0")


@case("two files whose names differ in case alone", "zip", "a name is its bytes")
def case_collision():
    return zipped(("Run.sh", b"other"), ("RUN.SH", b"another"))


@case("names that look alike: composed and decomposed, wide and Cyrillic letters", "tar", "a name is its bytes")
def look_alike():
    return tarred(*(file(name, b"x") for name in ("\u00e9", "e\u0301", "\uff52un.sh", "\u0433un.sh")))


@case("one name twice: the second would take the place of the first", "zip", "no name twice", "cannot be unpacked")
def twice():
    return zipped(("run.sh", b"#!/bin/sh\nother\n"))


@case("one name twice, the second with a dot before it", "tar.gz", "no name twice", "cannot be unpacked")
def twice_with_a_dot():
    return tarred(file("./run.sh", b"other"), mode="w:gz")


# --- what is no file


@case("a symbolic link to a file of the machine, in a zip", "zip", PLAIN, "'odd' is no regular file")
def zip_link():
    return zipped(("odd", b"/etc/passwd"), modes={"odd": stat.S_IFLNK | 0o777})


@case("a symbolic link to a folder, and a file that is written through it", "tar", PLAIN, "'odd' is no regular file")
def link_and_through():
    return tarred(entry("odd", tarfile.SYMTYPE, "/"), file("odd/evil", b"x"))


@case("a hard link to a file of the machine", "tar", PLAIN, r"('odd' is no regular file|cannot be unpacked)")
def hard_link():
    return tarred(entry("odd", tarfile.LNKTYPE, "/etc/passwd"))


@case("a hard link to another entry", "tar.gz", PLAIN, r"'odd' is no regular file")
def hard_link_inside():
    return tarred(entry("odd", tarfile.LNKTYPE, "run.sh"), mode="w:gz")


@case("a device", "tar", PLAIN, "'odd' is no regular file")
def device():
    return tarred(entry("odd", tarfile.CHRTYPE))


@case("a block device in a zip", "zip", PLAIN, "'odd' is no regular file")
def zip_device():
    return zipped(("odd", b""), modes={"odd": stat.S_IFBLK | 0o666})


@case("a pipe that nobody writes to", "tar", PLAIN, "'odd' is no regular file")
def pipe():
    return tarred(entry("odd", tarfile.FIFOTYPE))


@case("a pipe in a zip", "zip", PLAIN, "'odd' is no regular file")
def zip_pipe():
    return zipped(("odd", b""), modes={"odd": stat.S_IFIFO | 0o666})


@case("a program that runs as its owner (set-user-id, set-group-id, sticky)", "tar", "modes are 644 or 755")
def set_user_id():
    return tarred(file("suid", b"#!/bin/sh\n", 0o7755))


@case("the same in a zip", "zip", "modes are 644 or 755")
def zip_set_user_id():
    return zipped(("suid", b"#!/bin/sh\n"), modes={"suid": stat.S_IFREG | 0o7755})


# --- bombs


@case("40 MB of zeros in 40 kB", "zip", SIZE, "unpacks to more than 4 MiB")
def zip_bomb():
    return zipped(("zeros", bytes(40_000_000)))


@case("the same in a tar.gz", "tar.gz", SIZE, "unpacks to more than 4 MiB")
def tar_bomb():
    return tarred(file("zeros", bytes(40_000_000)), mode="w:gz")


@case("40 MB of zeros before the files of the submission", "zip", SIZE, "unpacks to more than 4 MiB")
def bomb_first():
    return zipped(before=[("zeros", bytes(40_000_000))])


@case("a bomb inside a bomb: ten zips of ten megabytes of zeros each", "zip", "what is unpacked is not unpacked again")
def nested_bomb():
    return zipped(*((f"inner{number}.zip", zipped(("zeros", bytes(10_000_000)))) for number in range(10)))


@case("40 files that share their packed bytes, each quoting the next (Fifield 2019)", "zip", SIZE,
      r"(unpacks to more than 4 MiB|cannot be unpacked \(Overlapped)")  # fmt: skip
def overlapping_bomb():
    zeros = bytes(1_000_000)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body, content = packer.compress(zeros) + packer.flush(), zeros
    headers, centrals = [], []
    for number in reversed(range(40)):
        name = b"f%02d" % number
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, zlib.crc32(content), len(body), len(content), 3, 0)
        header = b"PK\x03\x04" + fields + name
        centrals.append((fields, name))
        headers.append(header)
        quote = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF)
        body, content = quote + header + body, header + content
    data = body[5:]  # the first header is not quoted
    places, position = [], 0
    for header in reversed(headers):
        places.append(position)
        position += len(header) + 5
    directory = b"".join(
        b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, place) + name
        for (fields, name), place in zip(reversed(centrals), places, strict=True)
    )
    return data + directory + end_of_zip(40, len(directory), len(data))


def end_of_zip(count, size, offset):
    return b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, size, offset, 0)


@pytest.mark.parametrize("number", [0, 20, 39])
def test_the_overlapping_bomb_is_a_sound_zip(number):
    """Each of its files unpacks, so that it is the limit that stops it, or the overlap, and no mistake of ours."""
    with zipfile.ZipFile(io.BytesIO(overlapping_bomb())) as opened:
        info = opened.infolist()[number]
        try:
            assert opened.read(info)[-1_000_000:] == bytes(1_000_000)
        except zipfile.BadZipFile as error:
            assert "Overlapped" in str(error)  # noqa: PT017 - newer versions of Python see it themselves


@case("60 MB of zeros packed by bzip2, which is not unpacked in pieces", "zip", SIZE, ".* another method than deflate")
def bzip2_bomb():
    return zipped(("zeros", bytes(60_000_000)), method=zipfile.ZIP_BZIP2)


@case("a file packed by LZMA, whose header asks for any amount of memory", "zip", SIZE, ".* another method than defl")
def lzma_bomb():
    return zipped(("zeros", bytes(6_000_000)), method=zipfile.ZIP_LZMA)


@case("100,000 entries in a zip, as its list of contents says", "zip", COUNT, r"cannot be unpacked \(a list of conten")
def many_entries():
    central = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    directory = b"".join(central + b"%05d" % number for number in range(100_000))
    return directory + end_of_zip(65535, len(directory), 0)


@case("20,000 entries in a zip", "zip", COUNT, "has more than 10000 files")
def fewer_entries():
    central = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    directory = b"".join(central + b"%05d" % number for number in range(20_000))
    return directory + end_of_zip(20_000, len(directory), 0)


@case("100,000 folders in a tar.gz of a few kilobytes", "tar.gz", COUNT, "has more than 10000 files")
def many_folders():
    folders = entry("folder", tarfile.DIRTYPE).tobuf() * 100_000
    return gzip.compress(tarred()[:2048] + folders + bytes(1024), 6)


@case("100,000 headers of one file, each of which says that another follows", "tar.gz", COUNT, "cannot be unpacked")
def many_headers():
    header = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 2
    return gzip.compress((header.tobuf() + b"x\0".ljust(512, b"\0")) * 100_000, 6)


@case("a name of 80 MB in 80 kB", "tar.gz", "headers of 64 KiB at most", r"cannot be unpacked \(a header of 83886080")
def long_header():
    header = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 80 << 20
    return gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(80 << 20), 6)


# --- what is no archive


@case("a zip that is called tar.gz", "tar.gz", SOUND, "cannot be unpacked")
def zip_in_disguise():
    return zipped()


@case("a tar that is called zip", "zip", SOUND, "cannot be unpacked")
def tar_in_disguise():
    return tarred()


@case("a tar in xz that is called tar: its header asks for any amount of memory", "tar", SOUND, "cannot be unpacked")
def xz_in_disguise():
    return lzma.compress(tarred())


@case("a tar in bzip2 that is called tar.gz", "tar.gz", SOUND, "cannot be unpacked")
def bzip2_in_disguise():
    return bz2.compress(tarred())


@case("text that is called zip", "zip", SOUND, "cannot be unpacked")
def text():
    return b"<script>alert(1)</script>\n" * 100


@case("nothing at all", "tgz", SOUND, "cannot be unpacked")
def nothing():
    return b""


@case("half of an archive", "tar.gz", SOUND, "cannot be unpacked")
def half():
    return tarred(file("noise", bytes(range(256)) * 100), mode="w:gz")[:-200]


@case("an archive with a password", "zip", SOUND, r"cannot be unpacked \(.*password required")
def encrypted():
    packed = bytearray(zipped(method=zipfile.ZIP_STORED))
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = packed.find(mark)
        while start >= 0:
            packed[start + offset] |= 1
            start = packed.find(mark, start + 1)
    return bytes(packed)


@case("a list of contents that names another file than the file itself does", "zip", SOUND, "cannot be unpacked")
def two_names():
    packed = zipped(("run.sX", b"other"))
    place = packed.find(b"run.sX")
    return packed[:place] + b"run.sY" + packed[place + 6 :]


@case("checksums that do not fit", "zip", SOUND, r"cannot be unpacked \(Bad CRC")
def wrong_checksum():
    packed = bytearray(zipped(("x", b"AAAA"), method=zipfile.ZIP_STORED))
    packed[packed.find(b"AAAA")] ^= 1
    return bytes(packed)


@case("no metadata.json, and two folders that have one", "zip", "one metadata.json", "has no metadata.json at its top")
def two_submissions():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for folder in ("a", "b"):
            opened.writestr(f"{folder}/metadata.json", METADATA)
    return packed.getvalue()


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def handed_in(request, tmp_path, monkeypatch):
    """(path of the archive in a tournament's folder, pattern of the line, what it attempts, what stands against it)."""
    attempt, name, build, rule, line = request.param
    monkeypatch.setattr(archive, "SMALL_BYTES", SMALL)
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / name).write_bytes(build())
    return tmp_path / "submissions" / name, line, attempt, rule


def everything_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_it_takes_little_memory_and_disk(handed_in, tmp_path):
    path, line, _, _ = handed_in
    target = tmp_path / "place" / "target"
    target.mkdir(parents=True)
    tracemalloc.start()
    try:
        unpack(path, target)
        said = None
    except UserError as error:
        (said,) = error.faults
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if line is None:
        assert said is None
        assert {stat.S_IMODE(one.stat().st_mode) for one in target.rglob("*") if one.is_file()} <= {0o644, 0o755}
        assert all(one.is_dir() or one.is_file() for one in target.rglob("*"))
        assert not any(one.is_symlink() for one in target.rglob("*"))
    else:
        assert re.match(line, said.removeprefix(f"{path}: "))
        assert said.isprintable()
        assert len(said) < 500
    assert peak < 50 << 20
    assert bytes_below(target, 1 << 40) <= 2 * SMALL
    assert everything_below(tmp_path / "place") == {"target", *(f"target/{one}" for one in everything_below(target))}


def test_a_round_refuses_it_with_one_line_or_plays_it(handed_in, tmp_path, run_main, capsys, record_property):
    path, line, attempt, rule = handed_in
    hostile.note(record_property, "archive", attempt, rule, "-")
    write_dataset(tmp_path / "data", 2)
    write_submission(tmp_path / "submissions/noop")
    write_submission(tmp_path / "submissions/one", "defense", ANSWER % 1)
    (tmp_path / "round.yaml").write_text(
        "dataset: data\nsubmissions: [submissions/*]\nsandbox: process\ntrust_submissions: true\noutput: out\n"
    )
    before = everything_below(tmp_path)
    code = run_main("run", tmp_path / "round.yaml")
    said = capsys.readouterr()
    outside = {name for name in everything_below(tmp_path) - before if not name.startswith("out")}
    assert outside == set()
    assert list((tmp_path / "out/store/work").iterdir()) == []
    if line is None:
        assert (code, said.err) == (0, "")
        board = json.loads((tmp_path / "out/leaderboard.json").read_text())
        assert {row["name"] for row in board["attacks"]} == {"noop", path.name.split(".")[0]}
        return
    (only,) = said.err.splitlines()
    assert code == 1
    assert re.match(f"harness: {re.escape(str(path))}: {line}", only)
    assert not (tmp_path / "out/leaderboard.json").exists()
