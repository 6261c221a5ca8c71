"""A list whose labels are counted from the other base looks in order and makes every score worthless: `harness dataset
check` must see it by the answers of a real network, must not cry wolf on a handful of images, and must say so where
it could not look."""

import csv
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from helpers import ANSWER, COPY, ROOT, data_folder, write_dataset, write_submission
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness import baseline
from harness.baseline import FEWEST, SHIFTS, Agreement, Baseline, judge, sample, wilson_interval
from harness.commands import dataset as command
from harness.dataset import LabelSpace, Picture
from harness.digest import digest_bytes
from harness.errors import UserError
from harness.images import write_png


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The twenty photographs, and their rows as dictionaries."""
    folder = tmp_path_factory.mktemp("photos")
    subprocess.run([sys.executable, ROOT / "dataset/photos/build.py", folder], check=True, timeout=60)
    with (folder / "dataset.csv").open(newline="") as file:
        return folder, list(csv.DictReader(file))


def relabelled(path, rows, shift):
    """The rows with another label base; a target that would leave 1..1000 is one in the middle."""
    lines = ["ImageId,TrueLabel,TargetClass"]
    for row in rows:
        target = int(row["TargetClass"]) + shift
        lines.append(f"{row['ImageId']},{int(row['TrueLabel']) + shift},{target if 1 <= target <= 1000 else 500}")
    path.write_text("\n".join(lines) + "\n")
    return path


# --- with a real network


def test_right_labels_give_the_clean_accuracy(photos, run_main, capfd):
    folder, _ = photos
    assert run_main("dataset", "check", folder) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: 20 images of {folder.name} are in order"  # build.py writes no dataset.yaml
    assert lines[1] == "asking efficientnet_lite0 about 20 images"
    start, _, rest = lines[2].partition(": clean accuracy ")
    hits = int(start.removeprefix("efficientnet_lite0 answers ").removesuffix(" of 20 images as labelled"))
    low, high = (f"{100 * bound:.1f} %" for bound in wilson_interval(hits, 20))
    assert rest == f"{5 * hits:.1f} %, 95 % interval {low} to {high}"
    assert hits >= 15
    assert len(lines) == 3


def test_the_competitions_own_labels_fit(run_main, capfd):
    folder = data_folder("nips2017-dev-400")
    assert run_main("dataset", "check", folder, "--limit", "100") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].endswith("100 images of nips2017-dev-400 are in order")
    assert lines[1] == "asking efficientnet_lite0 about 40 images"
    assert len(lines) == 3


# --- with answers that are known

PROCESS = ("--sandbox", "process", "--trust-submissions")

CANNED = """\
#!/usr/bin/env python3
import sys
from hashlib import sha256
from pathlib import Path

