"""A tournament file is refused at once with every fault in it, and means the same wherever the command is called from:
an organiser who mends one fault a run, or plays the wrong folder, loses a night."""

import json
import os

import pytest
from helpers import ROOT, write_submission

from harness.cli import build_parser
from harness.commands.options import output_of, tournament_of
from harness.config import LimitsConfig, Tournament, load_tournament, tournament_from_flags
from harness.errors import UserError
from harness.records import Limits
from harness.sandbox import read_profile
from harness.submission import find_submissions

LEAST = "dataset: data\nsubmissions: subs/*\noutput: out\n"


@pytest.fixture
def load(tmp_path):
    """Loads a tournament file with this text; `least` adds the keys that there must be."""

    def load(text, overrides=None, *, least=True):
        path = tmp_path / "t.yaml"
        path.write_text(LEAST + text if least else text)
        return load_tournament(path, overrides)

    return load


@pytest.fixture
def faults(load, tmp_path):
    """The lines of the error, without the file's name."""

    def faults(text, **options):
        with pytest.raises(UserError) as caught:
            load(text, **options)
        start = f"{tmp_path / 't.yaml'}: "
        assert all(line.startswith(start) for line in caught.value.faults)
        return [line.removeprefix(start) for line in caught.value.faults]

    return faults


def test_what_is_left_out_has_the_documented_value(load):
    found = load("")
    assert (found.name, found.epsilon, found.batch_size, found.rules) == ("t", 16, 100, "fair")
    assert (found.sandbox, found.slots, found.gpu, found.versions_per_call) == ("auto", "auto", "auto", 1)
    assert found.limits.resolve() == Limits()
    assert not found.trust_submissions


def test_the_ready_tournaments_are_in_order():
    ready = sorted((ROOT / "tournaments").glob("*.yaml"))
    assert ready
    for path in ready:
        found = load_tournament(path)
        assert found.dataset.path.is_dir()
        assert found.output.parent == ROOT / "runs"


def test_runtime_and_profile_are_the_engines_own_unless_they_are_named(load, tmp_path):
    assert (load("").runtime, load("").seccomp) == (None, None)
    found = load("runtime: runsc\nseccomp: profiles/strict.json\n")
    assert (found.runtime, found.seccomp) == ("runsc", tmp_path / "profiles/strict.json")


# --- faults


def test_all_faults_are_named_at_once(faults):
    text = (
        "epsilon: [4, 300]\nsandbox: dcker\nslots: 0\nrule: fair\nversions_per_call: 2\nseed: -1\nbatch_size: many\n"
        "gpu: maybe\nlimits: {secnds: 1, memory: 1 MiB, cpus: 0}\nname: 3\n"
    )
    assert sorted(faults(text)) == [
        "batch_size: should be a valid integer; got 'many'",
        "epsilon: is rotate, an integer in 0..255, or a list of them; got [4, 300]",
        "gpu: should be 'auto' or should be a valid boolean; got 'maybe'",
        "limits.cpus: is auto or a number of cores of at least 1; got 0",
        "limits.memory: should be greater than or equal to 16777216; got 1048576",
        "limits.secnds: unknown key; did you mean seconds?",
        "name: should be a valid string; got 3",
        "rule: unknown key; did you mean rules?",
        "sandbox: should be 'auto', 'docker' or 'process'; got 'dcker'; did you mean docker?",
        "seed: should be greater than or equal to 0; got -1",
        "slots: is auto or a number of at least 1; got 0",
        "versions_per_call: should be 1 or 'all'; got 2",
    ]


