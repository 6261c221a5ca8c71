"""Publishing is what others see: a site is whole or not there, nothing foreign is ever replaced, the same run gives the
same bytes, what is published keeps to its schemas, and it tells nobody on whose machine it was made."""

import fcntl
import json
import os
import shutil
import subprocess

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import first_pixel_dataset, play_file, write_submission, write_tournament
from bundles import adapt, evidences, example, write_site
from helpers import ANSWER, COPY
from hypothesis import given, settings
from publishing import play_tiny

from harness.cli import main
from harness.errors import EXPECTED_ERROR, OK
from harness.publish.bundle import HERE, SCHEMAS, summarise
from harness.publish.gallery import EMPTY
from harness.publish.signature import SIGNER
from harness.round import read_round

HOST = "host-of-mine"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose attack `crash` said something before it failed."""
    output = play_tiny(tmp_path_factory.mktemp("run-of-mine"))
    path = output / "provenance.json"
    provenance = json.loads(path.read_text())
    provenance["machine"]["host"] = HOST
    path.write_text(json.dumps(provenance))
    return output


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of one attack and one defense."""
    return play_small(tmp_path_factory.mktemp("small"))


def play_small(folder, name="small"):
    first_pixel_dataset(folder / "dataset", count=2, class_names={1: "one <b>"})
    write_submission(folder / "submissions/noop", COPY)
    write_submission(folder / "submissions/one", ANSWER % 1, "defense")
    write_tournament(folder / "t.yaml", name=name)
    play_file(folder / "t.yaml")
    return folder / "out"


@pytest.fixture(scope="module")
def published(drawings, run, tmp_path_factory):
    site = tmp_path_factory.mktemp("published") / "site"
    assert main(["publish", str(run), "--to", str(site)]) == OK
    return site


@pytest.fixture
def site(published, tmp_path):
    return shutil.copytree(published, tmp_path / "site")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is there


def test_every_form_is_there(published):
    found = set(contents(published))
    forms = {
        "index.html", "site.json", "assets/site.css", "tiny/index.html", "tiny/manifest.json",
        "tiny/evidence/round.json", "tiny/evidence/predictions.parquet", "tiny/evidence/attack_images.parquet",
        "tiny/evidence/ledger.json", "tiny/evidence/provenance.json", "tiny/evidence/similarity.parquet",
        "tiny/tables/accuracy_on_attacks.csv", "tiny/tables/all_classification.csv", "tiny/tables/leaderboard.json",
        "tiny/tables/leaderboard.md", "tiny/tables/leaderboard.tex", "tiny/tables/methods.bib",
        "tiny/tables/report.json", "tiny/tables/leaderboard.schema.json", "tiny/images/gallery.json",
    }  # fmt: skip
    assert sorted(forms - found) == []
    assert any(name.startswith("tiny/figures/") and name.endswith(".svg") for name in found)
    assert any(name.startswith("tiny/figures/") and name.endswith(".png") for name in found)


def test_what_was_published_can_be_verified_with_the_pictures(published, run, run_main, capsys):
    assert run_main("verify", published, "--store", run) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"site: {len(list(published.glob('assets/*'))) + 2} files looked at, no difference"
    assert not any("pictures:" in line for line in lines)


def test_a_changed_picture_is_found_by_who_has_the_images(site, run, run_main, capsys):
    picture = next(site.glob("tiny/images/*.webp"))
    picture.write_bytes(next(path for path in site.glob("tiny/images/*.webp") if path != picture).read_bytes())
    adapt(site / "tiny")
    assert run_main("verify", site) == OK
    assert run_main("verify", site, "--store", run) == EXPECTED_ERROR
    assert f"tiny: images/{picture.name}: is another picture" in capsys.readouterr().out


def test_the_same_run_gives_the_same_bytes(drawings, published, run, tmp_path, run_main):
    assert run_main("publish", run, "--to", tmp_path / "again") == OK
    assert contents(tmp_path / "again") == contents(published)


def test_progress_is_said_in_lines(drawings, small, tmp_path, run_main, capsys):
    assert run_main("publish", small, "--to", tmp_path / "site") == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["small: answers", "small: pictures", "small: figures", "small: pages"]
    assert lines[4].startswith(f"{tmp_path}/site/small: ")
    assert lines[5] == (
        f"open {tmp_path}/site/index.html in a browser; anybody can check it with: harness verify {tmp_path}/site"
    )


def test_what_the_dataset_calls_its_classes_is_shown(drawings, small, tmp_path, run_main):
    assert run_main("publish", small, "--to", tmp_path / "site") == OK
    page = (tmp_path / "site/small/gallery.html").read_text()
    assert "one &lt;b&gt;" in page
    assert "one <b>" not in page


