"""A tournament whose every result the test works out by itself, from pixels to rankings, equals what was published.

The submissions are arithmetic on 8x8 pixels; the same functions are written into their programs and called here.
Everything between them and the files (staging, clipping, matching of answers, rule sets) is worked out in plain
loops below, from the words of the rule sets, without the harness.
"""

import csv
import inspect
import itertools
import json
import tarfile
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
from builders import play_file, read_board, rule_defense, write_attack, write_dataset, write_tournament

from harness.tournament import score

IMAGES = 12
LABELS = 6
RULES = ("fair", "nips17-dev", "nips17-final")


# --- the submissions: pixels are int arrays 8 x 8 x 3; None stands for nothing written


def add(pixels, epsilon, target):
    return pixels + epsilon


def beyond(pixels, epsilon, target):
    pixels[0, 0] += 3 * epsilon
    return pixels


def half(pixels, epsilon, target):
    return pixels - epsilon if pixels[3, 3, 0] % 2 else None


def invert(pixels, epsilon, target):
    return 255 - pixels


def noop(pixels, epsilon, target):
    return pixels


def silent(pixels, epsilon, target):
    return None


def far(pixels, epsilon, target):
    pixels[0, 0, 0] = 20 * target
    return None if target == 2 else pixels


def towards(pixels, epsilon, target):
    pixels[0, 0, 0] += min(epsilon, max(-epsilon, 20 * target - pixels[0, 0, 0]))
    return pixels


