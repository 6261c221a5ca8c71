"""Whatever a submission writes costs that submission those images, and never the run, a rival or the referee.

tests/submissions holds folders that are each wrong in one named way; the tables below say what each must come to.
All of them play together, so that each is a rival of every other.
"""

import json
import shutil
from pathlib import Path

import hostile
import pytest
from builders import (
    first_pixel_dataset,
    harness_process,
    play_file,
    read_board,
    read_index,
    rule_defense,
    write_attack,
    write_tournament,
)

FOLDERS = Path(__file__).parent / "submissions"
IMAGES = ("img1", "img2", "img3", "img4")

# Name -> (verdict on its call, the images that are at fault, their fault, names that nobody asked for).
ATTACKS = {
    "attack_16bit": ("bad_output", "img1 img3", "wrong_mode", 0),
    "attack_animation": ("ok", "", None, 0),
    "attack_cmyk_jpeg": ("bad_output", "img1 img3", "not_png", 0),
    "attack_corrupt": ("bad_output", "img1 img3", "corrupt", 0),
    "attack_deep_folders": ("bad_output", "", None, 1),
    "attack_device": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_directory": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_empty_files": ("bad_output", "img1 img3", "not_png", 0),
    "attack_endless_chunk": ("bad_output", "img1 img3", "corrupt", 0),
    "attack_ends_early": ("bad_output", "img1 img3", "corrupt", 0),
    "attack_exit": ("exit", "img1 img3", "missing", 0),
    "attack_fifo": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_gif": ("bad_output", "img1 img3", "not_png", 0),
    "attack_grey": ("bad_output", "img1 img3", "wrong_mode", 0),
    "attack_grey_alpha": ("bad_output", "img1 img3", "wrong_mode", 0),
    "attack_half": ("bad_output", "img1 img3", "missing", 0),
    "attack_hard_link": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_hard_link_to_input": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_itxt_bomb": ("ok", "", None, 0),
    "attack_link_loop": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_link_to_folder": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_link_to_host": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_link_to_image": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_link_to_process": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_lying_header": ("bad_output", "img1 img3", "wrong_size", 0),
    "attack_names_absolute": ("bad_output", "img1 img3", "missing", 0),
    "attack_names_bidi": ("bad_output", "img1 img3", "missing", 2),
    "attack_names_bytes": ("bad_output", "img1 img3", "missing", 2),
    "attack_names_long": ("bad_output", "img1 img3", "missing", 2),
    "attack_names_look_alike": ("bad_output", "img1 img3", "missing", 8),
    "attack_names_newline": ("bad_output", "img1 img3", "missing", 2),
    "attack_names_nul": ("ok", "", None, 0),
    "attack_names_terminal": ("bad_output", "img1 img3", "missing", 2),
    "attack_names_up": ("bad_output", "img1 img3", "missing", 0),
    "attack_no_folder": ("bad_output", "img1 img2 img3 img4", "missing", 0),
    "attack_no_interpreter": ("exit", "img1 img2 img3 img4", "missing", 0),
    "attack_not_png": ("bad_output", "img1 img3", "not_png", 0),
    "attack_nothing": ("bad_output", "img1 img2 img3 img4", "missing", 0),
    "attack_one_bit": ("bad_output", "img1 img3", "wrong_mode", 0),
    "attack_over_budget": ("ok", "", None, 0),
    "attack_palette": ("bad_output", "img1 img3", "wrong_mode", 0),
    "attack_pixel_bomb": ("bad_output", "img1 img3", "corrupt", 0),
    "attack_profile_bomb": ("ok", "", None, 0),
    "attack_replaced_folder": ("bad_output", "img1 img2 img3 img4", "not_a_file", 0),
    "attack_rgba": ("bad_output", "img1 img3", "wrong_mode", 0),
    "attack_second_header": ("ok", "", None, 0),
    "attack_second_image": ("bad_output", "img1 img3", "corrupt", 0),
    "attack_small_chunks": ("ok", "", None, 0),
    "attack_socket": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_sparse": ("bad_output", "img1 img3", "too_large", 0),
    "attack_svg": ("bad_output", "img1 img3", "not_png", 0),
    "attack_symlink": ("bad_output", "img1 img3", "not_a_file", 0),
    "attack_text_bomb": ("ok", "", None, 0),
    "attack_too_large": ("bad_output", "img1 img3", "too_large", 0),
    "attack_trailing_payload": ("ok", "", None, 0),
    "attack_truncated": ("bad_output", "img1 img3", "corrupt", 0),
    "attack_unknown_names": ("bad_output", "img1 img3", "missing", 2),
    "attack_wrong_size": ("bad_output", "img1 img3", "wrong_size", 0),
    "targeted_forged_targets": ("ok", "", None, 1),
    "targeted_half": ("bad_output", "img1 img3", "missing", 0),
    "targeted_rewritten_targets": ("ok", "", None, 0),
}
# Name -> (verdict on a call with every picture, the pictures whose answers are at fault, their fault, unknown rows).
DEFENSES = {
    "defense_bom": ("ok", "", None, False),
    "defense_device": ("bad_output", "img1 img2 img3 img4", "not_a_file", False),
    "defense_directory": ("bad_output", "img1 img2 img3 img4", "not_a_file", False),
    "defense_duplicates": ("bad_output", "img1 img3", "duplicate", False),
    "defense_empty": ("bad_output", "img1 img2 img3 img4", "missing", False),
    "defense_exit": ("exit", "img1 img3", "missing", False),
    "defense_fifo": ("bad_output", "img1 img2 img3 img4", "not_a_file", False),
    "defense_floats": ("bad_output", "img1 img3", "not_an_integer", False),
    "defense_formulas": ("bad_output", "img1 img3", "not_an_integer", False),
    "defense_garbage": ("bad_output", "img1 img2 img3 img4", "missing", True),
    "defense_gigabyte": ("bad_output", "img1 img2 img3 img4", "too_large", False),
    "defense_half": ("bad_output", "img1 img3", "missing", False),
    "defense_hard_link": ("bad_output", "img1 img2 img3 img4", "not_a_file", False),
    "defense_header": ("ok", "", None, True),
    "defense_html": ("ok", "", None, True),
    "defense_huge": ("bad_output", "img1 img2 img3 img4", "too_large", False),
    "defense_huge_labels": ("bad_output", "img1 img3", "not_an_integer", False),
    "defense_latin1": ("ok", "", None, True),
    "defense_link_to_answers": ("bad_output", "img1 img2 img3 img4", "not_a_file", False),
    "defense_long_rows": ("bad_output", "img1 img3", "not_an_integer", False),
    "defense_nothing": ("bad_output", "img1 img2 img3 img4", "missing", False),
    "defense_nul": ("bad_output", "img1 img3", "not_an_integer", False),
    "defense_other_name": ("bad_output", "img1 img2 img3 img4", "missing", False),
    "defense_outside_labels": ("bad_output", "img1 img3", "outside_labels", False),
    "defense_paths": ("bad_output", "img1 img3", "missing", True),
    "defense_python_integers": ("bad_output", "img1 img3", "not_an_integer", False),
    "defense_quoted_newlines": ("bad_output", "img1 img3", "not_an_integer", True),
    "defense_semicolons": ("bad_output", "img1 img3", "missing", True),
    "defense_socket": ("bad_output", "img1 img2 img3 img4", "not_a_file", False),
    "defense_symlink": ("bad_output", "img1 img2 img3 img4", "not_a_file", False),
    "defense_three_columns": ("ok", "", None, False),
    "defense_unknown_images": ("ok", "", None, True),
    "defense_utf16": ("bad_output", "img1 img2 img3 img4", "missing", True),
    "defense_words": ("bad_output", "img1 img3", "not_an_integer", False),
}
NOT_UNDER_PROCESS = {"attack_names_absolute"}
"""Under `process` a submission may write where its caller may: this one would leave files in the machine's root."""

