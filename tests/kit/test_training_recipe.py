"""A recipe is checked before anything is trained: a fault is one line that names file, network and key; and what the
project's own recipes hold out was never learned from."""

import pytest
from training_files import fault

from advkit.networks.small import SMALL
from training.__main__ import RECIPES, names
from training.adversary import Adversary
from training.recipe import read_recipe

DEFAULTS = "data: digits\ndefaults: {epochs: 3, batch: 8, learning_rate: 0.1}\n"
PLAIN = "  a: {architecture: model_a}\n"
NETWORKS = f"{DEFAULTS}networks:\n{PLAIN}"


def adversary(keys):
    return f"{NETWORKS}  b: {{architecture: model_a, adversary: {{{keys}}}}}\n"


def study(keys):
    return (
        f"{NETWORKS}"
        "  source: {architecture: model_c}\n"
        "  adv: {architecture: model_a, adversary: {epsilon: 8}}\n"
        "  ens: {architecture: model_a, adversary: {epsilon: 8, sources: [source]}}\n"
        "  held: {architecture: model_d}\n"
        "  other: {architecture: grey_vgg}\n"
        "  held_adv: {architecture: model_b, adversary: {epsilon: 8}}\n"
        "  twin: {architecture: model_c}\n"
        f"study: {{{keys}}}\n"
    )


def family(keys):
    return study(f"epsilons: [8], families: {{a: {{{keys}}}}}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.yaml"


@pytest.fixture
def read(path):
    def read(text):
        path.write_text(text)
        return read_recipe(path)

    return read


def test_a_network_has_the_defaults_and_what_is_its_own(read):
    recipe = read(f"{NETWORKS}  b: {{architecture: model_b, batch: 9, adversary: {{epsilon: 8, sources: [a]}}}}\n")
    plain, other = recipe.networks.values()
    assert list(recipe.networks) == ["a", "b"]
    assert (plain.epochs, plain.batch, plain.learning_rate, plain.optimizer) == (3, 8, 0.1, "adam")
    assert (other.epochs, other.batch, other.architecture) == (3, 9, "model_b")
    assert (plain.adversary, plain.sources, other.sources, recipe.study) == (None, [], ["a"], None)
    assert other.adversary == Adversary(8, {}, ["a"], drawn_epsilon="fixed", label="predicted", batches="full")


def test_a_study_names_all_that_it_needs(read):
    recipe = read(family("adversarial: adv, ensemble: ens, holdouts: [held]"))
    found = recipe.study
    assert (found.epsilons, found.relative_start_size) == ([8], 0.5)
    assert found.defended == ["a", "adv", "ens"]
    assert found.networks == ["a", "adv", "ens", "held"]


def test_surrogates_are_each_hold_out_and_those_of_a_kind_together(read):
    holdouts = "holdouts: [held, other], adversarial_holdouts: [held_adv]"
    (found,) = read(family(f"adversarial: adv, ensemble: ens, {holdouts}")).study.families.values()
    single, plain = [("held",), ("other",), ("held_adv",)], ("held", "other")
    assert found.surrogates == [*single, plain, (*plain, "held_adv")]


@pytest.mark.parametrize(
    ("adversarial", "expected"), [("", [("held",)]), ("held_adv", [("held",), ("held_adv",), ("held", "held_adv")])]
)
def test_no_surrogate_is_there_twice(read, adversarial, expected):
    more = f", adversarial_holdouts: [{adversarial}]" if adversarial else ""
    (found,) = read(family(f"adversarial: adv, ensemble: ens, holdouts: [held]{more}")).study.families.values()
    assert found.surrogates == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "expected lines KEY: VALUE", id="empty"),
        pytest.param("- a\n", "expected lines KEY: VALUE", id="list"),
        pytest.param("data: [", "not YAML: ", id="no YAML"),
        pytest.param(f"{DEFAULTS}network: {{}}", "key 'network' is unknown: did you mean networks?", id="key"),
        pytest.param(DEFAULTS, "missing: networks", id="no networks"),
        pytest.param(f"{DEFAULTS}networks: {{}}", "networks: there is none", id="none"),
        pytest.param(f"{DEFAULTS}networks: [a]", "networks: expected a mapping, found ['a']", id="networks"),
        pytest.param(f"{DEFAULTS}networks: {{a: 3}}", "networks: a: expected a mapping, found 3", id="network"),
        pytest.param(f"defaults: []\nnetworks:\n{PLAIN}", "defaults: expected a mapping, found []", id="defaults"),
        pytest.param(f"data: digits\nnetworks:\n{PLAIN}", "a: missing: epochs, batch, learning_rate", id="missing"),
        pytest.param(
            f"{DEFAULTS}networks: {{a: {{}}}}", "networks: a: missing: architecture", id="without architecture"
        ),
        pytest.param(
            f"{DEFAULTS}networks: {{a: {{architecture: model_e}}}}",
            "networks: a: architecture 'model_e' is unknown: did you mean model_",
            id="architecture",
        ),
        pytest.param(f"{NETWORKS}study: 3\n", "study: expected a mapping, found 3", id="study"),
    ],
)
def test_a_wrong_file(read, path, text, message):
    line = fault(read, text)
    assert line.startswith(f"{path}: ")
    assert message in line


