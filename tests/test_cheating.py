"""Two who are friends cannot pass a word past the referee except in the pixels, a defense cannot tell a picture by its
name or place, keep what it saw, or be asked twice, and an attack gains nothing by doing nothing or what another does.

Each cheat is first shown to work on what it was made for, then played in a round.
"""

import json
import os
import random
import subprocess
import sys
import textwrap
from itertools import pairwise

import hostile
import numpy as np
import pytest
from builders import (
    ATTACK,
    DEFENSE,
    harness_process,
    play_file,
    read_board,
    read_index,
    write_attack,
    write_dataset,
    write_defense,
    write_submission,
    write_tournament,
)
from cheats import SILENCE, programs

COUNT = 24
SANDBOXES = ["process", pytest.param("docker", marks=pytest.mark.docker)]


def write_pictures(folder):
    """Noise, with labels that nothing in the pictures tells."""
    generator = np.random.default_rng(1)
    names = [f"img{number:02}" for number in range(COUNT)]
    labels = dict(zip(names, random.Random(1).sample(range(1, 800), COUNT), strict=True))
    pixels = {name: generator.integers(0, 256, (8, 8, 3), dtype=np.uint8) for name in names}
    write_dataset(folder / "dataset", pixels, labels, dict.fromkeys(names, 850))
    return {f"{name}.png": label for name, label in labels.items()}


def write_players(folder, names, players):
    for name in names:
        is_defense, body = players[name]
        (write_defense if is_defense else write_attack)(folder / "submissions" / name, body)


class Played:
    """A round of all cheats, through the command line, played twice; `calls` and `answers` are of the first time."""

    def __init__(self, folder, sandbox):
        self.folder, self.sandbox, self.output = folder, sandbox, folder / "out"
        self.labels = write_pictures(folder)
        self.players = programs(self.labels, sandbox)
        names = [name for name in self.players if name != "copycat" or sandbox == "docker"]
        write_players(folder, names, self.players)
        self.file = write_tournament(folder / "cheats.yaml", sandbox=sandbox, epsilon=255, seed=5)
        self.play()
        self.round = json.loads((self.output / "round.json").read_text())
        self.board = read_board(self.output)

    def play(self):
        with harness_process("run", self.file) as harness:
            printed, errors = harness.communicate(timeout=280)
        assert (harness.returncode, errors) == (0, "")
        return printed

    def index(self, columns, table, name):
        player = next(one["player"] for one in (*self.round["attacks"], *self.round["defenses"]) if one["name"] == name)
        return read_index(self.output / "store", f"SELECT {columns} FROM {table} WHERE player = '{player}'")

    def logs(self, name):
        """What each call of a player printed, as JSON."""
        return [json.loads(log) for (log,) in self.index("log", "calls", name)]

    def answers(self, name):
        return dict(self.index("digest, label", "predictions", name))

    def made_by(self, name):
        """File name -> digest of the image that an attack made of it."""
        ((key,),) = self.index("key", "calls", name)
        rows = read_index(self.output / "store", f"SELECT image, digest FROM audits WHERE key = '{key}'")
        return {f"{image}.png": digest for image, digest in rows}

    def clean(self):
        return {f"{image['id']}.png": image["clean"] for image in self.round["images"]}


@pytest.fixture(scope="module", params=SANDBOXES)
def played(request, tmp_path_factory):
    return Played(tmp_path_factory.mktemp("cheats"), request.param)


@pytest.fixture
def note(played, record_property):
    return lambda attempt, rule: hostile.note(record_property, "cheating", attempt, rule, played.sandbox)


def by_hand(folder, name, body, *arguments, is_defense):
    """What a player prints where no harness is in between."""
    template = DEFENSE if is_defense else ATTACK
    path = write_submission(folder / name, template + textwrap.dedent(body)) / "run"
    command = [sys.executable, path, *arguments]
    return subprocess.run(command, cwd=path.parent, check=True, capture_output=True, text=True).stdout


CHANNELS = ["text", "own chunk", "behind the end", "number of chunks", "size", "time", "mode", "further names"]


def test_without_a_referee_every_channel_carries_the_message(tmp_path):
    players = programs(write_pictures(tmp_path), "process")
    (tmp_path / "made").mkdir()
    images, made, result = tmp_path / "dataset/images", tmp_path / "made", tmp_path / "result.csv"
    words = json.loads(by_hand(tmp_path, "messenger", players["messenger"][1], images, made, "255", is_defense=False))
    said = json.loads(by_hand(tmp_path, "reader", players["reader"][1], made, result, is_defense=True))
    assert len(set(words.values())) == 7
    for channel in CHANNELS:
        assert {name: heard.get(channel) for name, heard in said["heard"].items()} == words, channel
    born = [words[file["name"]] for file in sorted(said["files"], key=lambda file: file["born"])]
    assert born == sorted(born)
    assert {line.split(",")[0]: int(line.split(",")[1]) for line in result.read_text().split()} == words


def shown(played, attack):
    """(what the reader saw of each image of `attack`, its word), in the order of their names."""
    (words,) = played.logs(attack)
    picture = {digest: name for name, digest in played.made_by(attack).items()}
    files = [file for log in played.logs("reader") for file in log["files"] if file["digest"] in picture]
    assert len(files) == COUNT
    return [(file, words[picture[file["digest"]]]) for file in sorted(files, key=lambda file: file["name"])]


