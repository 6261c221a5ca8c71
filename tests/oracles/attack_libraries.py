"""The attacks of torchattacks, cleverhans and foolbox behind one signature, for `attacks.py` beside this file.

Where a library has an attack only in part (no start of one's own, no other loss), the part is put in where that
library lets a subclass do so, and the name says it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import eagerpy
import torchattacks
from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.torch.attacks.projected_gradient_descent import projected_gradient_descent
from foolbox import Misclassification, PyTorchModel, TargetedMisclassification
from foolbox.attacks import LinfMomentumIterativeFastGradientMethod, LinfProjectedGradientDescentAttack
from foolbox.attacks.carlini_wagner import best_other_classes
from torch import Tensor, nn


@dataclass(frozen=True)
class Given:
    """One batch to attack. x and start: N x 3 x height x width, 0..1; epsilon and step are on that scale too."""

    network: nn.Module
    x: Tensor
    classes: Tensor
    towards: bool
    start: Tensor
    epsilon: float
    steps: int
    step: float


Reference = Callable[[Given], Tensor]


def of_torchattacks(kind: type[torchattacks.attack.Attack], **parameters: object) -> Reference:
    """An attack of torchattacks: with a step and steps of its own, or (FGSM) without."""

    def attack(given: Given) -> Tensor:
        steps = {} if kind is torchattacks.FGSM else {"alpha": given.step, "steps": given.steps}
        attack = kind(given.network, eps=given.epsilon, **steps, **parameters)
        if given.towards:
            attack.set_mode_targeted_by_label(quiet=True)
        return attack(given.x, given.classes)

    return attack


def cleverhans_iterative(given: Given) -> Tensor:
    """The basic iterative method of cleverhans; with one step of size epsilon it is FGSM."""
    settings = {"norm": float("inf"), "clip_min": 0.0, "clip_max": 1.0, "y": given.classes, "targeted": given.towards}
    return projected_gradient_descent(
        given.network, given.x, given.epsilon, given.step, given.steps, rand_init=False, **settings
    ).detach()


def cleverhans_single(given: Given) -> Tensor:
    """One step of cleverhans from the start."""
    settings = {"norm": float("inf"), "clip_min": 0.0, "clip_max": 1.0, "y": given.classes, "targeted": given.towards}
    return fast_gradient_method(given.network, given.start, given.step, **settings).detach()


def foolbox_margin(logits: eagerpy.Tensor, classes: eagerpy.Tensor) -> eagerpy.Tensor:
    """The margin of foolbox's Carlini-Wagner attack, summed."""
    rows = range(logits.shape[0])
    return (logits[rows, best_other_classes(logits, classes)] - logits[rows, classes]).sum()


def minus_logit(logits: eagerpy.Tensor, classes: eagerpy.Tensor) -> eagerpy.Tensor:
    """Minus the logits of the classes, summed."""
    return -logits[range(logits.shape[0]), classes].sum()


def cross_entropy(logits: eagerpy.Tensor, classes: eagerpy.Tensor) -> eagerpy.Tensor:
    """The loss of foolbox itself."""
    return eagerpy.crossentropy(logits, classes).sum()


def of_foolbox(loss: Callable[..., eagerpy.Tensor] = cross_entropy) -> Reference:
    """PGD of foolbox from the given start, on a loss."""

    def attack(given: Given) -> Tensor:
        class FromStart(LinfProjectedGradientDescentAttack):
            get_loss_fn = _loss_of(loss)

            def get_random_start(self, x0: eagerpy.Tensor, epsilon: float) -> eagerpy.Tensor:
                return eagerpy.astensor(given.start)

        return _run(FromStart(abs_stepsize=given.step, steps=given.steps, random_start=True), given)

    return attack


def foolbox_momentum(given: Given) -> Tensor:
    """MI-FGSM as foolbox has it."""
    attack = LinfMomentumIterativeFastGradientMethod(abs_stepsize=given.step, steps=given.steps, random_start=False)
    return _run(attack, given)


def of_foolbox_momentum(loss: Callable[..., eagerpy.Tensor] = cross_entropy) -> Reference:
    """MI-FGSM of foolbox on a loss, with the gradient divided by its mean absolute value as the paper has it."""

    class ByMean(LinfMomentumIterativeFastGradientMethod):
        get_loss_fn = _loss_of(loss)

        def normalize(self, gradients: eagerpy.Tensor, **others: object) -> eagerpy.Tensor:
            return gradients / gradients.abs().mean(axis=(1, 2, 3), keepdims=True)

    return lambda given: _run(ByMean(abs_stepsize=given.step, steps=given.steps, random_start=False), given)


