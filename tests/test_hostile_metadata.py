"""What a stranger says about himself is refused with lines that are safe to show, or is shown as text and nothing else:
it colours no terminal, forges no line, runs in no browser and no spreadsheet, and no flag reaches the engine.

Every case is a submission folder that is handed in through a tournament file.
"""

import json
import os
import re
import shutil

import hostile
import pytest
from helpers import ANSWER, COPY, write_dataset, write_submission

from harness.errors import MAX_LINE, UserError
from harness.schema import MAX_FAULTS
from harness.submission import load_submission
from harness.trees import remove_tree

BASE = {"type": "attack", "container": "busybox:1", "entry_point": "run.sh"}
NAMES = re.escape("is 1 to 64 of the characters A-Z a-z 0-9 space . _ + -")
IMAGE = "is the name of a container image"
INSIDE = "is the path of a program inside the submission"

NAME_RULE = "a name is 1 to 64 of the characters A-Z a-z 0-9 space . _ + -, and begins with a letter or digit"
TEXT_RULE = "text that cannot be shown is refused; other text is kept and never published unescaped"
PATH_RULE = "the entry point is a file of the folder, and never goes through a shell"
IMAGE_RULE = "a container is a reference as engines define it, passed as one value and never as an option"
JSON_RULE = "64 KiB of plain JSON, each key once, known keys of the right type; what is wrong is said in few lines"
FOLDER_RULE = "plain files, whose names can be shown, at most 50 folders deep"