def test_a_message_beside_the_pixels_does_not_arrive(played, note):
    note(
        "a message for a friendly defense in chunks, behind the end, in size, times, modes, attributes, further files",
        "an image is written again from its pixels alone, as a new file of the harness",
    )
    assert [heard for log in played.logs("reader") for heard in log["heard"].values() if heard] == []
    assert set(played.answers("reader").values()) == {SILENCE}
    for key in ("kinds", "size", "mode", "links", "owner", "times", "attributes", "behind", "texts"):
        assert len({json.dumps(file[key]) for file, _ in shown(played, "messenger")}) == 1, key
    (file, _), *_ = shown(played, "messenger")
    assert (file["kinds"], file["links"], file["times"]) == (["IHDR", "IDAT", "IEND"], 1, [0, 0])
    assert (file["texts"], file["behind"], file["attributes"]) == ([], "", {})


def test_the_order_in_which_images_were_made_does_not_arrive(played, note):
    note(
        "a message in the order in which files were written, read from their birth and their numbers",
        "a defense gets copies, made in the order of names that are drawn without regard to the attack",
    )
    for log in played.logs("reader"):
        names = [file["name"] for file in sorted(log["files"], key=lambda file: file["born"])]
        assert names == sorted(names)
    words = [word for _, word in shown(played, "messenger")]
    assert sum(one <= other for one, other in pairwise(words)) < COUNT - 4


def test_names_tell_neither_picture_nor_attack(played, note):
    note("a message in the names of files", "names are digests that the harness makes, 16 hexadecimal digits")
    names = [name for log in played.logs("reader") for name in log["listing"]]
    assert {len(name) for name in names} == {20}
    assert all(set(name.removesuffix(".png")) <= set("0123456789abcdef") for name in names)
    assert len(names) == len(set(names))


def right(played, name):
    """How many clean pictures a defense labels correctly."""
    answers, clean = played.answers(name), played.clean()
    return sum(answers[clean[picture]] == label for picture, label in played.labels.items())


def test_a_defense_that_knows_names_and_places_is_right_by_chance(played, note, tmp_path):
    note(
        "a defense that recognises pictures by name, and else by their place in the list",
        "opaque names in an order of their own; by chance one picture in all is right",
    )
    result = tmp_path / "result.csv"
    by_hand(
        tmp_path, "by_name", played.players["by_name"][1], played.folder / "dataset/images", result, is_defense=True
    )
    rows = dict(line.split(",") for line in result.read_text().split())
    assert {name: int(label) for name, label in rows.items()} == played.labels
    assert right(played, "by_name") <= COUNT / 3


def test_a_defense_never_sees_two_versions_of_a_picture_at_once(played, note, tmp_path):
    note(
        "a defense that averages several versions of a picture",
        "one version of a picture in a call; nothing is kept between calls",
    )
    logs = played.logs("averager")
    assert len(logs) > 2
    assert {log["most"] for log in logs} == {1}
    write_pictures(tmp_path)
    write_players(tmp_path, ["averager", "noise", "other_noise"], programs({}, "process"))
    output = play_file(write_tournament(tmp_path / "all.yaml", epsilon=255, versions_per_call="all")).output
    logs = [json.loads(log) for (log,) in read_index(output / "store", "SELECT log FROM calls WHERE role = 'defense'")]
    assert max(log["most"] for log in logs) > 1


def test_a_defense_remembers_nothing(played, note):
    note(
        "a defense that keeps what it saw for its next call: in /code, /tmp and /dev/shm; under process in /code",
        "every call has a new container and a new copy of the code",
    )
    remembered = [log["remembered"] for log in played.logs("averager")]
    assert len(remembered) > 2
    assert not any(any(places.values()) for places in remembered)


def test_an_image_is_never_asked_about_twice(played, note):
    note(
        "a defense that answers differently the second time",
        "an image is known by its pixels and sent to a defense once; harness check asks twice",
    )
    everything = set(played.clean().values())
    for attack in ("messenger", "noise", "other_noise", "twin", "noop"):
        everything |= set(played.made_by(attack).values())
    assert len(everything) == COUNT * 4
    before = played.answers("fickle"), played.index("key", "calls", "fickle")
    assert set(before[0]) == everything
    assert sum(count for (count,) in played.index("images", "calls", "fickle")) == len(everything)
    played.play()
    assert (played.answers("fickle"), played.index("key", "calls", "fickle")) == before


def row(played, name):
    return next(one for one in played.board["attacks"] if one["name"] == name)


def test_an_attack_that_does_nothing_gains_what_the_defense_gets_wrong_anyway(played, note):
    note(
        "an attack that leaves every image as it is",
        "it is scored by the answers on the clean images, and costs no defense a call",
    )
    assert played.made_by("noop") == played.clean()
    wrong = [COUNT - right(played, one["name"]) for one in played.round["defenses"]]
    assert row(played, "noop")["score"] == sum(wrong)
    share = row(played, "noop")["success_where_clean_correct"]  # None where a draw of names left nobody right
    assert share is None or share["normalised"] == 0


def test_an_attack_that_makes_the_same_as_another_gets_the_same_answers(played, note):
    note(
        "two attacks that make the same images, against a defense that answers anything",
        "equal images are one image, with one answer; equal scores share a rank",
    )
    assert played.made_by("twin") == played.made_by("noise")
    assert (row(played, "twin")["score"], row(played, "twin")["rank"]) == (
        row(played, "noise")["score"], row(played, "noise")["rank"],
    )  # fmt: skip


def test_an_attack_cannot_find_what_another_made(played, note):
    if played.sandbox == "process":
        pytest.skip("the process sandbox lets a submission read what its caller may")
    note("an attack that copies another's images", "a container holds its own input and code and nothing of others")
    assert played.logs("copycat") == [[]]
    assert os.listdir(played.output / "store/work") == []