def average(pixels):
    return int(1 + pixels.sum() // 97 % 6)


def corner(pixels):
    return int(pixels[0, 0, 0] + 10) // 20


def outside(pixels):
    return 5000 if pixels[2, 2, 2] % 3 == 0 else int(pixels[0, 0, 0] + 6) // 20


def shy(pixels):
    return None if pixels[1, 1, 1] % 4 == 0 else int(pixels[0, 0, 0]) // 20


ATTACKS = (add, beyond, half, invert, noop, silent)
TARGETED = (far, towards)
DEFENSES = (average, corner, outside, shy)
NAMES = {"attacks": ATTACKS, "targeted_attacks": TARGETED, "defenses": DEFENSES}


def make_pictures():
    """ImageId -> pixels, true label, target class; twenty times the label is the first value."""
    random = np.random.default_rng(2017)
    pixels, true, target = {}, {}, {}
    for number in range(IMAGES):
        name = f"picture{number:02}"
        true[name], target[name] = 1 + number % LABELS, 1 + (number + 2) % LABELS
        pixels[name] = random.integers(0, 256, (8, 8, 3))
        pixels[name][0, 0, 0] = 20 * true[name]
    return pixels, true, target


PIXELS, TRUE, TARGET = make_pictures()


# --- the reference


@dataclass
class Reference:
    """budgets: for each entry of the epsilon axis, ImageId -> epsilon. Answers are None where none counts."""

    budgets: list

    def shown(self, attack, epsilon, name):
        """(pixels that the defenses see, whether they are the attack's own)."""
        clean = PIXELS[name]
        written = attack(clean.copy(), self.budgets[epsilon][name], TARGET[name])
        if written is None:
            return clean, False
        forced = np.empty_like(clean)
        for place in np.ndindex(clean.shape):
            value = min(255, max(0, int(written[place])))  # what a PNG can hold
            low, high = clean[place] - self.budgets[epsilon][name], clean[place] + self.budgets[epsilon][name]
            forced[place] = min(max(value, low), high)
        return forced, True

    def answer(self, defense, pixels):
        label = defense(pixels)
        return label if label is not None and 0 <= label <= 1000 else None

    def table(self):
        """{(attack, epsilon, defense, image): (answer, own)} by name."""
        found = {}
        for attack, epsilon, name in itertools.product((*ATTACKS, *TARGETED), range(len(self.budgets)), PIXELS):
            pixels, own = self.shown(attack, epsilon, name)
            for defense in DEFENSES:
                key = attack.__name__, epsilon, defense.__name__, name
                found[key] = self.answer(defense, pixels), own
        return found

    def results(self, rules):
        """File name -> rows, for every CSV."""
        table, epsilons = self.table(), len(self.budgets)
        attacks, targeted, defenses = ([one.__name__ for one in NAMES[kind]] for kind in NAMES)

        def total(point, attack, defense):
            keys = [(attack, epsilon, defense, name) for epsilon in range(epsilons) for name in PIXELS]
            return sum(point(key[3], *table[key]) for key in keys)

        def correct(name, answer, own):
            return answer == TRUE[name] and (own or rules == "fair")

        def hit(name, answer, own):
            return answer == TARGET[name] and (own or rules == "fair")

        def fooled(name, answer, own):
            return answer is not None and answer != TRUE[name] and (own or rules == "fair")

        complete, labelled = {*attacks, *targeted}, set(defenses)
        if rules == "nips17-final":
            complete -= {key[0] for key, (_, own) in table.items() if not own}
            labelled -= {key[2] for key, (answer, own) in table.items() if own and answer is None}
        accuracy = {pair: total(correct, *pair) for pair in itertools.product((*attacks, *targeted), defenses)}
        hits = {pair: total(hit, *pair) for pair in itertools.product(targeted, defenses)}
        if rules == "nips17-dev":  # the toolkit's own formula
            possible = IMAGES * epsilons * len(defenses)
            attack_scores = {one: possible - sum(accuracy[one, other] for other in defenses) for one in attacks}
        else:
            attack_scores = {one: sum(total(fooled, one, other) for other in labelled) for one in attacks}
        targeted_scores = {one: sum(hits[one, other] for other in labelled) for one in targeted}
        defense_scores = {one: sum(accuracy[other, one] for other in complete) for one in defenses}
        return {
            "accuracy_on_attacks": matrix(attacks, defenses, accuracy),
            "accuracy_on_targeted_attacks": matrix(targeted, defenses, accuracy),
            "hit_target_class": matrix(targeted, defenses, hits),
            "attack_ranking": ranking("AttackName", attack_scores),
            "targeted_attack_ranking": ranking("AttackName", targeted_scores),
            "defense_ranking": ranking("DefenseName", defense_scores),
            "all_classification": self.classifications(table),
        }

    def classifications(self, table):
        header = ["AttackName", "IsTargeted", "DefenseName", "ImageId", "PredictedLabel", "TrueLabel", "TargetClass"]
        targeted = [one.__name__ for one in TARGETED]
        rows = [
            [attack, attack in targeted, defense, name, answer, TRUE[name], TARGET[name]]
            for (attack, _, defense, name), (answer, own) in table.items()
            if own and answer is not None
        ]
        return [header, *sorted([str(cell) for cell in row] for row in rows)]


def matrix(rows, columns, values):
    body = [[row, *(str(values[row, column]) for column in columns)] for row in rows]
    return [["", *columns], *body]


def ranking(header, scores):
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [[header, "Score"], *([name, str(value)] for name, value in ordered)]


MODES = {
    "list": ({"epsilon": [4, 16], "batch_size": 5}, [dict.fromkeys(PIXELS, 4), dict.fromkeys(PIXELS, 16)]),
    "rotate": (
        {"epsilon": "rotate", "batch_size": 3},
        [{name: (4, 8, 12, 16)[number // 3] for number, name in enumerate(PIXELS)}],
    ),
}


def read_results(output):
    found = {}
    for name in RESULT_FILES:
        with (output / f"{name}.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        found[name] = [rows[0], *sorted(rows[1:])] if name == "all_classification" else rows
    return found


RESULT_FILES = (
    "accuracy_on_attacks",
    "accuracy_on_targeted_attacks",
    "hit_target_class",
    "attack_ranking",
    "targeted_attack_ranking",
    "defense_ranking",
    "all_classification",
)


# --- the runs


def write_players(folder):
    """attacks/, targeted_attacks/ and defenses/, two of the players as archives in the manner of 2017."""
    for attack in (*ATTACKS, *TARGETED):
        kind, role = ("attacks", "attack") if attack in ATTACKS else ("targeted_attacks", "targeted_attack")
        body = f"""
{inspect.getsource(attack)}
for name in names:
    adversarial = {attack.__name__}(read(name), epsilon, int(wanted.get(name, 0)))
    if adversarial is not None:
        write(name, adversarial)
"""
        write_attack(folder / kind / attack.__name__, body, role)
    for defense in DEFENSES:
        rule_defense(folder / "defenses" / defense.__name__, defense)
    pack_tar(folder / "attacks/add")
    pack_zip(folder / "defenses/corner")


def pack_tar(folder):
    """The files at the top of the archive."""
    assert_keys_of_2017(folder)
    with tarfile.open(f"{folder}.tar.gz", "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
            path.unlink()
    folder.rmdir()


def pack_zip(folder):
    """The files in one folder of the archive."""
    assert_keys_of_2017(folder)
    with zipfile.ZipFile(f"{folder}.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{folder.name}/{path.name}")
            path.unlink()
    folder.rmdir()


def assert_keys_of_2017(folder):
    keys = json.loads((folder / "metadata.json").read_text()).keys()
    assert keys == {"type", "container", "container_gpu", "entry_point"}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """(sandbox, mode) -> the output folder of that tournament, played when it is first asked for."""
    folder = tmp_path_factory.mktemp("golden")
    write_dataset(folder / "dataset", PIXELS, TRUE, TARGET)
    write_players(folder)
    outputs = {}

    def play(sandbox, mode):
        if (sandbox, mode) not in outputs:
            versions = 1 if sandbox == "process" else "all"  # which makes no difference to arithmetic
            output = outputs[sandbox, mode] = folder / f"{sandbox}-{mode}"
            submissions = [f"{kind}/*" for kind in NAMES]
            path = folder / f"{sandbox}-{mode}.yaml"
            keys = {"name": "golden", "submissions": submissions, "output": output.name} | MODES[mode][0]
            play_file(write_tournament(path, sandbox=sandbox, versions_per_call=versions, **keys))
        return outputs[sandbox, mode]

    return play


@pytest.fixture(scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request):
    return request.param


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("mode", MODES)
def test_every_file_is_what_the_pixels_say(played, sandbox, mode, rules):
    output = played(sandbox, mode)
    assert score(output, rules).board["complete"]
    expected = Reference(MODES[mode][1]).results(rules)
    found = read_results(output)
    for name in RESULT_FILES:
        assert found[name] == expected[name], name


def test_the_rule_sets_differ_here():
    """Else this file would not tell them apart."""
    results = [Reference(MODES["list"][1]).results(rules) for rules in RULES]
    for name in ("attack_ranking", "defense_ranking", "accuracy_on_attacks"):
        assert len({str(result[name]) for result in results}) >= 2, name
    for one, other in itertools.combinations(results, 2):
        assert one["attack_ranking"] != other["attack_ranking"]
    scored = dict(results[2]["defense_ranking"][1:])
    assert any(int(value) for value in scored.values())
    assert any(int(value) for value in dict(results[2]["attack_ranking"][1:]).values())


@pytest.mark.parametrize("mode", MODES)
def test_shares_and_audits_are_what_the_pixels_say(played, sandbox, mode):
    output, reference = played(sandbox, mode), Reference(MODES[mode][1])
    score(output, "fair")
    board = read_board(output)
    table, epsilons = reference.table(), len(reference.budgets)
    clean = {one.__name__: [reference.answer(one, PIXELS[name]) == TRUE[name] for name in PIXELS] for one in DEFENSES}
    for row in board["defenses"]:
        answers = {key: answer for key, (answer, _) in table.items() if key[2] == row["name"]}
        right = sum(answer == TRUE[key[3]] for key, answer in answers.items())
        assert row["clean_accuracy"]["normalised"] == pytest.approx(np.mean(clean[row["name"]]), abs=1e-6)
        assert row["normalised"] == pytest.approx(right / len(answers), abs=1e-6)
        assert row["missing_labels"] == sum(answer is None for answer in answers.values())
        assert row["interval"][0] <= row["normalised"] <= row["interval"][1]
    for attack, row in zip(ATTACKS, sorted(board["attacks"], key=lambda row: row["name"]), strict=True):
        shown = [
            (*reference.shown(attack, epsilon, name), name)
            for epsilon, name in itertools.product(range(epsilons), PIXELS)
        ]
        deltas = [np.abs(pixels - PIXELS[name]) for pixels, own, name in shown if own]
        assert row["name"] == attack.__name__
        assert row["faults"] == ({"missing": len(shown) - len(deltas)} if len(deltas) < len(shown) else {})
        if deltas:
            found = row["perturbation"]
            assert found["mean_linf"] == pytest.approx(np.mean([delta.max() for delta in deltas]), abs=1e-6)
            assert found["mean_l2"] == pytest.approx(np.mean([(delta**2).sum() ** 0.5 for delta in deltas]), abs=1e-6)
            assert found["mean_abs"] == pytest.approx(np.mean(deltas), abs=1e-6)


@pytest.mark.docker
@pytest.mark.parametrize("mode", MODES)
def test_both_sandboxes_give_the_same_leaderboard_byte_for_byte(played, mode):
    outputs = [played(sandbox, mode) for sandbox in ("process", "docker")]
    for rules in RULES:
        for output in outputs:
            score(output, rules)
        one, other = ((output / "leaderboard.json").read_bytes() for output in outputs)
        assert one == other


def test_the_flags_of_2017_play_the_same_tournament(tmp_path, run_main, sandbox):
    """Its users change one word of their command line; a folder of PNGs and a CSV are a dataset."""
    write_players(tmp_path)
    write_dataset(tmp_path / "dataset", PIXELS, TRUE, TARGET)
    code = run_main(
        "run", "--attacks_dir", tmp_path / "attacks", "--targeted_attacks_dir", tmp_path / "targeted_attacks",
        "--defenses_dir", tmp_path / "defenses", "--dataset_dir", tmp_path / "dataset/images",
        "--dataset_metadata", tmp_path / "dataset/dataset.csv", "--output_dir", tmp_path / "results",
        "--intermediate_results_dir", tmp_path / "intermediate", "--epsilon", 16, "--save_all_classification",
        "--rules", "nips17-dev", "--sandbox", sandbox, "--trust-submissions",
    )  # fmt: skip
    assert code == 0
    assert (tmp_path / "intermediate/objects").is_dir()
    assert read_results(tmp_path / "results") == Reference([dict.fromkeys(PIXELS, 16)]).results("nips17-dev")