answers = {answers}
paths = sorted(Path(sys.argv[1]).glob("*.png"))
lines = [f"{{path.name}},{{answers[sha256(path.read_bytes()).hexdigest()]}}\\n" for path in paths]
Path(sys.argv[2]).write_text("".join(lines))
"""


@pytest.fixture
def canned(tmp_path):
    """Twenty pictures, rows for them, and a defense that knows the labels of all but one."""
    folder = write_dataset(tmp_path / "twenty", 20)
    with (folder / "dataset.csv").open(newline="") as file:
        rows = [{**row, "TrueLabel": str(100 + int(row["TrueLabel"]))} for row in csv.DictReader(file)]
    answers = {}
    for row in rows:
        with Image.open(folder / "images" / f"{row['ImageId']}.png") as image:
            answers[digest_bytes(write_png(np.asarray(image)))] = int(row["TrueLabel"])
    answers[next(iter(answers))] = 900
    write_submission(tmp_path / "canned", "defense", CANNED.format(answers=answers))
    return folder, rows, ("--baseline", tmp_path / "canned", *PROCESS)


@pytest.mark.parametrize(
    ("shift", "looks", "equal", "mend"),
    [(-1, "0-based", "TrueLabel + 1", "add 1 to"), (1, "one too high", "TrueLabel - 1", "subtract 1 from")],
    ids=["from-0", "from-2"],
)
def test_labels_of_another_base_are_an_error_of_one_line(canned, run_main, capfd, tmp_path, shift, looks, equal, mend):
    folder, rows, asked = canned
    wrong = relabelled(tmp_path / "wrong.csv", rows, shift)
    assert run_main("dataset", "check", folder, "--metadata", wrong, "--images", folder / "images", *asked) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        f"harness: {wrong}: the labels look {looks}: 95 % of the answers of canned equal {equal}, "
        f"0 % equal TrueLabel; {mend} TrueLabel and TargetClass of every row"
    )


def test_labels_of_other_images_are_a_low_accuracy_and_a_hint(canned, run_main, capfd, tmp_path):
    folder, rows, asked = canned
    turned = [{**row, "TrueLabel": other["TrueLabel"]} for row, other in zip(rows, rows[7:] + rows[:7], strict=True)]
    wrong = relabelled(tmp_path / "wrong.csv", turned, 0)
    assert run_main("dataset", "check", folder, "--metadata", wrong, *asked) == 0
    assert capfd.readouterr().out.splitlines()[-1] == baseline.HINT.format(space="imagenet-1001")


# --- with small programs as baselines


@pytest.fixture
def folder(tmp_path):
    """Six pictures with the labels 1..6."""
    return write_dataset(tmp_path / "data", 6)


@pytest.fixture
def check(folder, run_main, capfd):
    """`harness dataset check`; (exit code, lines of both streams)."""

    def check(*arguments):
        code = run_main("dataset", "check", folder, *arguments)
        said = capfd.readouterr()
        return code, (said.out + said.err).splitlines()

    return check


def test_images_and_rows_only(check, folder):
    assert check("--no-baseline") == (0, [f"{folder}: 6 images of tiny are in order"])


def test_a_few_images_prove_nothing(check, folder):
    assert check("--limit", FEWEST - 1) == (
        0,
        [
            f"{folder}: 3 images of tiny are in order",
            "the labels were not compared with a baseline: 3 images are too few",
        ],
    )


def test_a_limit_that_is_none(check):
    code, lines = check("--limit", 0)
    assert code == 1
    assert lines[0].startswith("harness: command line: limit: should be greater than or equal to 1")


def test_another_label_space_has_no_baseline(check, folder):
    (folder / "dataset.yaml").write_text("name: x\nlabels: {space: cifar10, first: 1, count: 1000}\n")
    code, lines = check()
    assert (code, lines[1]) == (
        0,
        "the labels were not compared with a baseline: there is none for the label space cifar10; "
        "name one with --baseline",
    )


def test_a_baseline_of_ones_own(check, tmp_path):
    write_submission(tmp_path / "one", "defense", ANSWER % 1)
    code, lines = check("--baseline", tmp_path / "one", *PROCESS)
    assert code == 0
    assert lines[1:] == [
        "asking one about 6 images",
        "one answers 1 of 6 images as labelled: clean accuracy 16.7 %, 95 % interval 3.0 % to 56.4 %",
    ]


@pytest.mark.parametrize(
    ("keys", "program", "fault"),
    [
        ({}, "#!/bin/sh\necho no torch here >&2\nexit 3\n", "own: ended with exit (no torch here); the labels were"),
        ({}, "#!/bin/sh\n", "own: ended with bad_output; the labels were not compared"),
        ({"role": "attack"}, COPY, "own: is of the type attack; a baseline is a defense, name another"),
        ({"labels": "cifar10"}, ANSWER % 1, "own: answers in the label space cifar10, the dataset is labelled in"),
        ({"weights": ["absent"]}, ANSWER % 1, "own: its weights absent are neither in its own folder nor in"),
    ],
    ids=["fails", "silent", "attack", "label-space", "weights"],
)
def test_a_baseline_that_was_named_and_is_none_is_an_error(check, tmp_path, monkeypatch, keys, program, fault):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "weights"))
    write_submission(tmp_path / "own", **{"role": "defense"} | keys, program=program)
    code, lines = check("--baseline", tmp_path / "own", *PROCESS)
    assert code == 1
    assert lines[-1].startswith(f"harness: {fault}")


def test_the_projects_baseline_that_cannot_play_here_is_a_notice(check, tmp_path, monkeypatch):
    """As where the harness is installed without the participant kit: the images are in order all the same."""
    own = write_submission(tmp_path / "own", "defense", "#!/bin/sh\necho no torch here\nexit 3\n")
    monkeypatch.setattr(command, "DEFAULT_BASELINE", own)
    monkeypatch.setattr("harness.preparation.OWN_SUBMISSIONS", tmp_path)
    monkeypatch.setattr(baseline, "OWN_SUBMISSIONS", tmp_path)
    code, lines = check()
    assert (code, lines[-1]) == (
        0,
        "own: ended with exit (no torch here); the labels were not compared; name another with --baseline",
    )
    monkeypatch.setattr(command, "DEFAULT_BASELINE", tmp_path / "absent")
    assert check()[1][-1].endswith("absent is not there; name one with --baseline")


def test_code_of_others_is_not_played_without_isolation(check, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    write_submission(tmp_path / "one", "defense", ANSWER % 1)
    code, lines = check("--baseline", tmp_path / "one")
    assert (code, "no engine answers at unix:///nowhere" in lines[-1]) == (1, True)
    code, lines = check("--baseline", tmp_path / "one", "--sandbox", "process")
    assert (code, "the process sandbox does not isolate" in lines[-1]) == (1, True)


def test_nothing_is_left_behind(check, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    write_submission(tmp_path / "one", "defense", ANSWER % 1)
    assert check("--baseline", tmp_path / "one", *PROCESS)[0] == 0
    assert os.listdir(tmp_path / "temporary") == []


def test_what_follows_two_dashes_is_for_the_build_script(run_main, capfd, tmp_path):
    (tmp_path / "dataset.yaml").write_text("name: made\nbuild: build.py\n")
    (tmp_path / "build.py").write_text("import sys\nprint(sys.argv[1:])\n")
    assert run_main("dataset", "build", tmp_path, "--", "--from-folder", "mine", "--link") == 0
    assert "['--from-folder', 'mine', '--link']" in capfd.readouterr().out
    assert run_main("dataset", "build", tmp_path) == 0
    assert "[]" in capfd.readouterr().out


def test_to_build_needs_a_folder_and_no_more(run_main, capfd):
    with pytest.raises(SystemExit) as caught:
        run_main("dataset", "build")
    assert caught.value.code == 2
    assert capfd.readouterr().err.endswith("error: the following arguments are required: DIR\n")


# --- the judgement


@pytest.mark.parametrize(
    ("hits", "answers", "shift"),
    [
        ((37, 0, 0), 40, None),
        ((1, 37, 0), 40, 1),
        ((0, 2, 35), 40, -1),
        ((17, 23, 0), 40, None),
        ((8, 24, 8), 40, 1),
        ((0, 0, 0), 40, None),
        ((0, 4, 0), 4, 1),
        ((0, 3, 0), 3, None),
        ((0, 3, 1), 4, None),
    ],
)
def test_a_shift_is_believed_where_the_intervals_are_apart(hits, answers, shift):
    assert Agreement(answers, dict(zip(SHIFTS, hits, strict=True))).better_shift == shift


@given(st.integers(1, 60).flatmap(lambda count: st.tuples(st.just(count), *[st.integers(0, count)] * 3)))
def test_a_shift_that_is_believed_fits_better_than_none(numbers):
    answers, *hits = numbers
    found = Agreement(answers, dict(zip(SHIFTS, hits, strict=True)))
    assert found.better_shift is None or found.hits[found.better_shift] == max(hits) > hits[0]


def test_where_labels_begin_elsewhere_the_words_are_others(tmp_path):
    found = Agreement(40, {0: 0, 1: 39, -1: 0})
    with pytest.raises(UserError, match=r"the labels look one too low: 98 % of the answers of x equal TrueLabel \+ 1"):
        judge(found, tmp_path, "x", LabelSpace(space="other", first=0, count=10, background=None))


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(hits, count, low, high):
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=1e-4)
    mirrored = wilson_interval(count - hits, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-4)


@given(st.integers(0, 500), st.integers(1, 60))
def test_a_sample_is_spread_over_the_list_and_the_same_each_time(count, size):
    pictures = [Picture(str(number), ROOT, 1, 2) for number in range(count)]
    found = sample(pictures, size)
    places = [int(picture.id) for picture in found]
    assert places == sorted(set(places))
    assert len(places) == min(count, size)
    if count > size:
        starts = [number * count // size for number in range(size + 1)]
        assert all(start <= place < end for start, place, end in zip(starts, places, starts[1:], strict=False))
    assert sample(pictures, size) == found


def test_the_projects_own_baseline_needs_no_container(tmp_path):
    assert Baseline(baseline.DEFAULT_BASELINE).sandbox_name == "process"
    assert Baseline(tmp_path).sandbox_name == "docker"
    assert Baseline(tmp_path, "process").sandbox_name == "process"
