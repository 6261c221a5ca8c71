"""What is published must follow from the evidence beside it: whoever changes a number, a table, a page or a file is
found out, with the manifest adapted or not; and a stranger's bundle can make the verifier neither run, open nor delete
anything."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import adapt, example, make_evidence, write_site
from helpers import score_table
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import EXPECTED_ERROR, UserError
from harness.publish.bibtex import bibtex
from harness.publish.bundle import summarise
from harness.publish.compare import MOST, differences, value_differences
from harness.publish.consistency import contradictions
from harness.publish.evidence import read_evidence, write_evidence, write_json
from harness.publish.folder import write_site_list
from harness.publish.gallery import EMPTY
from harness.publish.latex import latex_files
from harness.publish.signature import sign
from harness.publish.site import render_tournament
from harness.publish.verify import Means, verify


@pytest.fixture(scope="module")
def published(drawings, tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("published"), example())


@pytest.fixture
def site(published, tmp_path):
    return shutil.copytree(published, tmp_path / "site")


@pytest.fixture
def bundle(site):
    return site / "tiny"


def look(folder, **means):
    return verify(folder, Means(**means), lambda line: None)


def faults(folder, **means):
    return [fault for findings in look(folder, **means) for fault in findings.faults]


def change_json(path, *places):
    """places: keys, then the new value."""
    *inner, last, value = places
    data = json.loads(path.read_text())
    place = data
    for key in inner:
        place = place[key]
    place[last] = value
    path.write_text(json.dumps(data, indent=2 if path.name == "leaderboard.json" else 1) + "\n")


# --- honest ones


def test_an_honest_bundle_has_no_differences(bundle):
    (findings,) = look(bundle)
    assert (findings.faults, findings.answers) == ([], 32)
    assert findings.files == sum(path.is_file() for path in bundle.rglob("*"))
    assert any("signature: there is none" in note for note in findings.notes)


def test_an_honest_site_has_none_and_a_bundle_may_be_taken_out_of_it(site, tmp_path):
    assert faults(site) == []
    assert faults(shutil.copytree(site / "tiny", tmp_path / "alone")) == []


def test_an_incomplete_round_can_be_verified_too(drawings, tmp_path):
    table = example().table
    table.labels[1, 0, 0, 0] = -2
    site = write_site(tmp_path / "site", make_evidence(table))
    assert faults(site) == []
    assert "ncomplete" in (site / "tiny/tables/leaderboard.md").read_text()


# --- cheats: (what is done, what is said)


def better_score(bundle):
    change_json(bundle / "tables/leaderboard.json", "defenses", 0, "score", 99)
    adapt(bundle)


def better_prediction(bundle):
    path = bundle / "evidence/predictions.parquet"
    table = pq.read_table(path)
    labels = table["label"].to_pylist()
    row = next(row for row, one in enumerate(labels) if row >= 8 and one != table["true_label"][row].as_py())
    labels[row] = table["true_label"][row].as_py()
    column = table.schema.get_field_index("label")
    pq.write_table(
        table.set_column(column, "label", pa.array(labels, pa.int32())), path, store_schema=False, compression="zstd"
    )
    adapt(bundle)


def page_with_script(bundle):
    path = bundle / "index.html"
    path.write_text(path.read_text().replace("</body>", "<script>alert(1)</script></body>"))
    adapt(bundle)


def foreign_cell(bundle):
    path = bundle / "tables/defense_ranking.csv"
    path.write_text(path.read_text().replace("d0", "me"))
    adapt(bundle)


def foreign_row(bundle):
    path = bundle / "tables/leaderboard.tex"
    path.write_text(path.read_text() + "\\write18{rm -rf /}\n")
    adapt(bundle)


def removed_file(bundle):
    (bundle / "tables/leaderboard.md").unlink()


def removed_and_adapted(bundle):
    removed_file(bundle)
    adapt(bundle)


def added_file(bundle):
    (bundle / "tables/more.txt").write_text("x")


def added_and_adapted(bundle):
    added_file(bundle)
    adapt(bundle)


def changed_figure(bundle):
    next(bundle.glob("figures/*.svg")).write_text("<svg/>")


def changed_and_adapted_figure(bundle):
    changed_figure(bundle)
    adapt(bundle)


def other_rules(bundle):
    change_json(bundle / "manifest.json", "rules", "nips17-dev")


def other_dataset(bundle):
    change_json(bundle / "manifest.json", "images", "i0", "0" * 64)


def no_more_submissions(bundle):
    change_json(bundle / "manifest.json", "submissions", [])


def linked_file(bundle):
    path = bundle / "tables/leaderboard.md"
    path.rename(bundle.parent / "elsewhere.md")
    path.symlink_to(bundle.parent / "elsewhere.md")


def piped_file(bundle):
    path = bundle / "tables/leaderboard.md"
    path.unlink()
    os.mkfifo(path)


def traversal(bundle):
    change_json(bundle / "manifest.json", "files", "../../etc/passwd", {"sha256": "0" * 64, "bytes": 1})


def absolute(bundle):
    change_json(bundle / "manifest.json", "files", "/etc/passwd", {"sha256": "0" * 64, "bytes": 1})


def same_keys_twice(bundle):
    path = bundle / "tables/leaderboard.json"
    path.write_text(path.read_text().replace('{\n  "schema_version"', '{\n  "complete": false,\n  "schema_version"', 1))
    adapt(bundle)


def no_json(bundle):
    (bundle / "tables/leaderboard.json").write_text("[" * 100_000)
    adapt(bundle)


def large_file(bundle):
    with (bundle / "tables/leaderboard.json").open("ab") as file:
        file.truncate(10 << 20)
    adapt(bundle)


def huge_file(bundle):
    with (bundle / "tables/leaderboard.json").open("ab") as file:
        file.truncate(1 << 40)


CHEATS = {
    better_score: ["tables/leaderboard.json: defenses[0].score: 99, recomputed "],
    better_prediction: ["tables/leaderboard.json: ", "tables/defense_ranking.csv: line ", "index.html: line "],
    page_with_script: ["index.html: line "],
    foreign_cell: ["tables/defense_ranking.csv: line "],
    foreign_row: ["tables/leaderboard.tex: line "],
    removed_file: ["tables/leaderboard.md: is missing"],
    removed_and_adapted: ["tables/leaderboard.md: is missing"],
    added_file: ["tables/more.txt: is not listed in manifest.json"],
    added_and_adapted: ["tables/more.txt: is no file of a publication"],
    changed_figure: ["figures/", " bytes, manifest.json says "],
    changed_and_adapted_figure: ["figures/", "is another picture than is drawn from the evidence"],
    other_rules: ['manifest.json: rules: "nips17-dev", recomputed "fair"'],
    other_dataset: ["manifest.json: images.i0: "],
    no_more_submissions: ["manifest.json: submissions[0]: nothing, recomputed "],
    linked_file: ["tables/leaderboard.md: is a link"],
    piped_file: ["tables/leaderboard.md: is a link, or no plain file"],
    traversal: ["manifest.json: lists ../../etc/passwd, outside of the bundle"],
    absolute: ["manifest.json: lists /etc/passwd, outside of the bundle"],
    same_keys_twice: ["tables/leaderboard.json: says the same in other bytes"],
    no_json: ["tables/leaderboard.json: "],
    large_file: ["tables/leaderboard.json: has 10485760 bytes, recomputed "],
    huge_file: ["tables/leaderboard.json: has 1099511627776 bytes, more than the 4294967296 that are read"],
}


@pytest.mark.parametrize(("cheat", "expected"), CHEATS.items(), ids=[cheat.__name__ for cheat in CHEATS])
def test_every_cheat_is_found(bundle, cheat, expected, run_main, capsys):
    cheat(bundle)
    assert run_main("verify", bundle) == EXPECTED_ERROR
    lines = capsys.readouterr().out.splitlines()
    for words in expected:
        assert any(words in line for line in lines), lines
    assert all(line.startswith("tiny: ") for line in lines)


def test_a_changed_prediction_contradicts_the_same_image_elsewhere(bundle):
    """Where an attack had no valid image the clean one was shown, so its answers are those on the clean one."""
    evidence = read_evidence(bundle / "evidence")
    evidence.table.labels[0, 0, 0, 0] = 1 + evidence.table.clean[0, 0]
    clean = evidence.round.images[0].clean
    (line,) = contradictions(evidence)
    first, second = sorted([evidence.table.labels[0, 0, 0, 0], evidence.table.clean[0, 0]])
    assert line == f"predictions.parquet: d0 answers {first} and {second} on one image, {clean}"


def test_submissions_that_the_round_does_not_have_are_named():
    """The manifest lists those of the provenance, pages and tables those of the round."""
    evidence = example()
    (first, *others) = evidence.provenance["submissions"]
    others = [others[0] | {"digest": "0" * 64}, *others[1:], others[-1]]
    evidence = replace(evidence, provenance=evidence.provenance | {"submissions": others})
    one, other = evidence.round.attacks[:2]
    last = evidence.round.defenses[-1]
    assert list(contradictions(evidence)) == [
        f"provenance.json: attack {other.name} of the digest {'0' * 64} is named and did not play",
        f"provenance.json: defense {last.name} of the digest {last.submission} is named and did not play",
        f"provenance.json: attack {one.name} of the digest {one.submission} played and is not named",
        f"provenance.json: attack {other.name} of the digest {other.submission} played and is not named",
    ]
    assert first["name"] == one.name


def test_answers_about_an_image_that_nobody_has_are_named():
    evidence = example()
    evidence.audits.digests[1, 0, 2] = ""
    (line,) = contradictions(evidence)
    assert line == "predictions.parquet: holds answers about a1 on i2 at epsilon 4, whose image is not known"
    evidence.table.labels[1, 0, :, 2] = -2
    assert list(contradictions(evidence)) == []


def test_an_image_beyond_its_budget_or_instead_of_the_clean_one_is_named():
    evidence = example()
    evidence.audits.measures["linf"][1, 0, 2] = 200
    evidence.audits.digests[0, 0, 0] = "0" * 64
    assert list(contradictions(evidence)) == [
        "attack_images.parquet: a1 is 200 from i2, more than its budget",
        "attack_images.parquet: a0 on i0 is missing and not the clean image",
    ]


REFUSED = {
    "no manifest": (lambda bundle: (bundle / "manifest.json").unlink(), "is neither a bundle"),
    "another version": (
        lambda bundle: change_json(bundle / "manifest.json", "schema_version", 2),
        "has schema_version 2, this harness reads 1",
    ),
    "another kind": (lambda bundle: change_json(bundle / "manifest.json", "kind", "x"), "is of another kind"),
    "a manifest of a list": (lambda bundle: (bundle / "manifest.json").write_text("[]"), "has schema_version None"),
    "a manifest that is a link": (
        lambda bundle: ((bundle / "manifest.json").unlink(), (bundle / "manifest.json").symlink_to("/etc/passwd")),
        "manifest.json: cannot be read",
    ),
    "a folder of evidence that is a link": (
        lambda bundle: (
            (bundle / "evidence").rename(bundle.parent / "evidence"),
            (bundle / "evidence").symlink_to(bundle.parent / "evidence"),
        ),
        "evidence/round.json: is missing or a link",
    ),
    "a round that was rewritten": (
        lambda bundle: change_json(bundle / "evidence/round.json", "images", 0, "clean", "../x"),
        "something stands where a SHA-256 in hex should",
    ),
}


@pytest.mark.parametrize(("cheat", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_said_in_one_line(bundle, cheat, words, run_main, capsys):
    cheat(bundle)
    assert run_main("verify", bundle) == EXPECTED_ERROR
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert "Traceback" not in said.out + said.err


def test_a_manifest_of_too_many_bytes_is_not_read(bundle):
    with (bundle / "manifest.json").open("ab") as file:
        file.truncate(1 << 30)
    assert "larger than 64 MiB" in faults(bundle)[0]


def test_a_folder_of_too_many_files_is_not_looked_at(bundle, monkeypatch):
    monkeypatch.setattr("harness.publish.manifest.MAX_FILES", 5)
    assert "holds more than 5 files" in faults(bundle)[0]


def test_other_versions_are_said_and_their_pictures_not_compared(bundle):
    change_json(bundle / "manifest.json", "made_with", "matplotlib", "1.0")
    next(bundle.glob("figures/*.svg")).write_text("<svg/>")
    adapt(bundle)
    (findings,) = look(bundle)
    assert findings.faults == []
    assert any(note.startswith("figures: not compared, they were made with matplotlib 1.0") for note in findings.notes)


def test_of_another_harness_the_numbers_are_compared_and_pages_are_not(bundle):
    change_json(bundle / "manifest.json", "made_with", "harness", "9.9")
    page_with_script(bundle)
    (findings,) = look(bundle)
    assert findings.faults == []
    assert any("Markdown, LaTeX and BibTeX: not compared" in note for note in findings.notes)
    better_score(bundle)
    assert any("defenses[0].score: 99" in fault for fault in faults(bundle))


GALLERY = {
    "form": {"edge": 16, "quality": None},
    "pixelated": True,
    "attacks": 3,
    "epsilons": 1,
    "images": ["i0"],
}

GALLERIES = [
    "[" * 100_000,
    "[]",
    json.dumps(GALLERY | {"images": ["../../x"]}),
    json.dumps(GALLERY | {"images": ["i1", "i0"]}),
    json.dumps(GALLERY | {"images": []}),
    json.dumps(GALLERY | {"attacks": 1 << 60}),
    json.dumps(GALLERY | {"form": {"edge": float("inf"), "quality": None}}),
    json.dumps(GALLERY | {"form": {"edge": 1 << 60, "quality": None}}),
    json.dumps(GALLERY | {"form": {"edge": 16, "quality": 1000}}),
]


@pytest.mark.parametrize("text", GALLERIES, ids=range(len(GALLERIES)))
def test_a_gallery_that_no_publication_has_is_refused(bundle, text):
    (bundle / "images").mkdir()
    (bundle / "images/gallery.json").write_text(text)
    adapt(bundle)
    (fault,) = faults(bundle)
    assert fault.startswith("images/gallery.json: ")


def test_pictures_that_a_gallery_promises_are_missed(bundle):
    (bundle / "images").mkdir()
    (bundle / "images/gallery.json").write_text(json.dumps(GALLERY, indent=1) + "\n")
    adapt(bundle)
    assert any(re.fullmatch(r"images/i0-[0-9a-f]+\.webp: is missing", fault) for fault in faults(bundle))


# --- the entry page of a site


def test_a_changed_entry_page_is_found(site):
    (site / "index.html").write_text("<html>")
    assert any(fault.startswith("index.html: line 1") for fault in faults(site))


def test_a_bundle_under_the_name_of_another_tournament_is_found(site):
    """The entry page would lead to another one."""
    (site / "tiny").rename(site / "other")
    assert "manifest.json: holds the tournament tiny, whose folder in a site is tiny" in faults(site)
    assert faults(site / "other") == [], "alone it may be called anything"


def test_what_is_added_to_a_site_is_found(site):
    (site / "assets/more.js").write_text("x")
    (site / "notes").mkdir()
    found = faults(site)
    assert "assets/more.js: is not listed in site.json" in found
    assert "manifest.json: is missing; get the bundle again" in found


def test_what_is_added_to_a_site_and_listed_is_found(site):
    (site / "assets/more.js").write_text("x")
    write_site_list(site)
    assert "assets/more.js: is no file of a site" in faults(site)


def test_what_begins_with_a_dot_beside_the_tournaments_is_left_alone(site):
    (site / ".git").mkdir()
    (site / ".nojekyll").write_text("")
    assert faults(site) == []


def test_assets_that_are_a_link_are_found(site):
    (site / "assets").rename(site.parent / "assets")
    (site / "assets").symlink_to(site.parent / "assets")
    assert any(fault.startswith("assets") for fault in faults(site))


def test_one_bundle_that_cannot_be_read_does_not_hide_the_others(drawings, tmp_path):
    other = example(1)
    site = write_site(tmp_path / "site", example(), replace(other, round=replace(other.round, tournament="other")))
    (site / "other/evidence/round.json").unlink()
    better_score(site / "tiny")
    found = faults(site)
    assert any("evidence/round.json: is missing" in fault for fault in found)
    assert any("defenses[0].score: 99" in fault for fault in found)


def test_nothing_there_is_an_error(tmp_path, run_main, capsys):
    assert run_main("verify", tmp_path / "nowhere") == EXPECTED_ERROR
    assert "is neither a bundle" in capsys.readouterr().err


# --- signatures, with real keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    folder = tmp_path_factory.mktemp("keys")
    for name, kind in (("one", "ed25519"), ("two", "ecdsa")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "x y", "-f", folder / name], check=True)
    return folder


def test_a_signature_is_that_of_its_key(bundle, keys):
    sign(bundle / "manifest.json", keys / "one")
    assert faults(bundle, signer=keys / "one.pub") == []
    assert faults(bundle) == []
    (fault,) = faults(bundle, signer=keys / "two.pub")
    assert fault.startswith("manifest.json.sig: the signature is not two.pub's")


def test_a_file_may_hold_the_keys_of_several(bundle, keys, tmp_path):
    sign(bundle / "manifest.json", keys / "two")
    both = tmp_path / "both.pub"
    both.write_text("# ours\n" + (keys / "one.pub").read_text() + (keys / "two.pub").read_text())
    assert faults(bundle, signer=both) == []


def test_a_signed_manifest_cannot_be_adapted(bundle, keys):
    sign(bundle / "manifest.json", keys / "one")
    added_and_adapted(bundle)
    assert any(fault.startswith("manifest.json.sig: ") for fault in faults(bundle, signer=keys / "one.pub"))


def test_a_signature_that_is_not_there_is_missed(bundle, keys):
    (fault,) = faults(bundle, signer=keys / "one.pub")
    assert fault == "manifest.json.sig: there is no signature that could be one.pub's"


def test_a_signature_for_something_else_is_none(bundle, keys):
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", keys / "one", bundle / "manifest.json"],
        check=True,
        capture_output=True,
    )
    assert any(fault.startswith("manifest.json.sig: ") for fault in faults(bundle, signer=keys / "one.pub"))


@pytest.mark.parametrize("content", ["", "no key\n", 'cert-authority,namespaces="*" *\n'])
def test_a_file_without_a_key_is_an_error(bundle, keys, tmp_path, content):
    sign(bundle / "manifest.json", keys / "one")
    (tmp_path / "none.pub").write_text(content)
    assert any("holds no public SSH key" in fault for fault in faults(bundle, signer=tmp_path / "none.pub"))


def test_a_key_that_is_none_does_not_sign(bundle, tmp_path):
    (tmp_path / "key").write_text("x")
    with pytest.raises(UserError, match="did not sign"):
        sign(bundle / "manifest.json", tmp_path / "key")


# --- whatever a stranger writes


VALUES = [
    0,
    -1,
    1 << 40,
    10**400,
    1e-300,
    1e300,
    float("nan"),
    "",
    "x",
    "<script>\x1b[2J",
    "../" * 9,
    None,
    True,
    [],
    {},
]


def leaves(value, place=()):
    """The places of all plain values of a JSON value."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*place, key))
    else:
        yield place