def test_missing_keys_are_named_together(faults):
    assert sorted(faults("name: x\n", least=False)) == [
        "dataset: required key is missing; add it",
        "output: required key is missing; add it",
        "submissions: required key is missing; add it",
    ]


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("epsilons", "epsilon"),
        ("submision", "submissions"),
        ("batchsize", "batch_size"),
        ("trust_submission", "trust_submissions"),
        ("sandbx", "sandbox"),
    ],
)
def test_a_typo_gets_a_suggestion(faults, key, guess):
    assert faults(f"{key}: 1\n") == [f"{key}: unknown key; did you mean {guess}?"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds nothing, not a mapping of keys to values; see docs/formats.md"),
        ("- a\n- b\n", "holds a list, not a mapping of keys to values; see docs/formats.md"),
        ("just words", "holds a str, not a mapping of keys to values; see docs/formats.md"),
        ("seed: 1\nname: x\nseed: 2\n", "tournament file is not valid YAML: key 'seed' twice (line 3); mend that line"),
        ("limits: {pids: 5, pids: 6}", "tournament file is not valid YAML: key 'pids' twice (line 1); mend that line"),
    ],
    ids=["empty", "list", "text", "twice", "twice-inside"],
)
def test_what_is_no_tournament_file(faults, text, fault):
    assert faults(text, least=False) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: b: c",
        "\tx: 1",
        "!!python/object/apply:os.getcwd []",
        "a: !unknown 1",
        "a: 2017-13-45",
        "? [a]\n: b",
        "x: *y",
        "\0",
    ],
)
def test_broken_yaml_is_one_line(faults, text):
    (line,) = faults(text, least=False)
    assert line.startswith("tournament file is not valid YAML: ")


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml: no such tournament file; check the path"):
        load_tournament(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml: tournament file cannot be read as UTF-8"):
        load_tournament(tmp_path / "latin.yaml")
    with pytest.raises(UserError, match="tournament file cannot be read"):
        load_tournament(tmp_path)


def test_keys_may_be_merged_from_an_anchor(load):
    text = "limits: &all {pids: 5}\nimages:\n  <<: &more {a: x}\n  b: y\n"
    assert sorted(load(text).images) == ["a", "b"]


# --- values


@pytest.mark.parametrize(
    ("text", "axis", "batches"),
    [
        ("8", ["8"], [[8], [8], [8], [8], [8]]),
        ("0", ["0"], [[0]]),
        ("255", ["255"], [[255]]),
        ("[4, 16]", ["4", "16"], [[4, 16], [4, 16]]),
        ("rotate", ["rotate"], [[4], [8], [12], [16], [4], [8]]),
    ],
)
def test_epsilon(load, text, axis, batches):
    found = load(f"epsilon: {text}\n")
    assert found.epsilon_labels == axis
    assert [found.epsilons(batch) for batch in range(len(batches))] == batches


@pytest.mark.parametrize(
    "text", ["256", "-1", "[]", "[4, 4]", "[4, 256]", "4.0", "'16'", "true", "rotated", "null", "[rotate]"]
)
def test_what_is_no_epsilon(faults, text):
    lines = faults(f"epsilon: {text}\n")
    assert all(line.startswith("epsilon") for line in lines)


def test_limits(load):
    found = load("limits: {seconds: 1.5, memory: 2 GiB, cpus: 3, pids: 9, output: 5 MB}\n").limits.resolve()
    assert found == Limits(1.5, 2 << 30, 3, 9, 5_000_000)


@pytest.mark.parametrize(
    "text", ["seconds: 0", "seconds: .nan", "memory: -1", "output: 1 KiB TiB", "pids: 0", "cpus: many"]
)
def test_limits_that_cannot_be(faults, text):
    (line,) = faults(f"limits: {{{text}}}\n")
    assert line.startswith(f"limits.{text.split(':')[0]}: ")


def test_the_class_and_the_record_agree_on_limits():
    assert LimitsConfig().resolve() == Limits()


# --- paths


def test_relative_paths_are_taken_from_the_files_own_folder(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    found = load("store: ../shared\nimages: {'kit:1': kit}\n")
    assert found.dataset.path == tmp_path / "data"
    assert found.submissions == [str(tmp_path / "subs" / "*")]
    assert found.output == tmp_path / "out"
    assert found.store_path == tmp_path.parent / "shared"
    assert found.images == {"kit:1": tmp_path / "kit"}


def test_absolute_paths_stay_and_a_dataset_may_be_a_mapping(load, tmp_path):
    text = "dataset: {path: d, images: /elsewhere, metadata: ../m.csv, limit: 3}\nsubmissions: [/a/*, b]\noutput: /o\n"
    found = load(text, least=False)
    assert (found.dataset.path, str(found.dataset.images)) == (tmp_path / "d", "/elsewhere")
    assert (found.dataset.metadata, found.dataset.limit) == (tmp_path.parent / "m.csv", 3)
    assert found.submissions == ["/a/*", str(tmp_path / "b")]
    assert found.store_path == found.output / "store"


def test_the_home_folder_is_known_by_its_sign(load, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(load("store: ~/store\n").store) == "/home/me/store"


def test_the_home_of_nobody_is_a_name_like_any_other(load, tmp_path):
    assert load("store: ~nobody-of-this-name/x\n").store == tmp_path / "~nobody-of-this-name" / "x"


def test_brackets_in_the_folders_own_name_are_no_pattern(tmp_path):
    folder = write_submission(tmp_path / "round [1]" / "subs" / "noop").parents[1]
    (folder / "t.yaml").write_text(LEAST)
    paths, _ = find_submissions(load_tournament(folder / "t.yaml").submissions)
    assert paths == [folder / "subs" / "noop"]


# --- the command line


def test_overrides_stand_over_the_file(load):
    found = load("seed: 1\nepsilon: 4\n", {"seed": 2, "limit": 5})
    assert (found.seed, found.epsilon, found.dataset.limit) == (2, 4, 5)


def test_a_limit_is_added_to_a_dataset_that_is_a_mapping(load, tmp_path):
    found = load("dataset: {path: d, limit: 9}\nsubmissions: s\noutput: o\n", {"limit": 5}, least=False)
    assert (found.dataset.path, found.dataset.limit) == (tmp_path / "d", 5)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"slots": 0}, "slots: is auto or a number of at least 1; got 0"),
        ({"sandbox": "dokcer"}, "sandbox: should be 'auto', 'docker' or 'process'; got 'dokcer'; did you mean docker?"),
        ({"limit": 0}, "dataset.limit: should be greater than or equal to 1; got 0"),
        ({"submissions": []}, "submissions: List should have at least 1 item after validation, not 0; got []"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_faults_are_said_to_be_where_they_are(load, tmp_path, overrides, fault):
    """Nobody finds a wrong option in a file that is in order."""
    with pytest.raises(UserError) as caught:
        load("batch_size: 0\n", overrides)
    batch_size = f"{tmp_path / 't.yaml'}: batch_size: should be greater than or equal to 1; got 0"
    assert sorted(caught.value.faults) == sorted([batch_size, f"command line: {fault}"])


def test_a_fault_beside_a_limit_of_the_command_line_is_the_files(load, tmp_path):
    with pytest.raises(UserError) as caught:
        load("dataset: {path: d, imges: i}\nsubmissions: s\noutput: o\n", {"limit": 5}, least=False)
    (line,) = caught.value.faults
    assert line.startswith(f"{tmp_path / 't.yaml'}: dataset.imges: unknown key; did you mean images?")


def parse(*arguments):
    return tournament_of(build_parser().parse_args(["run", *map(str, arguments)]))


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """The folders of the 2017 toolkit, as its own script names them, below the working directory."""
    monkeypatch.delenv("HARNESS_SANDBOX", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("sample_attacks", "sample_targeted_attacks", "sample_defenses", "images"):
        (tmp_path / name / "noop").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("joint", ["-", "_"])
def test_the_flags_of_the_2017_toolkit(toolkit, joint):
    flags = {
        "attacks_dir": "sample_attacks",
        "targeted_attacks_dir": "sample_targeted_attacks",
        "defenses_dir": "sample_defenses",
        "dataset_dir": "images",
        "dataset_metadata": "dev_dataset.csv",
        "intermediate_results_dir": "working",
        "output_dir": "output",
        "epsilon": "8",
    }
    arguments = [f"--{name.replace('_', joint)}={value}" for name, value in flags.items()]
    found = parse(*arguments, "--gpu", f"--save{joint}all{joint}classification")
    folders = ("sample_attacks", "sample_targeted_attacks", "sample_defenses")
    assert found.submissions == [str(toolkit / name / "*") for name in folders]
    assert (found.dataset.images, found.dataset.metadata) == (toolkit / "images", toolkit / "dev_dataset.csv")
    assert (found.epsilon, found.gpu, found.name) == (8, True, "output")
    assert (found.output, found.store_path) == (toolkit / "output", toolkit / "working")


def test_an_empty_folder_of_the_2017_flags_is_no_submissions_of_that_kind(toolkit):
    (toolkit / "sample_targeted_attacks" / "noop").rmdir()
    flags = ("--dataset-dir=images", "--output-dir=o")
    found = parse("--attacks-dir=sample_attacks", "--targeted-attacks-dir=sample_targeted_attacks", *flags)
    assert found.submissions == [str(toolkit / "sample_attacks" / "*")]
    with pytest.raises(UserError, match="command line: submissions: List should have at least 1 item"):
        parse("--targeted-attacks-dir=sample_targeted_attacks", *flags)


def test_a_folder_of_the_2017_flags_that_is_absent_is_looked_for_and_missed(toolkit):
    found = parse("--attacks-dir=sample_attack", "--dataset-dir=images", "--output-dir=o")
    with pytest.raises(UserError, match=r"sample_attack/\*: no submission is there; check the path"):
        find_submissions(found.submissions)


def test_a_dataset_folder_of_ours_serves_as_dataset_dir(toolkit):
    (toolkit / "images" / "images").mkdir()
    found = parse("--attacks-dir", "a", "--dataset-dir", "images", "--output-dir", "o", "--nogpu")
    assert found.dataset.images == toolkit / "images" / "images"
    assert found.gpu is False


def test_flags_that_are_missing_are_named(toolkit):
    with pytest.raises(
        UserError, match=r"--attacks-dir or --targeted-attacks-dir, --dataset-dir, --output-dir missing"
    ):
        parse("--epsilon", "4")


def test_all_options_reach_the_tournament(toolkit):
    (toolkit / "t.yaml").write_text(LEAST)
    found = parse(
        "t.yaml", "--name", "n", "--sandbox", "process", "--epsilon", "4,8", "--batch-size", "7", "--limit", "3",
        "--slots", "2", "--seed", "9", "--rules", "nips17-dev", "--versions-per-call", "all", "--trust-submissions",
        "--store", "s", "--objects", "s3://bucket/x", "--output", "o",
    )  # fmt: skip
    expected = Tournament.model_validate({
        "name": "n", "dataset": {"path": toolkit / "data", "limit": 3}, "submissions": [str(toolkit / "subs/*")],
        "sandbox": "process", "epsilon": [4, 8], "batch_size": 7, "slots": 2, "seed": 9, "rules": "nips17-dev",
        "versions_per_call": "all", "trust_submissions": True, "store": toolkit / "s", "output": toolkit / "o",
        "objects": "s3://bucket/x",
    })  # fmt: skip
    assert found == expected


@pytest.mark.parametrize(
    ("given", "found"),
    [("shared", "{}/shared"), ("/a/../shared", "/shared"), ("s3://bucket/a/../b", "s3://bucket/a/../b")],
)
def test_objects_are_in_a_folder_or_at_a_url(toolkit, monkeypatch, given, found):
    """A folder is taken from the file's own one, or, on the command line, from the working directory."""
    (toolkit / "t.yaml").write_text(LEAST + f"objects: {given}\n")
    assert parse("t.yaml").objects == found.format(toolkit)
    (toolkit / "deep").mkdir()
    monkeypatch.chdir(toolkit / "deep")
    assert parse("../t.yaml").objects == found.format(toolkit)
    assert parse("../t.yaml", "--objects", given).objects == found.format(toolkit / "deep")


def test_one_version_per_call_may_be_asked_for_over_a_file_that_says_all(toolkit):
    (toolkit / "t.yaml").write_text(LEAST + "versions_per_call: all\n")
    assert parse("t.yaml", "--versions-per-call", "1").versions_per_call == 1


def test_the_environment_chooses_a_sandbox_and_the_command_line_stands_over_it(toolkit, monkeypatch):
    (toolkit / "t.yaml").write_text(LEAST + "sandbox: docker\n")
    assert parse("t.yaml").sandbox == "docker"
    monkeypatch.setenv("HARNESS_SANDBOX", "process")
    assert parse("t.yaml").sandbox == "process"
    assert parse("t.yaml", "--sandbox", "auto").sandbox == "auto"


@pytest.mark.parametrize("text", ["300", "4,4", "much"])
def test_a_bad_epsilon_on_the_command_line(toolkit, text):
    (toolkit / "t.yaml").write_text(LEAST)
    with pytest.raises(UserError, match=r"^command line: epsilon"):
        parse("t.yaml", "--epsilon", text)


def test_a_run_is_named_by_its_folder_or_by_its_tournament_file(toolkit):
    (toolkit / "t.yaml").write_text(LEAST)
    for run in ("t.yaml", "out"):
        arguments = build_parser().parse_args(["status", run])
        assert os.path.abspath(output_of(arguments)) == str(toolkit / "out")


def test_flags_alone_make_a_tournament_or_lines():
    with pytest.raises(UserError) as caught:
        tournament_from_flags({"seed": -1, "limit": 0})
    assert "command line: seed: should be greater than or equal to 0; got -1" in caught.value.faults


def test_runtime_and_profile_may_come_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "t.yaml"
    path.write_text(LEAST + "runtime: runsc\nseccomp: strict.json\n")
    found = parse(path, "--runtime", "kata", "--seccomp", "other/profile.json")
    assert (found.runtime, found.seccomp) == ("kata", tmp_path / "other/profile.json")


# --- seccomp profiles


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot be read as JSON (No such file or directory)"),
        ("{", "cannot be read as JSON"),
        ("\xff", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "is no seccomp profile"),
        ("{}", "is no seccomp profile"),
        ('{"defaultAction": 1}', "is no seccomp profile"),
        ('{"defaultAction": "ALLOW"}', "is no seccomp profile"),
    ],
    ids=["missing", "cut", "no-utf-8", "deep", "list", "empty", "number", "another-word"],
)
def test_what_is_no_seccomp_profile_is_one_clear_line(tmp_path, text, fault):
    path = tmp_path / "profile.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        read_profile(path)
    (line,) = caught.value.faults
    assert line.startswith(f"{path}: ")
    assert fault in line


def test_a_seccomp_profile_is_passed_on_whole(tmp_path):
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
    (tmp_path / "profile.json").write_text(json.dumps(profile, indent=4))
    assert json.loads(read_profile(tmp_path / "profile.json")) == profile
    assert read_profile(None) is None