@pytest.mark.parametrize("name", ["../b", "B", "b.c", "b c", '""', "b|c", "é", "1"])
def test_a_name_that_is_no_plain_name_of_a_file(read, path, name):
    line = fault(read, f"{NETWORKS}  ? {name}\n  : {{architecture: model_a}}\n")
    assert line.startswith(f"{path}: networks: ")
    assert "small letters, digits and _" in line


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("epoch: 3", "key 'epoch' is unknown: did you mean epochs?"),
        ("epochs: 0", "epochs: expected a positive integer, found 0"),
        ("batch: 1.5", "batch: expected a positive integer, found 1.5"),
        ("learning_rate: fast", "learning_rate: expected a positive number, found 'fast'"),
        ("weight_decay: -1", "weight_decay: expected a number of at least 0, found -1"),
        ("label_smoothing: 2", "label_smoothing: expected a number from 0 to 1, found 2"),
        ("compile: 1", "compile: expected true or false, found 1"),
        ("adversary: 8", "adversary: expected a mapping, found 8"),
        ("restart: 8", "restart: expected a mapping, found 8"),
        ("restart: {epochs: 2}", "restart: missing: learning_rate"),
        ("restart: {epochs: 0, learning_rate: 1}", "restart: epochs: expected a positive integer, found 0"),
        ("optimizer: sdg", "optimizer 'sdg' is unknown: did you mean sgd?"),
        ("schedule: cosine", "schedule 'cosine' is unknown: there is constant, one_cycle"),
        ("augment: flip", "augment 'flip' is unknown: there is nothing, shift, shift_flip, shift_flip_cut"),
        ("precision: float16", "precision 'float16' is unknown: did you mean bfloat16?"),
        ("batch: 1, adversary: {epsilon: 8, batches: half}", "batch 1 has no half for adversary: batches; take a "),
    ],
)
def test_a_wrong_key_of_a_network(read, path, own, message):
    line = fault(read, f"{NETWORKS}  b: {{architecture: model_a, {own}}}\n")
    assert line.startswith(f"{path}: networks: b: {message}")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("sources: [a]", "missing: epsilon"),
        ("epsilon: 0", "epsilon: expected a positive number, found 0"),
        ("epsilon: 8, source: a", "key 'source' is unknown: did you mean sources?"),
        ("epsilon: 8, sources: a", "sources: expected a list of names, found 'a'"),
        ("epsilon: 8, drawn_epsilon: normal", "drawn_epsilon 'normal' is unknown: "),
        ("epsilon: 8, label: guessed", "label 'guessed' is unknown: there is predicted, given"),
        ("epsilon: 8, label: true", "label: expected text, found True"),
        ("epsilon: 8, batches: all", "batches 'all' is unknown: there is half, full"),
        ("epsilon: 8, attack: fgsm", "attack: expected a mapping, found 'fgsm'"),
        ("epsilon: 8, attack: {step: 2}", "attack: key 'step' is unknown: did you mean steps?"),
        ("epsilon: 8, attack: {steps: 0}", "attack: steps: expected a positive integer, found 0"),
        ("epsilon: 8, attack: {surrogates: [a]}", "attack: key 'surrogates' is unknown: "),
        ("epsilon: 8, attack: {precision: bfloat16}", "attack: key 'precision' is unknown: "),
        ("epsilon: 8, attack: {objective: towards_target}", "attack: objective towards_target: there are no targets"),
        ("epsilon: 8, attack: {loss: logits}", "loss 'logits' is unknown: did you mean logit?"),
        ("epsilon: 8, attack: {start: sign}", "start 'sign' is unknown: did you mean signs?"),
        ("epsilon: 8, attack: {methods: [{name: scale}]}", "method 'scale' is unknown: did you mean scales?"),
        ("epsilon: 8, attack: {methods: [{name: scales, copy: 3}]}", "method scales: key 'copy' is unknown: "),
    ],
)
def test_a_wrong_adversary(read, path, keys, message):
    line = fault(read, adversary(keys))
    assert line.startswith(f"{path}: networks: b: adversary: ")
    assert message in line


@pytest.mark.parametrize("source", ["b", "c", "nowhere"])
def test_a_source_is_a_network_above(read, path, source):
    text = adversary(f"epsilon: 8, sources: [a, {source}]") + "  c: {architecture: model_a}\n"
    assert fault(read, text) == f"{path}: networks: b: source {source} is not above it in the recipe; add it there"