RULES = {
    "missing": "an image counts only under the very name that was asked for; the clean one stands in for it",
    "not_a_file": "regular files with one name only, opened without following a link or waiting",
    "too_large": "no more bytes are read than an honest file can have",
    "not_png": "PNG only, told by its first bytes and not by its name",
    "corrupt": "exactly the pixels of the header are unpacked, with the checksums that PNG asks for",
    "wrong_mode": "8-bit RGB only, told by the header before anything is unpacked; nothing is converted",
    "wrong_size": "the size of the dataset only, told by the header before anything is unpacked",
    "not_an_integer": "a label is an integer of at most nine plain digits",
    "outside_labels": "a label is one of the label space",
    "duplicate": "two rows about one image cancel each other",
    None: "only pixels are taken from a PNG, and only rows about the images that were asked for",
}
"""Fault -> what stands against it."""

SANDBOXES = ["process", pytest.param("docker", marks=pytest.mark.docker)]


def second_pixel(pixels):
    return int(pixels[0, 1, 0]) - 40


def write_honest(folder):
    """What the others call odd or even, the first pixel, is left as it is."""
    first_pixel_dataset(folder / "dataset", count=len(IMAGES))
    body = "for name in names:\n    pixels = read(name)\n    pixels[0, 1:] += {}\n    write(name, pixels)"
    write_attack(folder / "submissions/honest", body.format("(name != 'img2.png') * 9"))
    write_attack(folder / "submissions/honest_targeted", body.format("name != 'img3.png'"), "targeted_attack")
    rule_defense(folder / "submissions/honest_defense", second_pixel)


