"""`harness check` serves in a participant's CI: its exit code and its JSON document mean the same today and tomorrow,
each key and each check is described, and nothing is called in order that was not looked at."""

import json
import os
import re
import shutil
import tarfile
import tempfile

import pytest
from builders import first_pixel_dataset, write_attack, write_defense
from helpers import ROOT, write_submission
from hypothesis import given
from hypothesis import strategies as st

from harness.check import conditions
from harness.check.conditions import Conditions, tournament_for
from harness.check.opponents import OPPONENTS, PROJECT
from harness.check.report import SCHEMA_VERSION, Check, Finding, Level, Report, count, some
from harness.errors import UserError

DOCS = (ROOT / "docs" / "check.md").read_text()
PROCESS = ("--sandbox", "process", "--trust-submissions")
GOOD = "for name in names:\n    write(name, read(name) + epsilon)\n"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return first_pixel_dataset(tmp_path_factory.mktemp("data") / "tiny", 4)


@pytest.fixture
def check(run_main, capfd, dataset):
    """`harness check ARGUMENTS` on the tiny data set; (exit code, lines on stdout, lines on stderr)."""

    def check(*arguments):
        code = run_main("check", "--dataset", dataset, *arguments)
        said = capfd.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return check


# --- what people read


def test_each_finding_is_a_line_and_the_last_counts_them(check, tmp_path):
    code, out, err = check(write_attack(tmp_path / "sub", GOOD), *PROCESS)
    assert (code, err) == (0, [])
    lines = [line for line in out[:-1] if not line.startswith("...")]
    assert all(re.match(r"(ok|warning|error|skipped) +(static|smoke|time|budget) +\S", line) for line in lines)
    counted = {level: sum(line.startswith(level) for line in lines) for level in ("ok", "skipped")}
    wanted = [f"{number} {level}" for level, number in counted.items() if number]
    assert out[-1] == f"passed: {', '.join(wanted)}"


def test_progress_is_shown_before_each_call(check, tmp_path):
    _, out, _ = check(write_attack(tmp_path / "sub", GOOD), *PROCESS)
    assert "...      sub attacks 4 images at epsilon 16" in out


def test_the_end_of_a_log_is_indented_and_harmless(check, tmp_path):
    program = "print('\\x1b[2Jfake line')\nraise SystemExit(3)\n"
    code, out, _ = check(write_attack(tmp_path / "sub", program), *PROCESS)
    assert code == 1
    assert f"{'':19}\ufffd[2Jfake line" in out
    assert out[-1].startswith("failed: ")


def test_some_and_count():
    assert some("abcdef") == "a, b, c, d and 2 more"
    assert some("ab") == "a, b"
    assert (count(1, "image"), count(0, "image")) == ("1 image", "0 images")


# --- what programs read


def test_the_report_has_its_schema(check, tmp_path, dataset):
    folder, file = write_attack(tmp_path / "sub", GOOD), tmp_path / "report.json"
    code, _, _ = check(folder, *PROCESS, "--json", file, "--seconds", "30", "--memory", "1 GiB", "--batch-size", "10")
    document = json.loads(file.read_text())
    findings = document.pop("findings")
    digest = document["submission"].pop("digest")
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert document == {
        "schema_version": 1,
        "harness": document["harness"],
        "submission": {"path": str(folder), "name": "sub", "type": "attack"},
        "conditions": {
            "full": False, "static": False, "epsilons": [16], "batch_size": 10, "seconds": 30.0, "memory": 1 << 30,
            "sandbox": "process", "dataset": "tiny", "images": 4,
        },
        "passed": code == 0,
        "strict": False,
        "counts": {level: sum(one["level"] == level for one in findings) for level in Level},
    }  # fmt: skip
    for finding in findings:
        assert finding.keys() == {"level", "step", "check", "message", "images", "values", "details"}
        assert finding["check"] in set(Check)
        assert finding["check"].startswith(f"{finding['step']}.")