WHOLE = "adversarial: adv, ensemble: ens, holdouts: [held]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (study(f"families: {{a: {{{WHOLE}}}}}"), "study: missing: epsilons"),
        (study(f"epsilons: 8, families: {{a: {{{WHOLE}}}}}"), "study: epsilons: expected a list of positive numbers"),
        (study(f"epsilons: [0], families: {{a: {{{WHOLE}}}}}"), "study: epsilons: expected a list of positive numbers"),
        (study("epsilons: [8], families: [a]"), "study: families: expected a mapping, found ['a']"),
        (study("epsilons: [8], families: {a: 3}"), "study: a: expected a mapping, found 3"),
        (study(f"epsilons: [8], families: {{z: {{{WHOLE}}}}}"), "study: z: network 'z' is unknown: there is a, source"),
        (study("epsilons: [8], families: {1: {}}"), "study: 1: missing: adversarial, ensemble, holdouts"),
        (study("epsilons: [8], families: {}, image: 3"), "study: key 'image' is unknown: did you mean images?"),
        (study("epsilons: [8], families: {}, relative_start_size: 2"), "study: relative_start_size: expected a number"),
        (family("adversarial: avd, ensemble: ens, holdouts: [held]"), "study: a: network 'avd' is unknown: did you"),
        (family("adversarial: adv, ensemble: ens, holdouts: [halt]"), "study: a: network 'halt' is unknown: "),
        (family(f"{WHOLE}, adversarial_holdouts: [b]"), "study: a: network 'b' is unknown: there is a, source"),
        (family("adversarial: adv, ensemble: ens, holdouts: []"), "study: a: holdouts: expected a list of names"),
        (family(f"{WHOLE}, sources: [a]"), "study: a: key 'sources' is unknown: "),
        (study("epsilons: [8], families: {}, images: 5"), "study: later_images 1000 is more than images 5; "),
    ],
)
def test_a_wrong_study(read, path, text, message):
    assert fault(read, text).startswith(f"{path}: {message}")


@pytest.mark.parametrize("name", ["source", "twin", "a", "adv", "ens"])
@pytest.mark.parametrize("keys", ["holdouts: [held, {}]", "holdouts: [held], adversarial_holdouts: [held_adv, {}]"])
def test_a_hold_out_has_an_architecture_that_the_ensemble_never_saw(read, path, keys, name):
    """That of no source, whichever network it is, and not its own."""
    line = fault(read, family(f"adversarial: adv, ensemble: ens, {keys.format(name)}"))
    rule = "has the architecture of a source of ens; take another"
    assert line == f"{path}: study: a: hold-out {name} {rule}"


@pytest.mark.parametrize("name", ["a", "adv"])
def test_an_ensemble_has_sources(read, path, name):
    line = fault(read, family(f"adversarial: adv, ensemble: {name}, holdouts: [held]"))
    assert line.startswith(f"{path}: study: a: ensemble {name} has no static sources, so it is none; ")


def test_a_file_that_is_not_there(path):
    assert fault(read_recipe, path) == f"{path}: cannot be read: No such file or directory"


# --- the project's own recipes

LABELS = {"digits": "digits", "mnist": "digits", "cifar10": "cifar10"}


@pytest.fixture(params=names())
def shipped(request):
    return read_recipe(RECIPES / f"{request.param}.yaml")


def test_there_are_recipes():
    assert names() == ["cifar10", "digits", "mnist"]


def test_networks_of_a_shipped_recipe_are_for_its_data(shipped):
    spaces = {SMALL[model.architecture]().labels.name for model in shipped.networks.values()}
    assert spaces == {LABELS[shipped.data]}


def test_hold_outs_of_a_shipped_recipe_are_of_architectures_that_were_no_source(shipped):
    for family in shipped.study.families.values():
        seen = {shipped.networks[name].architecture for name in shipped.networks[family.ensemble].sources}
        holdouts = [*family.holdouts, *family.adversarial_holdouts]
        assert not seen & {shipped.networks[name].architecture for name in holdouts}


def test_the_three_networks_of_a_family_are_comparable(shipped):
    for plain, family in shipped.study.families.items():
        first, second, third = (shipped.networks[name] for name in family.members(plain))
        assert first.architecture == second.architecture == third.architecture
        assert first.adversary is None
        assert second.adversary.sources == []
        assert third.adversary.sources
        assert second.adversary.epsilon == third.adversary.epsilon


def test_adversarial_hold_outs_are_adversarially_trained(shipped):
    for family in shipped.study.families.values():
        assert all(shipped.networks[name].adversary for name in family.adversarial_holdouts)
        assert not any(shipped.networks[name].adversary for name in family.holdouts)