def test_nothing_tells_whose_machine_it_was(published, run):
    secrets = [HOST.encode(), str(run.parent).encode(), b"run-of-mine", str(published.parent).encode()]
    for name, data in contents(published).items():
        assert [secret for secret in secrets if secret in data] == [], name


def test_why_a_call_failed_is_published(published):
    ledger = json.loads((published / "tiny/evidence/ledger.json").read_text())
    logs = {call["label"].split()[0]: call["log"] for call in ledger if call["log"]}
    assert set(logs) == {"crash"}
    assert "<script>" in logs["crash"]


def test_what_a_run_notes_of_itself_is_published(published, run):
    provenance = json.loads((published / "tiny/evidence/provenance.json").read_text())
    limits = {"seconds": 500.0, "memory": 4 << 30, "cpus": None, "pids": 256, "output": 1 << 30, "gpu_memory": None}
    assert provenance["limits"] == limits
    assert provenance["rules"] == "fair"
    assert provenance["versions_per_call"] == "all"
    said = {"name": "tiny", "description": "", "source": "", "licence": "", "class_names": {}}
    assert provenance["dataset"] == said
    (noise,) = [one for one in provenance["submissions"] if one["name"] == "noise"]
    assert (noise["description"], noise["url"]) == ("Adds noise.", "https://example.org/noise")
    assert noise["authors"] == ["A. Author", "B. Author"]
    assert "B. Author" in (published / "tiny/tables/methods.bib").read_text()


# --- schemas


def schema(name):
    return json.loads((HERE / f"{name}.schema.json").read_text())