def test_a_dash_leaves_the_standard_output_to_the_report(check, tmp_path):
    code, out, err = check(write_attack(tmp_path / "sub", GOOD), *PROCESS, "--json", "-")
    assert (code, json.loads("\n".join(out))["passed"]) == (0, True)
    assert err[-1].startswith("passed: ")


def test_a_report_of_what_cannot_even_be_read(check, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, _ = check(tmp_path / "empty", "--json", "-")
    document = json.loads("\n".join(out))
    assert (code, document["passed"], document["counts"]["error"]) == (1, False, 1)
    assert document["submission"] == {"path": str(tmp_path / "empty"), "name": None, "type": None, "digest": None}
    assert document["conditions"]["images"] == 0


LEVELS = st.lists(st.sampled_from(list(Level)), max_size=6)


@given(LEVELS, st.booleans())
def test_only_errors_fail_and_warnings_where_it_is_strict(levels, strict):
    report = Report()
    for level in levels:
        report.add(level, Check.SIZE, "x")
    refused = {Level.ERROR, Level.WARNING} if strict else {Level.ERROR}
    assert report.passed(strict=strict) is refused.isdisjoint(levels)
    document = report.document({}, {}, strict=strict)
    assert document["passed"] is report.passed(strict=strict)
    assert sum(document["counts"].values()) == len(levels)
    assert json.loads(json.dumps(document)) == document


@given(st.text(max_size=80), st.text(max_size=80))
def test_nothing_that_a_participant_wrote_moves_the_cursor(message, detail):
    heard = []
    Report(heard.append).add(Level.ERROR, Check.SIZE, message, details=[detail])
    (finding,) = heard
    assert len(finding.lines()) == 2
    assert all(char.isprintable() or char == "\t" for line in finding.lines() for char in line)


def test_every_check_and_key_is_described():
    rows = set(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", DOCS, re.MULTILINE))
    assert rows == set(Check)
    report = Report()
    report.add(Level.OK, Check.SIZE, "x")
    document = report.document({"path": 1, "name": 1, "type": 1, "digest": 1}, {}, strict=False)
    keys = {*document, *document["submission"], *document["findings"][0], *map(str, Level)}
    assert sorted(key for key in keys if f"`{key}`" not in DOCS) == []
    assert f"`schema_version` | {SCHEMA_VERSION}" in DOCS


def test_every_value_is_described(check, tmp_path, dataset):
    """Of all that a check of an attack and one of a defense say."""
    attack = write_attack(tmp_path / "attack", "for name in names[1:]:\n    write(name, read(name))\n")
    defense = write_defense(tmp_path / "defense", "answer([(name, 7) for name in names])\n")
    for folder in (attack, defense):
        _, out, _ = check(folder, *PROCESS, "--json", "-")
        for finding in json.loads("\n".join(out))["findings"]:
            (row,) = re.findall(rf"^\| `{finding['check']}` \|.*$", DOCS, re.MULTILINE)
            assert [key for key in finding["values"] if f"`{key}`" not in row] == []


# --- under which conditions


def test_nothing_is_run_where_only_the_files_are_asked_for(check, tmp_path):
    folder = write_attack(tmp_path / "sub", f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    code, out, _ = check(folder, "--static")
    assert (code, (tmp_path / "ran").exists()) == (0, False)
    assert {line.split()[1] for line in out[:-1]} == {"static"}


def test_strangers_are_not_run_without_isolation(check, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    folder = write_attack(tmp_path / "sub", f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    code, out, _ = check(folder)
    assert (code, any("it was not run: docker: no engine answers" in line for line in out)) == (1, True)
    code, out, _ = check(folder, "--sandbox", "process")
    assert (code, any("the process sandbox does not isolate" in line for line in out)) == (1, True)
    assert not (tmp_path / "ran").exists()


def test_a_dockerfile_needs_containers(check, tmp_path):
    folder = write_attack(tmp_path / "sub", GOOD)
    (folder / "Dockerfile").write_text("FROM python:3.11-slim\n")
    code, out, _ = check(folder, *PROCESS)
    assert (code, any("error    smoke     it was not run: " in line for line in out)) == (1, True)


def test_an_archive_is_checked_as_its_folder_is(check, tmp_path):
    folder = write_attack(tmp_path / "sub", GOOD)
    with tarfile.open(tmp_path / "sub.tar.gz", "w:gz") as file:
        file.add(folder, "inner")
    code, out, _ = check(tmp_path / "sub.tar.gz", *PROCESS, "--json", "-")
    document = json.loads("\n".join(out))
    assert (code, document["submission"]["name"], document["submission"]["type"]) == (0, "sub", "attack")
    assert [one["level"] for one in document["findings"] if one["check"] == "static.archive"] == ["ok"]


def test_a_label_space_of_another_dataset_ends_before_the_run(check, tmp_path):
    code, out, _ = check(write_attack(tmp_path / "sub", GOOD, labels="digits"), *PROCESS)
    assert code == 1
    assert any("the dataset tiny is labelled in imagenet-1001; name one of digits" in line for line in out)
    assert any(line.startswith("skipped  smoke     it was not run") for line in out)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["absent"], r"absent: is no folder and no archive"),
        (["{sub}", "--images", "0"], r"command line: images: is a number of at least 1; got 0"),
        (["{sub}", "--epsilon", "300"], r"command line: epsilon: "),
        (["{sub}", "--seconds", "0"], r"command line: limits\.seconds: "),
        (["{sub}", "--memory", "lots"], r"command line: limits\.memory: is a number of bytes"),
        (["{sub}", "--tournament", "absent.yaml"], r"absent\.yaml: no such tournament file"),
    ],
    ids=["path", "images", "epsilon", "seconds", "memory", "tournament"],
)
def test_a_command_line_that_is_wrong(check, tmp_path, arguments, fault):
    folder = write_submission(tmp_path / "sub")
    code, _, err = check(*(argument.format(sub=folder) for argument in arguments), *PROCESS)
    assert code == 1
    assert re.search(fault, "\n".join(err))


def test_a_tournament_file_gives_the_conditions(check, tmp_path, dataset, run_main, capfd):
    file = tmp_path / "t.yaml"
    keys = {"dataset": str(dataset), "submissions": ["x"], "output": "out", "epsilon": [2, 3], "batch_size": 7}
    file.write_text(json.dumps(keys | {"limits": {"seconds": 11, "memory": "1 GiB"}}))
    folder = write_attack(tmp_path / "sub", GOOD)
    assert run_main("check", folder, "--tournament", file, "--seconds", "12", "--json", "-", *PROCESS) == 0
    found = json.loads(capfd.readouterr().out)["conditions"]
    assert (found["dataset"], found["epsilons"], found["batch_size"]) == ("tiny", [2, 3], 7)
    assert (found["seconds"], found["memory"]) == (12.0, 1 << 30)


def some_conditions(path, **keys):
    return Conditions(path, tournament_for(None, None, {}, keys))


def test_who_is_isolated(tmp_path, monkeypatch):
    monkeypatch.setattr(conditions, "choose_sandbox", lambda name: name)
    own = PROJECT / "submissions" / "attacks" / "noop"
    assert some_conditions(own).sandbox_name == "process"
    assert some_conditions(tmp_path).sandbox_name == "docker"
    assert some_conditions(tmp_path, trust_submissions=True).sandbox_name == "auto"
    assert some_conditions(own, sandbox="docker").sandbox_name == "docker"


def test_the_dataset_is_that_of_the_label_space(tmp_path, monkeypatch):
    for name in ("photos", "digits", "nips2017_dev"):
        (tmp_path / "dataset" / name / "images").mkdir(parents=True)
        shutil.copy(PROJECT / "dataset" / name / "dataset.yaml", tmp_path / "dataset" / name)
    monkeypatch.setattr(conditions, "PROJECT", tmp_path)
    spaces = {labels: some_conditions(tmp_path).dataset(labels).path.name for labels in (None, "digits", "misspelt")}
    assert spaces == {None: "photos", "digits": "digits", "misspelt": "photos"}


def test_images_that_are_not_there_are_named_with_the_command(tmp_path, monkeypatch):
    (tmp_path / "dataset" / "cifar").mkdir(parents=True)
    (tmp_path / "dataset" / "cifar" / "dataset.yaml").write_text("name: cifar\n")
    given_conditions = some_conditions(tmp_path)
    monkeypatch.setattr(conditions, "PROJECT", tmp_path)
    with pytest.raises(UserError, match=r"cifar: its images are not there; run: harness dataset build .*cifar"):
        given_conditions.dataset(None)


def test_the_opponents_are_there():
    folders = [PROJECT / "submissions" / path for known in OPPONENTS.values() for path in known.values()]
    assert [folder for folder in folders if not (folder / "metadata.json").exists()] == []


def test_nothing_is_left_behind(check, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert check(write_attack(tmp_path / "sub", GOOD), *PROCESS)[0] == 0
    assert os.listdir(tmp_path / "temporary") == []


# --- opponents


def test_a_defense_meets_an_attack_and_an_attack_a_defense(check, tmp_path, monkeypatch):
    """Tiny ones stand for the project's own, which need PyTorch."""
    monkeypatch.setattr("harness.preparation.OWN_SUBMISSIONS", tmp_path / "submissions")
    monkeypatch.setattr("harness.check.opponents.PROJECT", tmp_path)
    known = {"defense": "defenses/efficientnet_lite0", "attack": "attacks/fgsm"}
    body = "answer([(name, read(name)[0, 0, 0] // 10) for name in names])\n"
    defense = write_defense(tmp_path / "submissions" / known["defense"], body)
    write_attack(tmp_path / "submissions" / known["attack"], GOOD)
    attack = write_attack(tmp_path / "sub", "for name in names:\n    write(name, read(name) + 2 * (epsilon // 2))\n")
    found = {}
    for path in (attack, defense):
        _, out, _ = check(path, "--full", "--epsilon", "4,10", "--json", "-", *PROCESS)
        findings = json.loads("\n".join(out))["findings"]
        found[path.name] = [one["values"] for one in findings if one["check"] == Check.OPPONENT]
    assert found["sub"] == [
        {"opponent": "efficientnet_lite0", "epsilon": 4, "hits": 0, "images": 4},
        {"opponent": "efficientnet_lite0", "epsilon": 10, "hits": 4, "images": 4},
    ]
    assert found["efficientnet_lite0"] == [{"opponent": "fgsm", "epsilon": 10, "images": 4, "clean": 4, "attacked": 0}]


def test_an_opponent_that_does_not_play_is_skipped(check, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.check.opponents.PROJECT", tmp_path)
    code, out, _ = check(write_attack(tmp_path / "sub", GOOD), "--full", *PROCESS)
    assert code == 0
    assert any(line.startswith("skipped  opponent  no opponent was met: the project has no defense") for line in out)


def test_hits_of_a_targeted_attack_are_answers_of_its_target(check, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.preparation.OWN_SUBMISSIONS", tmp_path / "submissions")
    monkeypatch.setattr("harness.check.opponents.PROJECT", tmp_path)
    body = "answer([(name, read(name)[0, 0, 0] // 10) for name in names])\n"
    write_defense(tmp_path / "submissions/defenses/efficientnet_lite0", body)
    reads = "for name in names:\n    x = read(name)\n    x[0, 0, 0] = 10 * int(wanted[name])\n    write(name, x)\n"
    code, out, _ = check(
        write_attack(tmp_path / "sub", reads, "targeted_attack"), "--full", "--epsilon", "10", *PROCESS
    )
    assert code == 0
    assert any("efficientnet_lite0 answers the target class for 4 of 4 images" in line for line in out)


def test_a_finding_knows_its_step():
    assert Finding(Level.OK, Check.EXCEEDED, "x").check.step == "budget"
