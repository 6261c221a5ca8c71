"""`harness check` of a defense, played for real: the scores of all attacks rest on a defense being a function of one
image, so each way of not being one is found in a defense that goes it, and not in one that does not."""

import json

import pytest
from builders import NUMPY_IMAGE, first_pixel_dataset, write_dataset, write_defense

from harness.check.report import Check

PROCESS = ("--sandbox", "process", "--trust-submissions")

GOOD = "answer([(name, read(name)[0, 0, 0] // 10) for name in names])\n"
HONESTY = (Check.AGAIN, Check.NAMED, Check.ORDER, Check.BATCH)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return first_pixel_dataset(tmp_path_factory.mktemp("data") / "tiny", 8)


@pytest.fixture
def check(tmp_path, dataset, run_main, capfd):
    """`harness check` of a defense with this body; (exit code, check -> its findings)."""

    def check(body, *arguments, sandbox=PROCESS, data=dataset, **metadata):
        folder = write_defense(tmp_path / "sub", body, **metadata)
        file = tmp_path / "report.json"
        code = run_main("check", folder, "--dataset", data, "--json", file, *sandbox, *arguments)
        assert capfd.readouterr().err == ""
        found = {}
        for finding in json.loads(file.read_text())["findings"]:
            found.setdefault(finding["check"], []).append(finding)
        return code, found

    return check


def level(found, check):
    return [finding["level"] for finding in found.get(check, [])]


def honesty(found):
    return {check: finding["level"] for check in HONESTY for finding in found.get(check, [])}


def test_a_good_defense_has_no_fault(check):
    code, found = check(GOOD)
    assert code == 0
    assert {one["level"] for findings in found.values() for one in findings} <= {"ok", "skipped"}
    assert honesty(found) == dict.fromkeys(HONESTY, "ok")
    assert found[Check.ACCURACY][0]["values"]["correct"] == 8


@pytest.mark.docker
def test_a_good_defense_has_no_fault_in_a_container(check, docker_engine):
    docker_engine.images.get(NUMPY_IMAGE)
    code, found = check(GOOD, sandbox=("--sandbox", "docker"))
    assert code == 0
    assert honesty(found) == dict.fromkeys(HONESTY, "ok")


# --- honesty

COUNTS = """
from pathlib import Path
note = Path({path!r})
calls = len(note.read_text()) if note.exists() else 0
note.write_text("x" * (calls + 1))
answer([(name, 1 + calls) for name in names])
"""
SEES_NAMES = "answer([(name, 1 + int(name[:4], 16) % 7) for name in names])\n"
SEES_ORDER = "answer([(name, 1 + place) for place, name in enumerate(names)])\n"
SEES_BATCH = """
mean = sum(read(name)[0, 0, 0] // 10 for name in names) // len(names)
answer([(name, 1 + mean) for name in names])
"""
CRASHES_ALONE = "names[1]\n" + GOOD
DICE = "import random\nanswer([(name, random.randrange(1, 1000)) for name in names])\n"


def test_a_defense_that_counts_its_calls(check, tmp_path):
    """Under `process` it can: its notes survive."""
    code, found = check(COUNTS.format(path=str(tmp_path / "note")))
    (finding,) = found[Check.AGAIN]
    assert (code, finding["level"], finding["values"]) == (1, "error", {"compared": 8, "changed": 8})
    assert finding["images"] == [f"img{number}" for number in range(1, 9)]


def test_a_defense_that_looks_at_names(check):
    code, found = check(SEES_NAMES)
    assert code == 1
    assert honesty(found)[Check.AGAIN] == "ok"
    assert honesty(found)[Check.NAMED] == "error"
    assert "look at the pixels alone" in found[Check.NAMED][0]["message"]


def test_a_defense_that_looks_at_the_order(check):
    code, found = check(SEES_ORDER)
    assert code == 1
    assert honesty(found)[Check.AGAIN] == honesty(found)[Check.NAMED] == "ok"
    assert honesty(found)[Check.ORDER] == "error"


def test_a_defense_that_looks_at_the_whole_batch(check):
    """As with a mean over the batch that is not frozen."""
    code, found = check(SEES_BATCH)
    assert code == 1
    assert honesty(found) == dict.fromkeys(HONESTY[:3], "ok") | {Check.BATCH: "error"}
    assert "model.eval()" in found[Check.BATCH][0]["message"]


