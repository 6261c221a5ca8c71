"""Evidence is all that published numbers rest on: what is written is read back equal, to the difference between no
answer and an unknown one; nothing in it tells whose machine it was; and a stranger's files are read with care, so that
whatever they hold ends in one line."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import differing, evidences, example, make_evidence
from helpers import score_table
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.publish import parquet
from harness.publish.evidence import FILES, SIMILARITY, read_evidence, without_place, write_evidence
from harness.publish.provenance import published_log, published_provenance
from harness.records import Verdict
from harness.scoring import NO_ANSWER, UNKNOWN


@given(evidences())
@settings(max_examples=40)
def test_evidence_is_read_back_equal(evidence):
    with TemporaryDirectory() as folder:
        write_evidence(evidence, Path(folder))
        assert differing(evidence, read_evidence(Path(folder))) == []


def test_the_same_evidence_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_evidence(example(), tmp_path / name)
    for name in (*FILES, SIMILARITY):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_no_answer_and_an_unknown_one_are_told_apart(tmp_path):
    table = score_table([[[[NO_ANSWER, UNKNOWN, 1]]]], clean=[[UNKNOWN, 1, NO_ANSWER]])
    write_evidence(make_evidence(table), tmp_path)
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert rows["label"] == [None, 1, None, None, None, 1]
    assert rows["known"] == [False, True, True, True, False, True]
    found = read_evidence(tmp_path).table
    assert found.labels.tolist() == table.labels.tolist()
    assert found.clean.tolist() == table.clean.tolist()


def test_two_attacks_of_one_name_are_two(tmp_path):
    """An attack and a targeted one may share it."""
    evidence = example()
    names = ("a0", "a1", "a0")
    table = replace(evidence.table, attacks=names)
    attacks = tuple(replace(one, name=name) for one, name in zip(evidence.round.attacks, names, strict=True))
    evidence = replace(
        evidence,
        table=table,
        round=replace(evidence.round, attacks=attacks),
        similarity=replace(evidence.similarity, attacks=names),
    )
    write_evidence(evidence, tmp_path)
    assert differing(evidence, read_evidence(tmp_path)) == []


# --- whose machine it was


def test_nothing_tells_the_machine():
    raw = {
        "machine": {"host": "secret", "system": "Linux-6.1-secret-x86_64", "python": "3.11.7", "cores": 2, "memory": 3},
        "slots": [{"cores": [0, 1], "gpu": "GPU-secret"}, {"cores": [2], "gpu": None}],
        "user": "secret",
        "submissions": [
            {"name": "a", "type": "attack", "digest": "d", "container": "c", "authors": "one", "home": "/home/secret"}
        ],
    }
    found = published_provenance(raw)
    assert "secret" not in json.dumps(found)
    assert found["machine"] == {"system": "Linux", "python": "3.11.7", "cores": 2, "memory": 3}
    assert found["slots"] == [{"cores": [0, 1], "gpu": True}, {"cores": [2], "gpu": False}]
    assert found["submissions"][0]["authors"] == ["one"]
    assert published_provenance(found) == found


def test_an_old_provenance_lacks_what_it_did_not_note():
    found = published_provenance({"schema_version": 1, "began": "2020", "seconds": 1.0, "harness": "0.1.0"})
    assert (found["limits"], found["dataset"], found["rules"], found["submissions"]) == (None, None, None, [])


LOGS = {
    'File "/home/me/runs/store/code/ab/run.py", line 3': 'File "…/run.py", line 3',
    "cannot open /home/me/x/y": "cannot open …/y",
    "at /code/lib/run.py and /input_images/a.png": "at /code/lib/run.py and /input_images/a.png",
    "see https://example.org/a/b": "see https://example.org/a/b",
    "on box: box.local sandbox": "on HOST: HOST.local sandbox",
    "1/2 and a/b/c": "1/2 and a/b/c",
    "\x1b[31mred\u202e": "\ufffd[31mred\ufffd",
}


@pytest.mark.parametrize(("line", "shown"), LOGS.items())
def test_folders_and_the_machines_name_are_cut_out_of_logs(line, shown):
    call = replace(example().ledger[0], log=f"{line}\n")
    assert published_log(call, "box") == shown
    assert published_log(replace(call, log=shown), "box") == shown


def test_of_a_log_the_last_lines_are_published_and_of_a_good_call_none():
    call = replace(example().ledger[0], log="1\n2\n\n3\n4\n")
    assert published_log(call, "") == "2\n3\n4"
    assert published_log(replace(call, verdict=Verdict.OK), "") == ""


@given(st.text(max_size=200))
def test_what_was_cut_once_stays(text):
    call = replace(example().ledger[0], log=text)
    once = published_log(call, "box")
    assert published_log(replace(call, log=once), "") == once


def test_the_store_is_not_named():
    evidence = example()
    evidence = replace(evidence, round=replace(evidence.round, store="../../home/me/store"))
    assert without_place(evidence).round.store == ""


# --- what a stranger wrote


def broken(folder, name, change):
    """Evidence with one JSON file changed."""
    write_evidence(example(), folder)
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))


def put(*places):
    *inner, last, value = places

    def change(data):
        for place in inner:
            data = data[place]
        data[last] = value

    return change


ROUNDS = {
    "another version": put("schema_version", 9),
    "no images": put("images", []),
    "an image twice": lambda data: data["images"].append(data["images"][0]),
    "an image outside": put("images", 0, "id", "../../x"),
    "no digest": put("images", 0, "clean", "../../etc/passwd"),
    "a label outside": put("images", 0, "true_label", 5000),
    "a label that is no number": put("images", 0, "true_label", "1"),
    "attacks not sorted": lambda data: data["attacks"].reverse(),
    "a name that runs": put("attacks", 0, "name", "<script>"),
    "a defense twice": lambda data: data["defenses"].append(data["defenses"][0]),
    "other units": put("attacks", 0, "units", []),
    "another budget": put("budgets", 0, 0, 300),
    "no batch": put("batch_size", 0),
    "other rules": put("rules", "mine"),
    "a huge image": put("image_size", [1 << 30, 1]),
    "a seed below 0": put("seed", -1),
    "a list": lambda data: data.update(attacks={}),
    "many classes": put("labels", "count", 1 << 40),
}


@pytest.mark.parametrize("change", ROUNDS.values(), ids=ROUNDS)
def test_a_round_that_no_run_wrote_is_refused(tmp_path, change):
    broken(tmp_path, "round.json", change)
    with pytest.raises(UserError, match=r"round\.json: ") as error:
        read_evidence(tmp_path)
    assert len(error.value.faults) == 1


LEDGERS = {
    "another player": put(0, "player", "0" * 64),
    "an endless time": put(0, "seconds", 1e300),
    "hardly any time": put(0, "seconds", 1e-300),
    "a negative time": put(0, "seconds", -1.0),
    "a verdict": put(0, "verdict", "won"),
    "a fault": put(0, "faults", {"bad luck": 1}),
    "a long log": put(0, "log", "x\n" * 100),
    "a log that moves the cursor": put(0, "log", "\x1b[2J"),
    "a huge number": put(0, "peak_memory", 10**400),
}


@pytest.mark.parametrize("change", LEDGERS.values(), ids=LEDGERS)
def test_a_ledger_that_no_run_wrote_is_refused(tmp_path, change):
    broken(tmp_path, "ledger.json", change)
    with pytest.raises(UserError, match=r"ledger\.json: "):
        read_evidence(tmp_path)


PROVENANCES = {
    "an unknown key": put("host", "secret"),
    "limits": put("limits", "seconds", 0),
    "a submission": put("submissions", 0, 7),
    "an endless time": put("seconds", float("inf")),
}


@pytest.mark.parametrize("change", PROVENANCES.values(), ids=PROVENANCES)
def test_a_provenance_that_no_run_wrote_is_refused(tmp_path, change):
    broken(tmp_path, "provenance.json", change)
    with pytest.raises(UserError, match=r"provenance\.json: "):
        read_evidence(tmp_path)


def rewrite(path, change):
    pq.write_table(change(pq.read_table(path)), path, store_schema=False)


def without(column):
    return lambda table: table.drop_columns([column])


def replaced(column, values):
    return lambda table: table.set_column(table.schema.get_field_index(column), column, values(table))


def long_words(table):
    return pa.array([f"{number}" * 9999 for number in range(len(table))])


TABLES = {
    "fewer rows": ("predictions.parquet", lambda table: table.slice(1)),
    "no known": ("predictions.parquet", without("known")),
    "labels as text": ("predictions.parquet", replaced("label", lambda table: table["label"].cast(pa.string()))),
    "known is null": ("predictions.parquet", replaced("known", lambda table: pa.nulls(len(table), pa.bool_()))),
    "no such digest": ("attack_images.parquet", replaced("digest", lambda table: pa.array(["../x"] * len(table)))),
    "no such fault": ("attack_images.parquet", replaced("fault", lambda table: pa.array(["luck"] * len(table)))),
    "nan": ("attack_images.parquet", replaced("l2", lambda table: pa.array([np.nan] * len(table)))),
    "below 0": ("attack_images.parquet", replaced("l2", lambda table: pa.array([-1.0] * len(table)))),
    "a pair is missing": ("similarity.parquet", lambda table: table.slice(1)),
    "longer than any": ("similarity.parquet", replaced("product", lambda table: pa.array([1 << 50] * len(table)))),
    "below 0 squared": ("similarity.parquet", replaced("product", lambda table: pa.array([-1] * len(table)))),
    "another budget": ("similarity.parquet", replaced("epsilon", lambda table: pa.array(["x"] * len(table)))),
    "labels outside": (
        "predictions.parquet",
        replaced("label", lambda table: pa.array([1 << 30] * len(table), pa.int32())),
    ),
    "more images than are compared": (
        "similarity.parquet",
        lambda table: pa.concat_tables([table] * (1 + 100 * 100 // len(table))),
    ),
    "no similarities": ("similarity.parquet", lambda table: table.slice(0, 0)),
    "long words": (
        "attack_images.parquet",
        replaced("fault", lambda t: pa.array([f"{n}" * 9999 for n in range(len(t))])),
    ),
}


@pytest.mark.parametrize(("name", "change"), TABLES.values(), ids=TABLES)
def test_a_table_that_no_run_wrote_is_refused(tmp_path, name, change):
    write_evidence(example(), tmp_path)
    rewrite(tmp_path / name, change)
    with pytest.raises(UserError, match=rf"{name}: "):
        read_evidence(tmp_path)


@pytest.mark.parametrize(("name", "most"), [("MAX_SUBMISSIONS", 2), ("MAX_PICTURES", 11)])
def test_of_a_round_of_too_many_no_table_is_read(tmp_path, monkeypatch, name, most):
    """A table of equal rows is a few bytes in a file, and gigabytes once it is read."""
    evidence = example()
    assert (len(evidence.round.attacks), evidence.table.valid.size) == (3, 12)
    write_evidence(evidence, tmp_path)
    monkeypatch.setattr(f"harness.publish.border.{name}", most + 1)
    read_evidence(tmp_path)
    monkeypatch.setattr(f"harness.publish.border.{name}", most)
    (tmp_path / "attack_images.parquet").unlink()
    with pytest.raises(UserError, match=r"round\.json: there are more than"):
        read_evidence(tmp_path)


def test_a_table_of_too_many_rows_is_not_read(tmp_path, monkeypatch):
    write_evidence(example(), tmp_path)
    monkeypatch.setattr(parquet, "MAX_ROWS", 10)
    with pytest.raises(UserError, match="12 rows, more than the 10"):
        read_evidence(tmp_path)


@given(st.sampled_from((*FILES, SIMILARITY)), st.data())
@settings(max_examples=40)
def test_whatever_bytes_a_file_has_they_end_in_evidence_or_in_one_line(name, data):
    with TemporaryDirectory() as folder:
        write_evidence(example(), Path(folder))
        path = Path(folder, name)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        assert line_about(Path(folder)) in ("", str(path))


def line_about(folder):
    """The file that the one line is about, '' where everything can be read."""
    try:
        read_evidence(folder)
    except UserError as error:
        (line,) = error.faults
        return line.partition(": ")[0]
    return ""


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_or_a_link_is_refused(tmp_path, name):
    write_evidence(example(), tmp_path)
    (tmp_path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=name):
        read_evidence(tmp_path)


def test_deep_json_is_refused(tmp_path):
    write_evidence(example(), tmp_path)
    for name in ("round.json", "ledger.json"):
        (tmp_path / name).write_text("[" * 100_000)
        with pytest.raises(UserError, match=name):
            read_evidence(tmp_path)
        write_evidence(example(), tmp_path)