class Played:
    """A tournament of everything, through the command line."""

    def __init__(self, folder, sandbox):
        write_honest(folder)
        self.sandbox = sandbox
        for name in {*ATTACKS, *DEFENSES} - (NOT_UNDER_PROCESS if sandbox == "process" else set()):
            shutil.copytree(FOLDERS / name, folder / "submissions" / name)
        path = write_tournament(
            folder / "hostile.yaml", sandbox=sandbox, versions_per_call="all", limits={"output": "128 MiB"}
        )
        with harness_process("run", path) as harness:
            self.printed, self.errors = harness.communicate(timeout=280)
            self.code = harness.returncode
        self.output, self.store = folder / "out", folder / "out/store"
        self.round = json.loads((self.output / "round.json").read_text())

    def player(self, name):
        return next(one["player"] for one in (*self.round["attacks"], *self.round["defenses"]) if one["name"] == name)

    def calls(self, name):
        columns = "key, verdict, unknown_names, images, faults"
        return read_index(self.store, f"SELECT {columns} FROM calls WHERE player = '{self.player(name)}'")

    def audits(self, name):
        """ImageId -> (digest, fault, largest delta written, values clipped)."""
        ((key, *_),) = self.calls(name)
        rows = read_index(self.store, f"SELECT image, digest, fault, raw_linf, clipped FROM audits WHERE key = '{key}'")
        return {image: rest for image, *rest in rows}

    def pictures(self):
        """Digest of every image that was shown -> ImageId."""
        found = dict(read_index(self.store, "SELECT digest, image FROM audits"))
        return found | {image["clean"]: image["id"] for image in self.round["images"]}


