"""A stranger's metadata.json is judged once, at the border: nothing behind it checks again, so every way to write a
wrong one is listed here with the line that its author reads."""

import json
import os

import pytest
from helpers import COPY, write_submission
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.records import Role
from harness.submission import (
    IMAGE_PATTERN,
    MAX_METADATA_BYTES,
    NAME_PATTERN,
    Metadata,
    archive_name,
    check_names,
    find_submissions,
    is_archive,
    load_submission,
)


def faults(folder):
    """The lines of the error, with the folder left out."""
    with pytest.raises(UserError) as caught:
        load_submission(folder)
    return [line.replace(f"{folder}/", "").replace(f"{folder}: ", "") for line in caught.value.faults]


def write(tmp_path, **metadata):
    return write_submission(tmp_path / "sub", **metadata)


def write_metadata(tmp_path, text):
    folder = write(tmp_path)
    (folder / "metadata.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


@pytest.mark.parametrize("role", list(Role))
def test_a_submission_of_2017_is_taken_as_it_is(tmp_path, role):
    folder = write(
        tmp_path, role=role.value, container="gcr.io/tensorflow/tensorflow:1.1.0", container_gpu="tf:1.1.0-gpu"
    )
    found = load_submission(folder)
    assert (found.name, found.role, found.folder) == ("sub", role, folder)
    assert found.metadata.entry_point == "run.sh"
    assert (found.container(use_gpu=False), found.container(use_gpu=True)) == (
        "gcr.io/tensorflow/tensorflow:1.1.0",
        "tf:1.1.0-gpu",
    )


def test_without_a_container_for_gpus_the_other_one_serves(tmp_path):
    assert load_submission(write(tmp_path)).container(use_gpu=True) == "busybox:1"


def test_the_additions_are_optional_keys(tmp_path):
    extra = {
        "name": "Fast & Good"[:4] + " one",
        "authors": ["A", "B"],
        "description": "d",
        "url": "https://example.org",
        "labels": "cifar10",
        "gpu": False,
        "deterministic": False,
        "weights": ["inception_v3"],
    }
    found = load_submission(write(tmp_path, files={"weights/inception_v3.safetensors": "1"}, **extra))
    assert found.name == "Fast one"
    assert found.metadata.model_dump(include=set(extra)) == extra


def test_the_name_is_the_keys_then_the_given_then_the_folders(tmp_path):
    folder = write(tmp_path)
    assert load_submission(folder).name == "sub"
    assert load_submission(folder, "given").name == "given"


# --- metadata.json


NAMES_AN_IMAGE = "is the name of a container image, such as python:3.11-slim"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"type": "x"}, "type: should be 'attack', 'targeted_attack' or 'defense'; got 'x'"),
        ({"entry_point": None}, "entry_point: required key is missing; add it"),
        ({"container": None}, "container: required key is missing; add it"),
        ({"entrypoint": "x"}, "entrypoint: unknown key; did you mean entry_point?"),
        ({"container": "a b"}, f"container: {NAMES_AN_IMAGE}; got 'a b'"),
        ({"container": "-v"}, f"container: {NAMES_AN_IMAGE}; got '-v'"),
        ({"container_gpu": ""}, f"container_gpu: {NAMES_AN_IMAGE}; got ''"),
        ({"gpu": "yes"}, "gpu: should be a valid boolean; got 'yes'"),
        ({"description": 3}, "description: should be a valid string; got 3"),
        ({"weights": "inception_v3"}, "weights: should be a valid list; got 'inception_v3'"),
        ({"weights": ["a", "b", "a"]}, "weights: names one file twice; got ['a', 'b', 'a']"),
        ({"weights": ["a", 3]}, "weights.1: should be a valid string; got 3"),
    ],
)  # fmt: skip
def test_a_wrong_key(tmp_path, changes, fault):
    assert faults(write(tmp_path, **changes)) == [f"metadata.json: {fault}"]


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a\nb", "x" * 65, "ünï", "a|b", "a,b"])
def test_a_name_that_files_and_tables_could_not_hold(tmp_path, name):
    (line,) = faults(write(tmp_path, name=name))
    assert line.startswith("metadata.json: name: is 1 to 64 of the characters")


@pytest.mark.parametrize("name", ["", "A", "a-b", "a.b", "../a", "a/b", "a\n", "ä", "x" * 65])
def test_a_name_of_weights_that_could_lead_elsewhere(tmp_path, name):
    (line,) = faults(write(tmp_path, weights=["fine_1", name]))
    assert line.startswith(
        "metadata.json: weights.1: is 1 to 64 of the characters a-z 0-9 _, the name of a weights file"
    )


@pytest.mark.parametrize("entry", ["", "/bin/sh", "../run.sh", "a/../../run.sh", "-c", "run\n.sh", "\x1b.sh"])
def test_an_entry_point_outside_the_folder(tmp_path, entry):
    (line,) = faults(write(tmp_path, entry_point=entry))
    assert line.startswith("metadata.json: entry_point: is the path of a program inside the submission")


