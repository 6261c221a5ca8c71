"""What the files alone betray is found before anything runs, all of it at once, and a submission in order is told so
rule by rule."""

import os
import tarfile
import zipfile

import pytest
from helpers import COPY, ROOT, write_submission

from harness.check import static
from harness.check.report import Check, Level, Report


def look(path, images=()):
    """check -> its findings, of the static rules."""
    report = Report()
    with static.opened(path, report) as folder:
        if folder:
            static.check_files(folder, path.name, dict.fromkeys(images, path), report)
    found = {}
    for finding in report.findings:
        found.setdefault(finding.check, []).append(finding)
    return found


def levels(found, check):
    return [finding.level for finding in found.get(check, [])]


def test_what_is_in_order_has_no_fault(tmp_path):
    found = look(write_submission(tmp_path / "sub", container="busybox:1"))
    assert {finding.level for findings in found.values() for finding in findings} == {Level.OK}
    assert set(found) == {Check.CONTRACT, Check.SIZE, Check.NAMES, Check.INTERPRETER, Check.CONTAINER}


def test_all_faults_of_the_metadata_at_once(tmp_path):
    found = look(write_submission(tmp_path / "sub", type="atack", entrypoint="x", gpu="yes"))
    messages = [finding.message for finding in found[Check.CONTRACT]]
    assert [finding.level for finding in found[Check.CONTRACT]] == [Level.ERROR] * 3
    assert any("did you mean attack?" in message for message in messages)
    assert any("did you mean entry_point?" in message for message in messages)
    assert any("gpu: should be a valid boolean" in message for message in messages)
    assert levels(found, Check.SIZE) == [Level.OK]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda folder: (folder / "metadata.json").unlink(), "is missing"),
        (lambda folder: (folder / "run.sh").unlink(), "entry point run.sh is missing"),
        (lambda folder: (folder / "run.sh").chmod(0o644), "is not executable; run: chmod"),
        (lambda folder: (folder / "link").symlink_to("/etc/passwd"), "is a link; replace it"),
        (lambda folder: os.mkfifo(folder / "pipe"), "is no regular file"),
    ],
    ids=["no-metadata", "no-entry", "not-executable", "link", "pipe"],
)
def test_a_folder_that_breaks_the_contract(tmp_path, spoil, word):
    folder = write_submission(tmp_path / "sub")
    spoil(folder)
    (finding,) = look(folder)[Check.CONTRACT]
    assert finding.level is Level.ERROR
    assert word in finding.message


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        (b"#!/bin/sh\r\necho\r\n", "has line ends of Windows (CRLF)"),
        (b"\xef\xbb\xbf#!/bin/sh\necho\n", "begins with a byte order mark"),
        (b"echo\n", "has no interpreter line"),
        (b"#!\necho\n", "has no interpreter line"),
        (b"", "has no interpreter line"),
    ],
    ids=["crlf", "bom", "none", "empty-line", "empty"],
)
def test_an_entry_point_that_cannot_be_started(tmp_path, program, fault):
    folder = write_submission(tmp_path / "sub")
    (folder / "run.sh").write_bytes(program)
    (finding,) = look(folder)[Check.INTERPRETER]
    assert finding.level is Level.ERROR
    assert fault in finding.message


def test_a_compiled_program_needs_no_interpreter(tmp_path):
    folder = write_submission(tmp_path / "sub")
    (folder / "run.sh").write_bytes(b"\x7fELF\x02\x01\x01")
    assert levels(look(folder), Check.INTERPRETER) == [Level.OK]


def test_line_ends_matter_to_shells_and_not_to_python(tmp_path):
    files = {"helper.sh": "echo\r\n", "helper.py": "pass\r\n", "fine.sh": "echo\n"}
    folder = write_submission(tmp_path / "sub")
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    (finding,) = look(folder)[Check.LINE_ENDS]
    assert finding.level is Level.WARNING
    assert finding.message.startswith("helper.sh: ")


def test_size_and_number_are_counted_and_limited(tmp_path, monkeypatch):
    folder = write_submission(tmp_path / "sub", files={"a": "x" * 1000, "b/c": "y" * 500})
    (finding,) = look(folder)[Check.SIZE]
    assert finding.values["files"] == 4
    assert finding.values["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    monkeypatch.setattr(static, "MAX_UNPACKED_BYTES", 1400)
    assert levels(look(folder), Check.SIZE) == [Level.ERROR]
    monkeypatch.setattr(static, "MAX_ENTRIES", 3)
    assert "more than 3 files" in look(folder)[Check.SIZE][0].message


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\\b", b"a\xffb"], ids=ascii)
def test_a_name_that_shows_as_another(tmp_path, name):
    folder = write_submission(tmp_path / "sub")
    with open(os.path.join(os.fsencode(folder), os.fsencode(name)), "w"):
        pass
    report_of_names = look(folder)[Check.NAMES]
    assert [finding.level for finding in report_of_names] == [Level.ERROR]
    assert report_of_names[0].message.isprintable()


def test_names_that_differ_in_case_alone(tmp_path):
    folder = write_submission(tmp_path / "sub", files={"Net.txt": "", "net.txt": "", "other.txt": ""})
    (finding,) = look(folder)[Check.NAMES]
    assert (finding.level, "'Net.txt', 'net.txt'" in finding.message) == (Level.WARNING, True)


def test_weights_that_are_named_and_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "weights"))
    folder = write_submission(tmp_path / "sub", "defense", weights=["one", "two"])
    (finding,) = look(folder)[Check.WEIGHTS]
    assert finding.level is Level.ERROR
    assert "one, two" in finding.message
    assert "harness weights fetch one two" in finding.message
    for name in ("one", "two"):
        path = tmp_path / "weights" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    assert levels(look(folder), Check.WEIGHTS) == [Level.OK]


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        ("pip install timm", True),
        ("urllib.request.urlopen(address)", True),
        ("model = torch.hub.load('pytorch/vision', 'resnet18')", True),
        ("# pip install timm", False),
        ("requests = []", False),
        ("curled = 1", False),
    ],
)
def test_what_asks_for_a_network_is_warned_of(tmp_path, line, warned):
    folder = write_submission(tmp_path / "sub", files={"attack.py": f"import sys\n{line}\n"})
    found = look(folder).get(Check.NETWORK, [])
    assert [finding.level for finding in found] == ([Level.WARNING] if warned else [])
    assert all(finding.message.startswith("attack.py:2: ") for finding in found)