def _loss_of(loss: Callable[..., eagerpy.Tensor]) -> Callable[..., Callable[[eagerpy.Tensor], eagerpy.Tensor]]:
    return lambda attack, model, classes: lambda x: loss(model(x), classes)


def _run(attack: LinfProjectedGradientDescentAttack, given: Given) -> Tensor:
    model = PyTorchModel(given.network, bounds=(0, 1), device=given.x.device)
    criterion = TargetedMisclassification if given.towards else Misclassification
    return attack.run(model, given.x, criterion(given.classes), epsilon=given.epsilon)


class ShiftedAlone(torchattacks.TIFGSM):
    """TI-FGSM of torchattacks without its diversity, and with its kernel in the precision of the network."""

    def __init__(self, network: nn.Module, **parameters: object) -> None:
        super().__init__(network, decay=1.0, len_kernel=15, nsig=3, diversity_prob=0.0, **parameters)
        self.stacked_kernel = self.stacked_kernel.to(next(network.parameters()).dtype)


# Submission -> library -> the same attack. Where a second word follows the library's, something was put in.
REFERENCES: dict[str, dict[str, Reference]] = {
    "fgsm": {
        "torchattacks": of_torchattacks(torchattacks.FGSM),
        "cleverhans": cleverhans_single,
        "foolbox": of_foolbox(),
    },
    "step_ll": {
        "torchattacks": of_torchattacks(torchattacks.FGSM),
        "cleverhans": cleverhans_single,
        "foolbox": of_foolbox(),
    },
    "r_fgsm": {"foolbox, our start": of_foolbox(), "cleverhans, our start": cleverhans_single},
    "r_step_ll": {"foolbox, our start": of_foolbox(), "cleverhans, our start": cleverhans_single},
    "ifgsm": {
        "torchattacks": of_torchattacks(torchattacks.BIM),
        "cleverhans": cleverhans_iterative,
        "foolbox": of_foolbox(),
    },
    "iter_ll": {
        "torchattacks": of_torchattacks(torchattacks.BIM),
        "cleverhans": cleverhans_iterative,
        "foolbox": of_foolbox(),
    },
    "pgd": {"foolbox, our start": of_foolbox()},
    "clipped_cw": {"foolbox, its margin as loss": of_foolbox(foolbox_margin)},
    "mi_fgsm": {
        "torchattacks": of_torchattacks(torchattacks.MIFGSM, decay=1.0),
        "foolbox, mean as norm": of_foolbox_momentum(),
        "foolbox": foolbox_momentum,
    },
    "ni_fgsm": {"torchattacks": of_torchattacks(torchattacks.NIFGSM, decay=1.0)},
    "ti_fgsm": {"torchattacks": of_torchattacks(ShiftedAlone)},
    "si_ni_fgsm": {"torchattacks": of_torchattacks(torchattacks.SINIFGSM, decay=1.0, m=5)},
    "step_target_class": {"torchattacks": of_torchattacks(torchattacks.FGSM), "cleverhans": cleverhans_single},
    "iter_target_class": {"torchattacks": of_torchattacks(torchattacks.BIM), "cleverhans": cleverhans_iterative},
    "mi_logit": {"foolbox, mean as norm, logit as loss": of_foolbox_momentum(minus_logit)},
}

# Submission -> the same kind of attack, with draws of its own.
RANDOM: dict[str, Reference] = {
    "pgd": of_torchattacks(torchattacks.PGD, random_start=True),
    "r_fgsm": of_torchattacks(torchattacks.RFGSM),
    "r_step_ll": of_torchattacks(torchattacks.RFGSM),
    "di_fgsm": of_torchattacks(torchattacks.DIFGSM, decay=1.0, resize_rate=1 / 1.1, diversity_prob=0.5),
    "vmi_fgsm": of_torchattacks(torchattacks.VMIFGSM, decay=1.0, N=5, beta=1.5),
    "vni_fgsm": of_torchattacks(torchattacks.VNIFGSM, decay=1.0, N=5, beta=1.5),
}