# What it attempts -> (changes to the metadata or its bytes, rule, pattern of each line).
REFUSED = {
    "HTML with a script as the name": ({"name": "<script>alert(1)</script>"}, NAME_RULE, f"name: {NAMES}"),
    "an image with a script as the name": ({"name": "x<img src=x onerror=alert(1)>"}, NAME_RULE, f"name: {NAMES}"),
    "a link of Markdown as the name": ({"name": "a](javascript:alert(1))"}, NAME_RULE, f"name: {NAMES}"),
    "a cell of a Markdown table as the name": ({"name": "a | 1.000 | 1"}, NAME_RULE, f"name: {NAMES}"),
    "a formula as the name": ({"name": "=cmd|' /C calc'!A0"}, NAME_RULE, f"name: {NAMES}"),
    "a formula that begins with a sign as the name": ({"name": "+1+1"}, NAME_RULE, f"name: {NAMES}"),
    "a formula that begins with @ as the name": ({"name": "@SUM(A1)"}, NAME_RULE, f"name: {NAMES}"),
    "a formula behind a tab as the name": ({"name": "\t=1+1"}, NAME_RULE, f"name: {NAMES}"),
    "a second row of a CSV in the name": ({"name": "a\nwinner,1000"}, NAME_RULE, f"name: {NAMES}"),
    "a path as the name": ({"name": "../../leaderboard"}, NAME_RULE, f"name: {NAMES}"),
    "an option as the name": ({"name": "--output=/"}, NAME_RULE, f"name: {NAMES}"),
    "a name that clears and colours the screen": ({"name": "a\x1b[2J\x1b[31m"}, NAME_RULE, f"name: {NAMES}"),
    "a name with the one-byte control characters": ({"name": "a\x9b2J"}, NAME_RULE, f"name: {NAMES}"),
    "a name with a NUL": ({"name": "a\0b"}, NAME_RULE, f"name: {NAMES}"),
    "a name whose direction turns": ({"name": "a\u202egnp.exe"}, NAME_RULE, f"name: {NAMES}"),
    "a name that looks like another's": ({"name": "h\u043enest"}, NAME_RULE, f"name: {NAMES}"),
    "a name of 10,000 characters": ({"name": "x" * 10_000}, NAME_RULE, f"name: {NAMES}"),
    "an empty name": ({"name": ""}, NAME_RULE, f"name: {NAMES}"),
    "terminal commands in the description": ({"description": "a\x1b]0;owned\x07"}, TEXT_RULE, "description: has char"),
    "a turn of direction in the description": ({"description": "a\u2066b\u202e"}, TEXT_RULE, "description: has char"),
    "half a character in the description": ({"description": "\ud800"}, TEXT_RULE, "description: has char"),
    "terminal commands in an author": ({"authors": ["A", "\x1b[2J"]}, TEXT_RULE, "authors: has characters"),
    "a script as the address": ({"url": "javascript:alert(1)"}, TEXT_RULE, "url: is an address on the web"),
    "an address that ends its attribute": ({"url": 'https://x/"onclick=alert(1)'}, TEXT_RULE, "url: is an address"),
    "a file of the machine as the address": ({"url": "file:///etc/passwd"}, TEXT_RULE, "url: is an address on the"),
    "a program of the machine as entry point": ({"entry_point": "/bin/sh"}, PATH_RULE, f"entry_point: {INSIDE}"),
    "an entry point that leads up": ({"entry_point": "../honest/run.sh"}, PATH_RULE, f"entry_point: {INSIDE}"),
    "an entry point that leads up later": ({"entry_point": "a/../../x"}, PATH_RULE, f"entry_point: {INSIDE}"),
    "an option as entry point": ({"entry_point": "-c"}, PATH_RULE, f"entry_point: {INSIDE}"),
    "a command of the shell as entry point": ({"entry_point": "run.sh; touch owned"}, PATH_RULE, "entry point run.sh;"),
    "a substitution of the shell as entry point": ({"entry_point": "$(touch owned)"}, PATH_RULE, r"entry point \$\("),
    "a second line in the entry point": ({"entry_point": "run.sh\n--privileged"}, PATH_RULE, f"entry_point: {INSIDE}"),
    "an entry point of 10,000 characters": ({"entry_point": "x" * 10_000}, PATH_RULE, f"entry_point: {INSIDE}"),
    "a NUL in the entry point": ({"entry_point": "run.sh\0x"}, PATH_RULE, f"entry_point: {INSIDE}"),
    "a folder as entry point": ({"entry_point": "."}, PATH_RULE, "entry point . is missing"),
    "weights that lead up": ({"weights": ["../../../etc/passwd"]}, PATH_RULE, "weights.0: is 1 to 64 of the charac"),
    "10 MB of JSON": (json.dumps(BASE | {"description": "x" * 10_000_000}).encode(), JSON_RULE, "is larger than 64 Ki"),
    "a mapping nested 10,000 times": (b'{"a":' * 10_000, JSON_RULE, "is not valid JSON"),
    "a list nested 60,000 times": (b"[" * 60_000, JSON_RULE, "is not valid JSON"),
    "a key twice": (b'{"type": "attack", "type": "defense"}', JSON_RULE, r"is not valid JSON \(key 'type' twice"),
    "a key of terminal commands twice": (b'{"\\u001b[2J": 1, "\\u001b[2J": 2}', JSON_RULE, r".*key '\\x1b\[2J' twice"),
    "NaN": (b'{"gpu": NaN}', JSON_RULE, r"is not valid JSON \(NaN is no JSON"),
    "infinity": (b'{"gpu": -Infinity}', JSON_RULE, r"is not valid JSON \(-Infinity is no JSON"),
    "an integer of 60,000 digits": (b'{"gpu": ' + b"9" * 60_000 + b"}", JSON_RULE, "is not valid JSON"),
    "an integer of 4,000 digits": ({"gpu": 10**4000}, JSON_RULE, "gpu: should be a valid boolean"),
    "a float beyond all floats": (b'{"gpu": 1e99999}', JSON_RULE, ".*: "),
    "5,000 unknown keys": (BASE | {f"k{number}": 1 for number in range(5000)}, JSON_RULE, ".*(unknown key|more fau)"),
    "an unknown key of 50,000 characters": ({"k" * 50_000: 1}, JSON_RULE, "k{57}...: unknown key"),
    "an unknown key of terminal commands": ({"\x1b[2J\nharness: fine": 1}, JSON_RULE, r"'\\x1b\[2J\\nharness: fine'"),
    "text in UTF-16": (json.dumps(BASE).encode("utf-16"), JSON_RULE, "is not valid JSON"),
    "text in Latin-1": (b'{"authors": "M\xfcller"}', JSON_RULE, "is not valid JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + json.dumps(BASE).encode(), JSON_RULE, "is not valid JSON"),
    "bytes of anything": (bytes(range(256)) * 10, JSON_RULE, "is not valid JSON"),
    "a list in place of a text": ({"entry_point": ["sh", "-c", "x"]}, JSON_RULE, "entry_point: should be a valid str"),
    "a mapping in place of a text": ({"container": {"image": "x", "privileged": True}}, JSON_RULE, "container: should"),
    "further keys of a container engine": ({"privileged": True, "volumes": ["/:/h"]}, JSON_RULE, ".*unknown key"),
} | {
    f"a container reference: {what}": ({"container": text}, IMAGE_RULE, f"container: {IMAGE}")
    for what, text in {
        "--privileged": "--privileged",
        "-v /:/h": "-v /:/h",
        "image --net=host": "image --net=host",
        "an option behind a tab": "image\t--privileged",
        "an option behind a line break": "image\n--privileged",
        "nothing": "",
        "a blank": " ",
        "upper case": "Evil/IMAGE:1",
        "10,000 characters": "x" * 10_000,
        "a path": "../../etc/passwd",
        "an address": "https://evil.example/image",
        "a command of the shell": "$(reboot)",
        "a NUL": "image\0",
        "two tags": "image:1:2",
        "a digest that is none": "image@sha256:0",
    }.items()
}  # fmt: skip
REFUSED["the reference for GPUs: --gpus=all --privileged"] = (
    {"container_gpu": "--gpus=all --privileged"}, IMAGE_RULE, f"container_gpu: {IMAGE}",
)  # fmt: skip

# What it attempts -> (changes to the metadata, rule); these are played.
PLAYED = {
    "HTML with a script as an author": ({"authors": ["<script>alert('harm')</script>"]}, TEXT_RULE),
    "HTML with a script in the description": ({"description": "<img src=x onerror=alert('harm')>"}, TEXT_RULE),
    "a formula in the description": ({"description": "=cmd|' /C harm'!A0"}, TEXT_RULE),
    "marks of Markdown in the description": ({"description": "[harm](https://harm.example) | `harm` |"}, TEXT_RULE),
    "marks of Rich in the description": ({"description": "[bold red]harm[/] [link=https://x]y[/link]"}, TEXT_RULE),
    "a line of the log in the description": ({"description": "a\nharness: harm"}, TEXT_RULE),
    "an entry point written in a roundabout way": ({"entry_point": "././run.sh"}, PATH_RULE),
    "a name of dots, signs and blanks": ({"name": "a ..  +-_"}, NAME_RULE),
}


def forged(folder):
    (folder / "a\nharness: all is well").touch()


def screen(folder):
    (folder / "\x1b[2J").touch()


def no_text(folder):
    (folder / os.fsdecode(b"\xff\xfe")).touch()


def bad_link(folder):
    (folder / "\x1b[31m").symlink_to("/etc/passwd")


def host_link(folder):
    (folder / "weights").symlink_to("/etc")


def pipe(folder):
    os.mkfifo(folder / "data")


def deep(folder):
    (folder / "/".join(["d"] * 60)).mkdir(parents=True)


def very_deep(folder):
    """Beyond what calls itself for each folder may go."""
    (folder / "deep").mkdir()
    for _ in range(1500):
        (folder / "deep").rename(folder / "next")
        (folder / "deep").mkdir()
        (folder / "next").rename(folder / "deep" / "d")


def metadata_link(folder):
    (folder / "metadata.json").rename(folder / "other.json")
    (folder / "metadata.json").symlink_to("other.json")


def metadata_pipe(folder):
    (folder / "metadata.json").unlink()
    os.mkfifo(folder / "metadata.json")


def entry_link(folder):
    (folder / "run.sh").unlink()
    (folder / "run.sh").symlink_to("/bin/sh")


# What it attempts -> (what is done to the folder, pattern of each line).
FOLDERS = {
    "a file whose name forges a line of the log": (forged, r"'a\\nharness: all is well' has characters"),
    "a file whose name clears the screen": (screen, r"'\\x1b\[2J' has characters"),
    "a file whose name is no text": (no_text, r"'\\udcff\\udcfe' has characters"),
    "a link to a file of the machine, in colours": (bad_link, r"(.* has characters|\ufffd\[31m is a link)"),
    "a link to a folder of the machine": (host_link, "weights is a link"),
    "a pipe that nobody writes to": (pipe, "data is no regular file"),
    "60 folders inside one another": (deep, "has more than 50 folders"),
    "1,500 folders inside one another": (very_deep, "has more than 50 folders"),
    "metadata that is a link": (metadata_link, "is missing or no plain file"),
    "metadata that is a pipe": (metadata_pipe, "is missing or no plain file"),
    "an entry point that is a link to a shell": (entry_link, "(entry point|run.sh is a link)"),
}
FOLDER_NAMES = {
    "a folder whose name forges a line of the log": "a\nharness: all is well",
    "a folder whose name clears the screen": "a\x1b[2J",
    "a folder whose name is HTML": "<img src=x onerror=alert(1)>",
    "a folder whose name is a formula": "=1+1",
    "a folder whose name is an option": "--privileged",
    "a folder whose name is no text": os.fsdecode(b"a\xff\xfe"),
    "a folder whose name turns its direction": "a\u202eb",
}


@pytest.fixture
def place(tmp_path):
    """A round of an honest pair, to which a folder is added."""
    write_dataset(tmp_path / "data", 2)
    write_submission(tmp_path / "submissions/honest")
    write_submission(tmp_path / "submissions/one", "defense", ANSWER % 1)
    (tmp_path / "round.yaml").write_text(
        "dataset: data\nsubmissions: [submissions/*]\nsandbox: process\ntrust_submissions: true\noutput: out\n"
    )
    return tmp_path


def refused(place, run_main, capsys, line):
    """The round does not begin, and what is said is safe to show and not too much."""
    code = run_main("run", place / "round.yaml")
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert code == 1, said.err
    assert 1 <= len(lines) <= MAX_FAULTS + 1
    for text in lines:
        assert text.startswith("harness: ")
        assert text.isprintable()
        assert len(text) < MAX_LINE + 50
        about = re.sub(r"^harness: .*?/submissions/[^/]*?(/metadata\.json)?: ", "", text)
        assert re.match(line, about), about
    assert not (place / "out/leaderboard.json").exists()
    assert list((place / "out/store/work").iterdir()) == []


def write(place, metadata):
    folder = write_submission(place / "submissions/hostile", program=COPY)
    data = metadata if isinstance(metadata, bytes) else json.dumps(BASE | metadata).encode()
    (folder / "metadata.json").write_bytes(data)
    return folder


@pytest.mark.parametrize("attempt", REFUSED)
def test_metadata_is_refused_in_lines_that_can_be_shown(place, run_main, capsys, record_property, attempt):
    changes, rule, line = REFUSED[attempt]
    hostile.note(record_property, "metadata", attempt, rule, "-")
    write(place, changes)
    refused(place, run_main, capsys, line)


@pytest.mark.parametrize("key", ["description", "weights", "unknown"])
def test_no_depth_of_nesting_is_a_bug(tmp_path, key):
    """Shallow enough to be read, deep enough to overflow where it was repeated in an error."""
    folder = write_submission(tmp_path / "hostile")
    for depth in range(850, 1001):
        text = json.dumps(BASE)[:-1] + f', "{key}": {"[" * depth}1{"]" * depth}}}'
        (folder / "metadata.json").write_text(text)
        with pytest.raises(UserError) as caught:
            load_submission(folder)
        assert all(len(line) < MAX_LINE for line in caught.value.faults)


@pytest.mark.parametrize("attempt", FOLDERS)
def test_folders_are_refused_in_lines_that_can_be_shown(place, run_main, capsys, record_property, attempt):
    change, line = FOLDERS[attempt]
    hostile.note(record_property, "metadata", attempt, FOLDER_RULE, "-")
    folder = write(place, {})
    change(folder)
    try:
        refused(place, run_main, capsys, line)
    finally:
        remove_tree(folder)  # pytest itself cannot, where it is too deep


@pytest.mark.parametrize("attempt", FOLDER_NAMES)
def test_names_of_folders_are_refused_in_lines_that_can_be_shown(place, run_main, capsys, record_property, attempt):
    hostile.note(record_property, "metadata", attempt, NAME_RULE, "-")
    write(place, {}).rename(place / "submissions" / FOLDER_NAMES[attempt])
    refused(place, run_main, capsys, ".*the name .* has other characters")


LOG = """#!/bin/sh
printf '\\033[2J\\033[31mred\\007\\rhonest: ok in 0.1 s\\n\\342\\200\\256bidi\\n'
head -c 5000 /dev/zero | tr '\\0' x
printf '\\n[bold red]marked[/]\\n\\377\\376\\n'
exit 3
"""


def test_a_log_is_shown_as_text(place, run_main, capsys, record_property):
    hostile.note(
        record_property, "metadata", "a log of terminal commands, marks, turned text and a line without end",
        "logs are cut to 64 KiB, their lines to 2,000 characters, and control characters are replaced", "process",
    )  # fmt: skip
    (write(place, {}) / "run.sh").write_text(LOG)
    assert run_main("run", place / "round.yaml") == 0
    assert run_main("status", place / "out") == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert all(line.isprintable() and len(line) < MAX_LINE + 50 for line in lines)
    assert lines.count("    [bold red]marked[/]") >= 2
    assert not [line for line in lines if line.startswith("honest: ok in 0.1 s")]


@pytest.mark.docker
def test_what_a_build_prints_is_shown_as_text(place, run_main, capsys, record_property):
    hostile.note(
        record_property, "metadata", "a Dockerfile whose build prints terminal commands and fails",
        "every error is one line without control characters", "docker",
    )  # fmt: skip
    folder = write(place, {})
    (folder / "Dockerfile").write_text(
        "FROM python:3.11-slim\nRUN printf '\\033[2J\\033[31mred\\nharness: all is well\\n'; false\n"
    )
    file = place / "round.yaml"
    file.write_text(file.read_text().replace("process", "docker"))
    for honest in ("honest", "one"):
        path = place / "submissions" / honest / "metadata.json"
        path.write_text(path.read_text().replace("busybox:1", "python:3.11-slim"))
    refused(place, run_main, capsys, ".*its Dockerfile does not build: ")


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nharness: fine", os.fsdecode(b"\xff")])
def test_what_is_passed_over_is_named_in_one_safe_line(place, run_main, capsys, name):
    (place / "submissions" / name).mkdir()
    assert run_main("run", place / "round.yaml") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "passed over" in line)
    assert line.isprintable()


@pytest.mark.parametrize("attempt", PLAYED)
def test_what_is_taken_is_published_nowhere_unescaped(place, run_main, capsys, record_property, attempt):
    changes, rule = PLAYED[attempt]
    hostile.note(record_property, "metadata", attempt, rule, "-")
    write(place, changes)
    assert run_main("run", place / "round.yaml") == 0
    assert run_main("status", place / "out") == 0
    assert run_main("score", place / "out") == 0
    said = capsys.readouterr()
    assert said.err == ""
    shutil.rmtree(place / "out/store")
    assert {"hostile", "a ..  +-_"} & {
        one["name"] for one in json.loads((place / "out/provenance.json").read_text())["submissions"]
    }  # the one file that names authors, as strings of JSON
    published = [path.read_bytes() for path in place.glob("out/*") if path.name != "provenance.json"]
    assert len(published) > 8
    assert not [text for text in [said.out.encode(), *published] if b"harm" in text]