# --- containers


@pytest.mark.parametrize(
    ("container", "images", "level", "word"),
    [
        ("advkit:0.1.0", ["advkit:0.1.0"], Level.OK, "the organiser builds it"),
        ("python:3.11-slim", [], Level.OK, "so it is pulled"),
        ("ghcr.io:443/me/net", [], Level.WARNING, "without a tag"),
        ("busybox", [], Level.WARNING, "without a tag"),
        (f"busybox@sha256:{'0' * 64}", [], Level.OK, "so it is pulled"),
    ],
)
def test_where_a_container_comes_from(tmp_path, container, images, level, word):
    (finding,) = look(write_submission(tmp_path / "sub", container=container), images)[Check.CONTAINER]
    assert (finding.level, word in finding.message) == (level, True)


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM advkit:0.1.0\n", [(Level.OK, "stands on advkit:0.1.0, which the organiser builds")]),
        ("FROM python:3.11\n", [(Level.OK, "python:3.11; it is not among the organiser's images")]),
        ("FROM python\n", [(Level.WARNING, "without a tag")]),
        ("ARG BASE\nFROM $BASE\n", [(Level.ERROR, "needs a build argument")]),
        ("FROM scratch\nCOPY . /\n", []),
        ("RUN true\n", [(Level.ERROR, "has no FROM line")]),
    ],
    ids=["organiser", "registry", "no-tag", "argument", "scratch", "nothing"],
)
def test_what_a_dockerfile_stands_on(tmp_path, dockerfile, expected):
    folder = write_submission(tmp_path / "sub", files={"Dockerfile": dockerfile})
    found = look(folder, ["advkit:0.1.0"]).get(Check.CONTAINER, [])
    assert [finding.level for finding in found] == [level for level, _ in expected]
    assert all(word in finding.message for finding, (_, word) in zip(found, expected, strict=True))


def test_stages_and_arguments_are_followed():
    """Of the two Dockerfiles that the project's own submissions have."""
    keras = (ROOT / "submissions/defenses/keras_efficientnet_lite0/Dockerfile").read_text()
    assert static.base_images(keras) == ["advkit:0.1.0", "python:3.11-slim"]
    foolbox = (ROOT / "submissions/attacks/foolbox_adam_pgd/Dockerfile").read_text()
    assert static.base_images(foolbox) == ["advkit:0.1.0"]
    assert static.base_images("FROM --platform=linux/amd64 \\\n  a:1 as x\nFROM x\nFROM b:2\n") == ["a:1", "b:2"]


# --- archives


def test_an_archive_is_looked_into(tmp_path):
    folder = write_submission(tmp_path / "sub")
    with tarfile.open(tmp_path / "sub.tar.gz", "w:gz") as file:
        file.add(folder, "sub")
    found = look(tmp_path / "sub.tar.gz")
    assert levels(found, Check.ARCHIVE) == [Level.OK]
    assert levels(found, Check.CONTRACT) == [Level.OK]


def test_an_archive_that_cannot_be_taken_is_one_finding(tmp_path):
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as file:
        file.writestr("../escaped", COPY)
    found = look(tmp_path / "slip.zip")
    assert set(found) == {Check.ARCHIVE}
    assert "would be written outside its folder" in found[Check.ARCHIVE][0].message
    assert not (tmp_path / "escaped").exists()


# --- label spaces


@pytest.mark.parametrize(
    ("declared", "fits", "words"),
    [
        (None, True, "names no label space; taken for digits"),
        ("digits", True, "answers in digits, as tiny is labelled"),
        ("cifar10", False, "the dataset tiny is labelled in digits; name one of cifar10 with --dataset"),
        ("digit", False, "which no dataset here has; did you mean digits?"),
        ("letters-of-persia", False, "which no dataset here has; known: cifar10, digits, imagenet-1001"),
    ],
)
def test_the_label_space_that_is_declared(declared, fits, words):
    report = Report()
    assert static.check_label_space(declared, "digits", ["cifar10", "imagenet-1001"], "tiny", report) is fits
    (finding,) = report.findings
    assert (finding.level, words in finding.message) == (Level.OK if fits else Level.ERROR, True)