def test_all_wrong_keys_at_once(tmp_path):
    assert len(faults(write(tmp_path, type="x", gpu=1, colour="red", entry_point=None))) == 4


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        ('{"type": "attack", "type": "defense"}', "is not valid JSON (key 'type' twice); mend it"),
        ('{"type": {"a": 1, "a": 2}}', "is not valid JSON (key 'a' twice); mend it"),
        ("[" * 60_000, "is not valid JSON"),
        ('{"a":' * 10_000, "is not valid JSON"),
        ("9" * 10_000, "is not valid JSON"),
        ("[]", "holds a list, not a mapping"),
        ("null", "holds nothing, not a mapping"),
        (" " * (MAX_METADATA_BYTES + 1), "is larger than 64 KiB; shorten it"),
    ],
    ids=["empty", "open", "bytes", "twice", "twice-inside", "deep-list", "deep", "number", "list", "null", "large"],
)
def test_what_is_no_metadata(tmp_path, text, fault):
    (line,) = faults(write_metadata(tmp_path, text))
    assert line.startswith(f"metadata.json: {fault}")


@given(data=st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_whatever_is_in_the_metadata_gives_lines(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("metadata")
    (folder / "metadata.json").write_bytes(data)
    assert faults(folder)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
PLAIN = {"type": "attack", "container": "busybox:1", "entry_point": "run.sh"}


@given(changes=st.dictionaries(st.sampled_from(sorted(Metadata.model_fields)) | st.text(max_size=8), VALUES))
def test_whatever_its_keys_hold_gives_a_submission_or_lines(tmp_path_factory, changes):
    folder = write_submission(tmp_path_factory.mktemp("metadata") / "sub")
    (folder / "metadata.json").write_text(json.dumps(PLAIN | changes))
    try:
        found, lines = load_submission(folder), []
    except UserError as error:
        found, lines = None, error.faults
    assert (found is None) is bool(lines)
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    if found:
        assert NAME_PATTERN.fullmatch(found.name)
        assert (folder / found.metadata.entry_point).is_file()


@given(reference=st.text("aZ09./:@-_ \n", max_size=30) | st.text(max_size=10))
def test_a_container_is_one_plain_word(reference):
    if IMAGE_PATTERN.fullmatch(reference):
        assert reference.isascii()
        assert not set(reference) & set(" \n\t$;&|'\"\\")
        assert reference[0] not in "-./:@"


@pytest.mark.parametrize(
    "reference",
    [
        "busybox", "python:3.11-slim", "gcr.io/tensorflow/tensorflow:1.1.0-gpu", "localhost:5000/a/b__c-d.e:V1_2",
        "user/image@sha256:" + "0" * 64, "Registry.Example.org/team/image:latest", "advkit:0.1.0",
    ],
)  # fmt: skip
def test_references_that_engines_know(tmp_path, reference):
    assert load_submission(write(tmp_path, container=reference)).metadata.container == reference


def test_text_about_it_may_be_in_any_script(tmp_path):
    text = "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627 \u5f20\u4f1f \U0001f469\u200d\U0001f52c\nand others\t(2017)"
    found = load_submission(write(tmp_path, authors=[text], description=text, url="http://example.org/a?b=c#d"))
    assert found.metadata.authors == [text]
    assert found.metadata.description == text


def link_metadata(folder):
    (folder / "metadata.json").rename(folder / "other.json")
    (folder / "metadata.json").symlink_to("other.json")


def make_folder(folder):
    (folder / "metadata.json").unlink()
    (folder / "metadata.json").mkdir()


def make_pipe(folder):
    (folder / "metadata.json").unlink()
    os.mkfifo(folder / "metadata.json")


def remove(folder):
    (folder / "metadata.json").unlink()


@pytest.mark.parametrize("change", [link_metadata, make_folder, make_pipe, remove])
def test_metadata_that_is_no_plain_file(tmp_path, change):
    folder = write(tmp_path)
    change(folder)
    assert faults(folder) == [
        "metadata.json: is missing or no plain file; every submission needs one, see docs/formats.md"
    ]


# --- the folder


def test_an_entry_point_that_is_missing_or_not_executable(tmp_path):
    assert faults(write_submission(tmp_path / "a", entry_point="go.sh")) == [
        "entry point go.sh is missing; add it or mend entry_point in metadata.json"
    ]
    folder = write_submission(tmp_path / "b", executable=False)
    assert faults(folder) == ["entry point run.sh is not executable; run: chmod +x run.sh"]


def test_an_entry_point_may_lie_deeper(tmp_path):
    folder = write(tmp_path, entry_point="bin/go", files={"bin/go": COPY})
    (folder / "bin/go").chmod(0o755)
    assert load_submission(folder).metadata.entry_point == "bin/go"


@pytest.mark.parametrize("entry", ["__pycache__/run", ".git/hooks/run", "bin/__pycache__/run"])
def test_an_entry_point_where_nothing_is_copied_from_is_missing(tmp_path, entry):
    """It is no part of the digest nor of the copy that is played: every call would fail with a puzzle."""
    folder = write(tmp_path, entry_point=entry, files={entry: COPY})
    (folder / entry).chmod(0o755)
    assert faults(folder) == [f"entry point {entry} is missing; add it or mend entry_point in metadata.json"]


def test_links_and_pipes_are_no_code(tmp_path):
    folder = write(tmp_path, files={"data/weights": "1"})
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "data" / "pipe")
    assert sorted(faults(folder)) == [
        "data/pipe is no regular file; remove it",
        "passwd is a link; replace it by the file itself",
        "up is a link; replace it by the file itself",
    ]


def test_a_folder_whose_name_cannot_be_a_name(tmp_path):
    folder = write(tmp_path).rename(tmp_path / "a,b")
    assert faults(folder) == ["the name 'a,b' has other characters than A-Z a-z 0-9 space . _ + -; rename it"]


# --- finding them


def test_folders_globs_and_archives(tmp_path):
    subs = tmp_path / "subs"
    for name in ("b", "a", "c"):
        write_submission(subs / name)
    (subs / "z.tar.gz").write_bytes(b"")
    (subs / "notes").mkdir()
    (subs / ".git").mkdir()
    (subs / "__pycache__").mkdir()
    (subs / "README.md").write_text("")
    paths, notices = find_submissions([str(subs / "c"), str(subs / "*")])
    assert paths == [subs / "c", subs / "a", subs / "b", subs / "z.tar.gz"]
    assert notices == [f"{subs / 'notes'}: passed over, it has no metadata.json"]


def test_patterns_that_find_nothing_are_named_at_once(tmp_path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError) as caught:
        find_submissions([str(tmp_path / "absent"), str(tmp_path / "plain"), str(tmp_path / "no*")])
    assert caught.value.faults == [
        f"{tmp_path / 'absent'}: no submission is there; check the path under 'submissions'",
        f"{tmp_path / 'plain'}: is no submission, it has no metadata.json; see docs/formats.md",
        f"{tmp_path / 'no*'}: no submission is there; check the path under 'submissions'",
    ]


@pytest.mark.parametrize(
    ("name", "title"),
    [("a.zip", "a"), ("a.tar", "a"), ("a.TAR.GZ", "a"), ("a.b.tgz", "a.b"), ("a.tar.gz.zip", "a.tar.gz")],
)
def test_archives_and_their_names(tmp_path, name, title):
    (tmp_path / name).write_bytes(b"")
    assert is_archive(tmp_path / name)
    assert archive_name(tmp_path / name) == title


def test_a_folder_is_no_archive_whatever_it_is_called(tmp_path):
    folder = write_submission(tmp_path / "attack.zip")
    assert not is_archive(folder)
    assert find_submissions([str(folder)]) == ([folder], [])


def test_two_of_one_name_and_role_are_a_fault(tmp_path):
    one = load_submission(write_submission(tmp_path / "x" / "same"))
    two = load_submission(write_submission(tmp_path / "y" / "same"))
    other = load_submission(write_submission(tmp_path / "z" / "same", "defense"))
    check_names([one, other])
    with pytest.raises(UserError) as caught:
        check_names([one, other, two])
    (line,) = caught.value.faults
    assert line.startswith("same: two submissions of type attack have this name (")
    assert str(one.folder) in line
    assert str(two.folder) in line


@pytest.mark.parametrize("name", ["clean", "no attack"])
def test_no_attack_is_called_what_tables_call_the_images_that_nobody_attacked(tmp_path, name):
    check_names([load_submission(write_submission(tmp_path / "x" / name, "defense"))])
    for role in ("attack", "targeted_attack"):
        with pytest.raises(UserError) as caught:
            check_names([load_submission(write_submission(tmp_path / role / name, role))])
        (line,) = caught.value.faults
        assert line.startswith(f"{name}: is what tables call the images that nobody attacked (")


def test_the_role_is_part_of_the_digest_and_the_name_is_not(tmp_path):
    attack = load_submission(write_submission(tmp_path / "x"))
    assert (
        load_submission(write_submission(tmp_path / "y", name="other", url="https://example.org")).digest
        == attack.digest
    )
    assert load_submission(write_submission(tmp_path / "z", "targeted_attack")).digest != attack.digest


def test_metadata_is_read_whatever_the_order_of_its_keys(tmp_path):
    folder = write(tmp_path)
    before = load_submission(folder).digest
    keys = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(dict(reversed(keys.items())), indent=7))
    assert load_submission(folder).digest == before