@pytest.fixture(scope="module", params=SANDBOXES)
def played(request, tmp_path_factory):
    return Played(tmp_path_factory.mktemp("hostile"), request.param)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The board of the honest ones without the others."""
    folder = tmp_path_factory.mktemp("alone")
    write_honest(folder)
    play_file(write_tournament(folder / "hostile.yaml"))
    return read_board(folder / "out")


def test_every_folder_has_its_expectation():
    folders = [path for path in FOLDERS.iterdir() if path.name.startswith(("attack_", "targeted_", "defense_"))]
    assert {path.name for path in folders} == {*ATTACKS, *DEFENSES}
    for path in folders:
        keys = json.loads((path / "metadata.json").read_text()).keys()
        assert keys == {"type", "container", "container_gpu", "entry_point"}


def test_the_run_ends_well(played):
    assert (played.code, played.errors) == (0, "")
    assert read_board(played.output)["complete"]
    assert read_index(played.store, "SELECT * FROM attempts") == []
    assert list((played.store / "work").iterdir()) == []


def note(record_property, played, group, name, fault):
    """What the second line of its program says that it attempts."""
    if played.sandbox == "process" and name in NOT_UNDER_PROCESS:
        pytest.skip("the process sandbox lets a submission write where its caller may")
    attempt = (FOLDERS / name / "run").read_text().splitlines()[1].strip('"# ')
    hostile.note(record_property, group, f"{name}: {attempt}", RULES[fault], played.sandbox)


@pytest.mark.parametrize("name", ATTACKS)
def test_what_an_attack_wrote_costs_it_exactly_those_images(played, name, record_property):
    verdict, images, fault, unknown = ATTACKS[name]
    note(record_property, played, "output of attacks", name, fault)
    ((_, found_verdict, found_unknown, _, faults),) = played.calls(name)
    assert (found_verdict, found_unknown) == (verdict, unknown)
    assert json.loads(faults) == ({fault: len(images.split())} if fault else {})
    found = {image: rest[1] for image, rest in played.audits(name).items()}
    assert found == {image: fault if image in images.split() else None for image in IMAGES}
    board = read_board(played.output)
    (row,) = (row for row in board["attacks"] + board["targeted_attacks"] if row["name"] == name)
    assert row["faults"] == json.loads(faults)


@pytest.mark.parametrize("name", DEFENSES)
def test_what_a_defense_wrote_costs_it_exactly_those_answers(played, name, record_property):
    verdict, images, fault, unknown = DEFENSES[name]
    note(record_property, played, "answers of defenses", name, fault)
    pictures = played.pictures()
    rows = read_index(
        played.store, f"SELECT digest, label, fault FROM predictions WHERE player = '{played.player(name)}'"
    )
    assert {pictures[digest] for digest, _, _ in rows} == set(IMAGES)
    for digest, label, found in rows:
        assert found == (fault if pictures[digest] in images.split() else None), pictures[digest]
        assert (label is None) is (found is not None)
    whole = [call for call in played.calls(name) if call[3] >= len(IMAGES)]
    assert {call[1] for call in whole} == {verdict}
    assert any(call[2] for call in played.calls(name)) is unknown


def test_the_others_are_scored_as_if_they_were_alone(played, alone):
    board = read_board(played.output)

    def cell(found, matrix, attack, rows):
        matrices = found["matrices"]
        return matrices[matrix][matrices[rows].index(attack)][matrices["defenses"].index("honest_defense")]

    for where in (("accuracy_on_attacks", "honest", "attacks"),
                  ("accuracy_on_targeted_attacks", "honest_targeted", "targeted_attacks"),
                  ("hit_target_class", "honest_targeted", "targeted_attacks")):  # fmt: skip
        assert cell(board, *where) == cell(alone, *where)
    assert cell(alone, "accuracy_on_attacks", "honest", "attacks") == 1
    assert cell(alone, "hit_target_class", "honest_targeted", "targeted_attacks") == 3
    for kind, name, key in (("attacks", "honest", "perturbation"), ("attacks", "honest", "faults"),
                            ("targeted_attacks", "honest_targeted", "perturbation"),
                            ("defenses", "honest_defense", "clean_accuracy"),
                            ("defenses", "honest_defense", "missing_labels")):  # fmt: skip
        one, other = (next(row for row in found[kind] if row["name"] == name)[key] for found in (board, alone))
        assert one == other


def test_an_absent_image_is_answered_as_the_clean_one(played):
    clean = {image["id"]: image["clean"] for image in played.round["images"]}
    assert {image: rest[0] for image, rest in played.audits("attack_nothing").items()} == clean


def test_too_large_a_change_is_clipped_and_noted(played):
    audits = played.audits("attack_over_budget")
    assert [(raw, clipped > 0) for _, _, raw, clipped in (audits[image] for image in IMAGES)] == [
        (100, True), (2, False), (100, True), (2, False),
    ]  # fmt: skip


def test_nothing_but_pixels_gets_into_the_store(played):
    plain = {image: rest[0] for image, rest in played.audits("attack_deep_folders").items()}
    inside = [name for name, (verdict, *_) in ATTACKS.items() if verdict == "ok" and name != "attack_over_budget"]
    assert len(inside) > 8
    for name in inside:
        assert {image: rest[0] for image, rest in played.audits(name).items()} == plain
    assert not [path for path in played.store.glob("objects/*/*") if b"PAYLOAD" in path.read_bytes()]


def test_run_and_status_show_the_last_words_of_what_failed(played, run_main, capsys):
    assert run_main("status", played.output) == 0
    status = capsys.readouterr().out
    failed = read_index(played.store, "SELECT label, log FROM calls WHERE verdict != 'ok' ORDER BY number")
    assert len(failed) > 20
    for label, log in failed:
        assert label in played.printed
        assert log.strip().splitlines()[-1] in played.printed
    for label, log in failed[-20:]:
        assert label in status
        assert log.strip().splitlines()[-1] in status
