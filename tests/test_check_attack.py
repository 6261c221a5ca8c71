"""`harness check` of an attack, played for real: each thing that a tournament would hold against it is found in an
attack that does it, and not in one that does not."""

import json

import pytest
from builders import NUMPY_IMAGE, write_attack, write_dataset
from helpers import random_pixels

from harness.check.report import Check

PROCESS = ("--sandbox", "process", "--trust-submissions")
SIZE = (16, 16)

GOOD = """
for name in names:
    pixels = read(name)
    signs = np.where(pixels % 2, 1, -1)
    write(name, pixels + epsilon * signs)
"""
TARGETED = """
for name in names:
    write(name, read(name) + int(wanted[name]) % (epsilon + 1))
"""
TRUNCATES = """
for name in names:
    x = read(name).astype(np.float32) / np.float32(127.5) - np.float32(1)
    signs = np.where(np.arange(x.size).reshape(x.shape) % 2, 1, -1).astype(np.float32)
    x_adv = np.clip(x + signs * np.float32(2 * epsilon / 255), -1, 1)
    pixels = (x_adv + np.float32(1)) * np.float32(127.5)
    write(name, HOW)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pixels = {f"img{number}": random_pixels(number, SIZE) for number in range(1, 9)}
    labels = {name: number for number, name in enumerate(pixels, start=1)}
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", pixels, labels, dict.fromkeys(pixels, 500))


@pytest.fixture
def check(tmp_path, dataset, run_main, capfd):
    """`harness check` of an attack with this body; (exit code, check -> its findings)."""

    def check(body, *arguments, sandbox=PROCESS, role="attack", **metadata):
        folder = write_attack(tmp_path / "sub", body, role, **metadata)
        file = tmp_path / "report.json"
        code = run_main("check", folder, "--dataset", dataset, "--json", file, *sandbox, *arguments)
        assert capfd.readouterr().err == ""
        found = {}
        for finding in json.loads(file.read_text())["findings"]:
            found.setdefault(finding["check"], []).append(finding)
        return code, found

    return check


def level(found, check):
    return [finding["level"] for finding in found.get(check, [])]


def test_a_good_attack_has_no_fault(check):
    code, found = check(GOOD)
    assert code == 0
    assert {one["level"] for findings in found.values() for one in findings} <= {"ok", "skipped"}
    assert {Check.VERDICT, Check.IMAGES, Check.SECONDS, Check.EXCEEDED} <= found.keys()
    assert found[Check.EXCEEDED][0]["values"] == {"epsilon": 16, "exceeding": 0, "largest": 16, "truncated": 0}


@pytest.mark.docker
def test_a_good_attack_has_no_fault_in_a_container(check, docker_engine):
    docker_engine.images.get(NUMPY_IMAGE)
    code, found = check(GOOD, sandbox=("--sandbox", "docker"))
    assert code == 0
    assert level(found, Check.VERDICT) == ["ok"]
    assert found[Check.SANDBOX][0]["values"] == {"sandbox": "docker"}


@pytest.mark.parametrize(
    ("how", "code", "truncated"),
    [("pixels.astype(np.uint8)", 1, 1), ("np.rint(pixels).astype(np.uint8)", 0, 0)],
    ids=["cuts", "rounds"],
)
def test_an_attack_that_cuts_its_floats_and_one_that_rounds(check, how, code, truncated):
    ended, found = check(TRUNCATES.replace("HOW", how))
    (finding,) = found[Check.EXCEEDED]
    assert (ended, finding["values"]["truncated"]) == (code, truncated)
    assert finding["message"].startswith("epsilon 16: you truncate instead of rounding: ") is bool(truncated)


def test_an_attack_that_oversteps(check):
    code, found = check(GOOD.replace("epsilon * signs", "(epsilon + 3) * signs"))
    (finding,) = found[Check.EXCEEDED]
    assert (code, finding["level"], len(finding["images"])) == (1, "error", 8)
    assert "the worst by 3; the referee clips them" in finding["message"]


def test_images_left_alone_and_a_budget_left_unused_are_warnings(check):
    body = GOOD.replace("epsilon * signs", "signs * (0 if name in names[:2] else 2)")
    code, found = check(body)
    assert code == 0
    assert found[Check.UNCHANGED][0]["images"] == ["img1", "img2"]
    assert level(found, Check.UNUSED) == ["warning"]
    assert found[Check.UNUSED][0]["values"] == {"epsilon": 16, "largest": 2}


def test_strict_makes_a_warning_an_error(check):
    assert check("for name in names:\n    write(name, read(name))\n", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("pass", "missing"),
        ("Image.fromarray(read(name)[:, :, 0].astype(np.uint8)).save(target / name)", "wrong_mode"),
        ("Image.fromarray(read(name)[1:].astype(np.uint8)).save(target / name)", "wrong_size"),
        ("(target / name).write_bytes(b'GIF89a')", "not_png"),
        ("(target / name).symlink_to(source / name)", "not_a_file"),
    ],
)
def test_faults_of_images_are_named_with_what_to_do(check, line, fault):
    good = "for name in names[3:]:\n    write(name, read(name) + 16)\n"
    code, found = check(f"{good}for name in names[:3]:\n    {line}\n")
    (finding,) = found[Check.IMAGES]
    assert (code, finding["level"], finding["images"]) == (1, "error", ["img1", "img2", "img3"])
    assert finding["values"] == {"fault": fault, "count": 3}
    assert found[Check.VERDICT][0]["values"]["verdict"] == "bad_output"
    assert level(found, Check.SECONDS) == ["skipped"]


def test_files_that_nobody_asked_for(check):
    code, found = check(GOOD + "(target / 'notes.txt').touch()\n")
    assert (code, found[Check.UNKNOWN][0]["values"]) == (0, {"count": 1})


def test_the_end_of_a_log_shows_why_it_failed(check):
    code, found = check("print('loading')\nraise RuntimeError('no weights \\x1b[31m here')\n")
    (finding,) = found[Check.VERDICT]
    assert (code, finding["level"], finding["values"]["exit_code"]) == (1, "error", 1)
    assert finding["details"][-1] == "RuntimeError: no weights \ufffd[31m here"


# --- time


def test_a_slow_attack_would_not_be_done_in_time(check):
    """Eight images are; a batch of 1000 would not be."""
    body = "import time\n" + GOOD + "    time.sleep(0.5)\n"
    code, found = check(body, "--seconds", "20", "--batch-size", "1000")
    (finding,) = found[Check.SECONDS]
    assert (code, finding["level"]) == (1, "error")
    assert finding["values"]["seconds"] > 20 > found[Check.VERDICT][0]["values"]["seconds"]
    assert finding["values"]["each"] > 0.1


def test_an_attack_that_is_out_of_time_at_once(check):
    code, found = check("import time\ntime.sleep(60)\n", "--seconds", "1")
    assert (code, found[Check.VERDICT][0]["values"]["verdict"]) == (1, "timeout")
    assert level(found, Check.SECONDS) == ["skipped"]


def test_one_image_says_nothing_about_time(check):
    code, found = check(GOOD, "--images", "1")
    assert (code, level(found, Check.SECONDS)) == (0, ["skipped"])


# --- targets


def test_a_targeted_attack_that_reads_its_targets(check):
    code, found = check(TARGETED, role="targeted_attack")
    assert (code, level(found, Check.TARGETS)) == (0, ["ok"])
    assert level(found, Check.OPPONENT) == ["skipped"]


def test_a_targeted_attack_that_does_not(check):
    code, found = check(GOOD, role="targeted_attack")
    assert (code, level(found, Check.TARGETS)) == (1, ["error"])
    assert "target_class.csv of the input folder is not heeded" in found[Check.TARGETS][0]["message"]


# --- budgets


def test_full_plays_every_budget_of_the_competition(check):
    code, found = check("for name in names:\n    write(name, read(name) + 16)\n", "--full")
    assert code == 1
    assert [(one["values"]["epsilon"], one["level"]) for one in found[Check.EXCEEDED]] == [
        (4, "error"),
        (8, "error"),
        (12, "error"),
        (16, "ok"),
    ]
    assert len(found[Check.VERDICT]) == 4


def test_budgets_that_are_named_are_those(check):
    _, found = check(GOOD, "--epsilon", "2,6")
    assert [one["values"]["epsilon"] for one in found[Check.EXCEEDED]] == [2, 6]


def test_more_images_than_a_batch_are_played_in_batches(check, tmp_path):
    body = GOOD + f"open({str(tmp_path / 'calls')!r}, 'a').write(f'{{len(names)}} ')\n"
    code, _ = check(body, "--batch-size", "3")
    calls = (tmp_path / "calls").read_text()
    assert code == 0
    assert calls in ("3 3 2 1 ", "3 3 2 1 1 ")  # the small one again, where it happened to be no faster