@given(st.sampled_from(["round.json", "ledger.json", "provenance.json"]), st.sampled_from(VALUES), st.data())
@settings(max_examples=60)
def test_evidence_that_is_accepted_can_be_published(name, value, data):
    """One value is exchanged: it is refused in one line, or everything can be computed and written, whether or not the
    submissions of the provenance are still those of the round."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_evidence(example(), folder)
        content = json.loads((folder / name).read_text())
        change_json(folder / name, *data.draw(st.sampled_from(sorted(leaves(content), key=str))), value)
        try:
            evidence = read_evidence(folder)
        except UserError as error:
            assert len(error.faults) == 1  # noqa: PT017 - it may as well be accepted
            return
        publication = summarise(evidence, EMPTY)
        write_json(publication.report, folder / "report.json")
        write_json(publication.board, folder / "leaderboard.json")
        assert latex_files(dict(publication.board), publication.slug)
        assert bibtex(publication.slug, evidence.provenance)
        render_tournament(publication, folder)
        assert all(line.startswith("provenance.json: ") for line in contradictions(evidence))


# --- how differences are said


DIFFERENCES = [
    ({"a": 1}, {"a": 2}, ["a: 1, recomputed 2"]),
    ({"a": [1, 2]}, {"a": [1]}, ["a[1]: 2, recomputed nothing"]),
    ({"a": {"b": 1}}, {"a": {}}, ["a.b: 1, recomputed nothing"]),
    ({"a": 1}, {"a": 1.0}, ["a: 1, recomputed 1.0"]),
    ({"a": True}, {"a": 1}, ["a: true, recomputed 1"]),
    ({"a": {}}, {"a": []}, ["a: keys of 0, recomputed a list of 0"]),
    (1, 2, ["the whole: 1, recomputed 2"]),
    ({"a": float("nan")}, {"a": 0.5}, ["a: NaN, recomputed 0.5"]),
    ({"b": 2, "a": 1}, {"a": 1, "b": 2}, []),
]


@pytest.mark.parametrize(("found", "due", "expected"), DIFFERENCES)
def test_differences_of_values_name_the_place_and_both_values(found, due, expected):
    assert list(value_differences(found, due)) == expected


def test_deep_values_are_compared_without_recursion():
    one, other = 1, 2
    for _ in range(20_000):
        one, other = [one], [other]
    (line,) = value_differences(one, other)
    assert line.endswith("]: 1, recomputed 2")


def test_of_many_differences_the_first_are_said(tmp_path):
    for name, offset in (("one.json", 0), ("two.json", 1)):
        (tmp_path / name).write_text(json.dumps([number + offset for number in range(1000)]))
    lines = differences(tmp_path / "one.json", tmp_path / "two.json")
    assert len(lines) == MOST + 1
    assert lines[-1] == "... and more"


def test_a_stranger_cannot_write_lines_of_his_own(tmp_path):
    (tmp_path / "one.md").write_text("a\x1b[2J\rb\u202e")
    (tmp_path / "two.md").write_text("a")
    (line,) = differences(tmp_path / "one.md", tmp_path / "two.md")
    assert line == "line 1: a\ufffd[2J\ufffdb\ufffd, recomputed a"


def test_tables_are_compared_by_their_cells(tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        write_evidence(example(seed), tmp_path / name)
    one, two = (tmp_path / name / "predictions.parquet" for name in ("one", "two"))
    assert all(", label: " in line or ", digest: " in line for line in differences(one, two)[:-1])
    pq.write_table(pq.read_table(two), tmp_path / "other.parquet", compression="none")
    assert differences(tmp_path / "other.parquet", two) == []


def test_scores_of_nobody_are_compared_too(drawings, tmp_path):
    """A round that no tournament has, but that a stranger may send."""
    site = write_site(tmp_path / "site", make_evidence(score_table(np.ones((1, 1, 0, 2)))))
    assert faults(site) == []