def test_a_defense_that_fails_on_one_image(check):
    code, found = check(CRASHES_ALONE)
    assert code == 1
    (finding,) = found[Check.BATCH]
    assert finding["level"] == "error"
    assert finding["details"][-1].startswith("IndexError")


def test_dice_are_an_error_unless_it_says_so(check):
    code, found = check(DICE)
    assert (code, level(found, Check.AGAIN)) == (1, ["error"])


def test_dice_that_are_declared_are_compared_with_themselves(check):
    """What changes anyway proves nothing about order or names."""
    code, found = check(DICE, deterministic=False)
    assert code == 0
    assert honesty(found) == {Check.AGAIN: "ok"} | dict.fromkeys(HONESTY[1:], "skipped")


def test_an_order_that_matters_is_seen_behind_declared_dice(check):
    """One answer of eight changes by itself, all of them with the order."""
    body = """
    import random
    rows = [(name, 1 + place) for place, name in enumerate(names)]
    rows[0] = (names[0], random.randrange(1, 1000))
    answer(rows)
    """
    code, found = check(body, "--images", "8", deterministic=False)
    assert code == 1
    assert (honesty(found)[Check.AGAIN], honesty(found)[Check.ORDER]) == ("ok", "error")


def test_one_image_has_no_order(check):
    code, found = check(GOOD, "--images", "1")
    assert code == 0
    assert honesty(found) == {Check.AGAIN: "ok", Check.NAMED: "ok", Check.ORDER: "skipped"}


def test_full_asks_more_one_by_one(check):
    _, few = check(GOOD)
    assert few[Check.BATCH][0]["values"]["compared"] == 4


def test_full_looks_at_all_images(check):
    _, found = check(GOOD, "--full")
    assert found[Check.BATCH][0]["values"]["compared"] == 8


# --- answers


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("'cat'", "not_an_integer"),
        ("1001", "outside_labels"),
        ("-1", "outside_labels"),
        ("'7.0'", "not_an_integer"),
    ],
)
def test_answers_that_count_for_nothing(check, label, fault):
    code, found = check(f"answer([(name, {label} if place < 2 else 5) for place, name in enumerate(names)])\n")
    (finding,) = found[Check.IMAGES]
    assert (code, finding["level"], finding["values"]) == (1, "error", {"fault": fault, "count": 2})
    assert set(finding["images"]) <= {f"img{number}" for number in range(1, 9)}
    assert level(found, Check.AGAIN) == ["skipped"]


def test_images_without_an_answer_and_rows_that_nobody_asked_for(check):
    code, found = check("answer([(name, 5) for name in names[1:]] + [('other.png', 3)])\n")
    assert code == 1
    assert found[Check.IMAGES][0]["values"] == {"fault": "missing", "count": 1}
    assert found[Check.UNKNOWN][0]["values"] == {"count": 1}


def test_one_answer_for_everything_is_a_warning(check):
    code, found = check("answer([(name, 417) for name in names])\n")
    assert code == 0
    assert found[Check.CONSTANT][0]["values"] == {"answer": 417, "answers": 8}
    assert level(found, Check.ACCURACY) == ["warning"]


@pytest.mark.parametrize(("shift", "words"), [(-1, "one too low"), (1, "one too high")])
def test_labels_counted_from_another_base(check, shift, words):
    code, found = check(GOOD.replace("// 10)", f"// 10 + {shift})"))
    (finding,) = found[Check.BASE]
    assert (code, finding["level"]) == (1, "error")
    assert words in finding["message"]
    assert f"{'add 1 to' if shift < 0 else 'subtract 1 from'} every answer" in finding["message"]
    assert level(found, Check.CONSTANT) == []


def test_wrong_answers_are_a_low_accuracy(check):
    code, found = check(GOOD.replace("// 10)", "// 10 + 100)"))
    assert code == 0
    assert level(found, Check.ACCURACY) == ["warning"]


def test_equal_pictures_are_asked_about_once(check, tmp_path):
    pixels = {f"img{number}": [[[10 * (1 + number // 2), 9, 9]] * 8] * 8 for number in range(6)}
    labels = {name: 1 + number // 2 for number, name in enumerate(pixels)}
    data = write_dataset(tmp_path / "twins", pixels, labels, dict.fromkeys(pixels, 5))
    code, found = check(GOOD, data=data)
    assert code == 0
    assert found[Check.VERDICT][0]["values"]["images"] == 3
    assert found[Check.ACCURACY][0]["values"]["answers"] == 6