def closed(node):
    """The same, but every key has to be described. What rows of all rankings have is not closed: others add to it."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: closed(value) for key, value in node.items()}
    own = "properties" in node and "rank_interval" not in node["properties"]
    return inner | ({"unevaluatedProperties": False} if own else {})


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


@given(evidences())
@settings(max_examples=30)
def test_any_board_and_report_keep_to_their_schemas(evidence):
    publication = summarise(evidence, EMPTY)
    for name, value in (("leaderboard", publication.board), ("report", publication.report)):
        plain = json.loads(json.dumps(value))
        jsonschema.validate(plain, schema(name), jsonschema.Draft202012Validator)
        jsonschema.validate(plain, closed(schema(name)), jsonschema.Draft202012Validator)


def test_published_files_keep_to_the_schemas_beside_them(published):
    for name, path in (("leaderboard", "tables/leaderboard"), ("report", "tables/report"), ("manifest", "manifest")):
        beside = json.loads((published / f"tiny/tables/{name}.schema.json").read_text())
        jsonschema.validate(json.loads((published / f"tiny/{path}.json").read_text()), beside)
        jsonschema.validate(json.loads((published / f"tiny/{path}.json").read_text()), closed(beside))


def test_a_schema_finds_what_is_wrong(published):
    board = json.loads((published / "tiny/tables/leaderboard.json").read_text())
    for change in ({"schema_version": 99}, {"complete": "yes"}, {"defenses": [{"rank": 0}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(board | change, schema("leaderboard"))


# --- where it is put


def test_publishing_again_replaces_the_bundle(drawings, site, run, run_main):
    before = contents(site)
    (site / "tiny/tables/leaderboard.md").write_text("changed")
    assert run_main("publish", run, "--to", site) == OK
    assert contents(site) == before


def test_tournaments_that_are_there_stay_and_are_listed(drawings, site, small, run_main):
    before = contents(site / "tiny")
    assert run_main("publish", small, "--to", site) == OK
    assert contents(site / "tiny") == before
    page = (site / "index.html").read_text()
    assert 'href="tiny/index.html' in page
    assert 'href="small/index.html' in page
    assert run_main("verify", site) == OK


def test_several_runs_are_published_at_once(drawings, run, small, tmp_path, run_main):
    assert run_main("publish", small, run, "--to", tmp_path / "site") == OK
    assert sorted(path.name for path in tmp_path.glob("site/*/manifest.json")) == ["manifest.json"] * 2
    assert run_main("verify", tmp_path / "site") == OK


FOREIGN = {
    "a file": "notes.txt",
    "a folder": "notes/x.txt",
    "in a bundle": "tiny/tables/notes.txt",
    "beside a bundle's manifest": "tiny/notes.txt",
    "in the assets": "assets/notes.txt",
}


@pytest.mark.parametrize("name", FOREIGN.values(), ids=FOREIGN)
def test_what_is_foreign_is_neither_replaced_nor_removed(site, run, run_main, capsys, name):
    (site / name).parent.mkdir(exist_ok=True)
    (site / name).write_text("mine")
    before = contents(site)
    assert run_main("publish", run, "--to", site) == EXPECTED_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert "harness publish did not write this" in line
    assert contents(site) == before


@pytest.mark.parametrize("name", ["index.html", "assets/x.css", "tiny/index.html"])
def test_a_page_of_somebody_else_is_not_replaced(tmp_path, run, run_main, name):
    (tmp_path / "www" / name).parent.mkdir(parents=True)
    (tmp_path / "www" / name).write_text("mine")
    assert run_main("publish", run, "--to", tmp_path / "www") == EXPECTED_ERROR
    assert contents(tmp_path / "www") == {name: b"mine"}


def test_a_link_to_a_bundle_is_not_followed(site, run, tmp_path, run_main):
    (site / "tiny").rename(tmp_path / "mine")
    (site / "tiny").symlink_to(tmp_path / "mine")
    before = contents(tmp_path / "mine")
    assert run_main("publish", run, "--to", site) == EXPECTED_ERROR
    assert contents(tmp_path / "mine") == before


def test_what_begins_with_a_dot_is_left_alone(drawings, site, run, run_main):
    (site / ".git").mkdir()
    (site / ".git/config").write_text("mine")
    assert run_main("publish", run, "--to", site) == OK
    assert (site / ".git/config").read_text() == "mine"


def test_what_a_killed_publication_left_is_cleared_away(drawings, site, run, run_main):
    (site / ".harness-publish-0123/tiny").mkdir(parents=True)
    assert run_main("publish", run, "--to", site) == OK
    assert list(site.glob(".*")) == []


def test_two_cannot_publish_into_one_folder_at_a_time(site, run, run_main, capsys):
    handle = os.open(site, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert run_main("publish", run, "--to", site) == EXPECTED_ERROR
    finally:
        os.close(handle)
    assert "another harness is publishing there" in capsys.readouterr().err


def test_a_file_is_no_place(tmp_path, run, run_main, capsys):
    (tmp_path / "file").write_text("mine")
    assert run_main("publish", run, "--to", tmp_path / "file") == EXPECTED_ERROR
    assert "is no folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_where_nothing_is_published_no_folder_is_left(tmp_path, run, run_main):
    broken = shutil.copytree(run, tmp_path / "broken", ignore=shutil.ignore_patterns("store"))
    (broken / "provenance.json").unlink()
    assert run_main("publish", broken, "--to", tmp_path / "site") == EXPECTED_ERROR
    assert not (tmp_path / "site").exists()


# --- what is refused


def test_two_runs_of_one_name_are_refused(run, tmp_path, run_main, capsys):
    other = shutil.copytree(run, tmp_path / "other", ignore=shutil.ignore_patterns("store"))
    assert run_main("publish", run, other, "--to", tmp_path / "site") == EXPECTED_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert "would be published as tiny" in line
    assert not (tmp_path / "site").exists()


def renamed(run, folder, name):
    copy = shutil.copytree(run, folder, ignore=shutil.ignore_patterns("store"))
    data = json.loads((copy / "round.json").read_text())
    (copy / "round.json").write_text(json.dumps(data | {"tournament": name}))
    return copy


def test_another_tournament_of_the_same_folder_is_refused(site, run, tmp_path, run_main, capsys):
    assert run_main("publish", renamed(run, tmp_path / "other", "Tiny!"), "--to", site) == EXPECTED_ERROR
    assert "holds another tournament, tiny" in capsys.readouterr().err


def test_beside_a_bundle_under_another_name_nothing_is_published(site, run, run_main, capsys):
    """The entry page would have two links to one of them, and none to the other."""
    (site / "tiny").rename(site / "tiny-2025")
    before = contents(site)
    assert run_main("publish", run, "--to", site) == EXPECTED_ERROR
    assert "tiny-2025: holds the tournament tiny, whose folder in a site is tiny" in capsys.readouterr().err
    assert contents(site) == before


def test_a_tournament_named_as_the_assets_is_refused(run, tmp_path, run_main, capsys):
    assert run_main("publish", renamed(run, tmp_path / "x", "Assets"), "--to", tmp_path / "site") == EXPECTED_ERROR
    assert "the site itself has that" in capsys.readouterr().err


def test_an_incomplete_round_is_published_only_when_asked_for(drawings, small, tmp_path, run_main, capsys):
    """Without its store; a store that lost answers is as good."""
    copy = shutil.copytree(small, tmp_path / "run", ignore=shutil.ignore_patterns("store"))
    path = copy / "predictions.parquet"
    table = pq.read_table(path)
    known = [row not in (0, 2) for row in range(len(table))]  # one image: the attack is a no-op
    labels = pa.array(
        [label if one else None for label, one in zip(table["label"].to_pylist(), known, strict=True)], pa.int32()
    )
    pq.write_table(
        table.set_column(10, "known", pa.array(known)).set_column(5, "label", labels), path, store_schema=False
    )
    assert run_main("publish", copy, "--to", tmp_path / "site") == EXPECTED_ERROR
    assert "2 answers are not known yet" in capsys.readouterr().err
    assert run_main("publish", copy, "--to", tmp_path / "site", "--incomplete") == OK
    folder = tmp_path / "site/small"
    tables = [folder / "tables" / name for name in ("leaderboard.md", "defenses.tex", "defense_ranking.csv")]
    for path in [*tables, *folder.rglob("*.html"), tmp_path / "site/index.html"]:
        assert "ncomplete" in path.read_text(), path
    assert json.loads((tmp_path / "site/small/manifest.json").read_text())["complete"] is False
    assert run_main("verify", tmp_path / "site") == OK


def test_without_its_store_a_run_is_published_without_pictures(drawings, run, tmp_path, run_main, capsys):
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("store"))
    assert run_main("publish", copy, "--to", tmp_path / "site") == OK
    assert "tiny: its store is gone, so there will be no pictures" in capsys.readouterr().out
    assert not (tmp_path / "site/tiny/images").exists()
    board = json.loads((tmp_path / "site/tiny/tables/leaderboard.json").read_text())
    assert board == json.loads((run / "leaderboard.json").read_text())
    assert run_main("verify", tmp_path / "site") == OK


def test_what_an_older_harness_played_is_published_too(drawings, run, tmp_path, run_main):
    copy = shutil.copytree(run, tmp_path / "run")
    data = json.loads((copy / "provenance.json").read_text())
    for key in ("limits", "rules", "dataset", "versions_per_call"):
        del data[key]
    for one in data["submissions"]:
        for key in ("description", "url", "labels"):
            del one[key]
    (copy / "provenance.json").write_text(json.dumps(data))
    assert run_main("publish", copy, "--to", tmp_path / "site") == OK
    assert run_main("verify", tmp_path / "site") == OK


@pytest.mark.parametrize("text", ['{"slots": 1}', '{"submissions": [{}]}', "[]", "{}x"])
def test_a_provenance_that_no_run_wrote_is_refused(small, tmp_path, run_main, capsys, text):
    copy = shutil.copytree(small, tmp_path / "run", ignore=shutil.ignore_patterns("store"))
    (copy / "provenance.json").write_text(text)
    assert run_main("publish", copy, "--to", tmp_path / "site") == EXPECTED_ERROR
    assert "provenance.json: " in capsys.readouterr().err


def test_a_run_that_is_none_is_refused(tmp_path, run_main, capsys):
    assert run_main("publish", tmp_path, "--to", tmp_path / "site") == EXPECTED_ERROR
    assert "no run was begun there" in capsys.readouterr().err


# --- signed


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_a_signed_site(drawings, small, tmp_path, run_main, capsys):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", HOST, "-f", key], check=True)
    assert run_main("publish", small, "--to", tmp_path / "site", "--sign", key) == OK
    assert run_main("verify", tmp_path / "site", "--signer", f"{key}.pub") == OK
    assert "signature" not in capsys.readouterr().out
    assert HOST.encode() not in (tmp_path / "site/small/manifest.json.sig").read_bytes()
    assert SIGNER.encode() not in (tmp_path / "site/small/manifest.json.sig").read_bytes()
    assert run_main("publish", small, "--to", tmp_path / "site") == OK, "a signed bundle is one of ours, too"
    assert not (tmp_path / "site/small/manifest.json.sig").exists()


def test_where_signing_fails_nothing_is_published(drawings, small, tmp_path, run_main, capsys):
    assert run_main("publish", small, "--to", tmp_path / "site", "--sign", tmp_path / "none") == EXPECTED_ERROR
    assert "did not sign" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_site_made_in_memory_is_the_same_as_one_of_the_command(drawings, tmp_path):
    """What tests of verifying use is what is really published."""
    site = write_site(tmp_path / "site", example())
    assert {"index.html", "site.json", "tiny/manifest.json"} <= set(contents(site))
    assert read_round(site / "tiny/evidence").tournament == "tiny"


# --- the page about it


PAGE = (HERE.parents[1] / "docs/publishing.md").read_text()


def test_every_file_of_a_bundle_is_described(published):
    names = {path.relative_to(published / "tiny") for path in (published / "tiny").rglob("*") if path.is_file()}
    top = {f"{name.parts[0]}/" if len(name.parts) > 1 else name.name for name in names}
    top |= {name.name for name in names if name.parts[0] == "evidence"}
    assert sorted(name for name in top if f"`{name}`" not in PAGE) == []


def test_the_page_shows_every_option():
    assert [option for option in ("--to", "--incomplete", "--sign", "--store", "--signer") if option not in PAGE] == []
