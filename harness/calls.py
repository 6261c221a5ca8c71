"""One call of one submission from end to end: stage its input, run it, take its output into the store."""

import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from harness.dataset import LabelSpace
from harness.depot import Depot
from harness.images import ImageFaultError, Pixels, clip_to_budget, max_png_bytes, read_png, write_png
from harness.predictions import Answers, max_csv_bytes, parse_answers
from harness.records import Call, ImageAudit, Outcome, Prediction, Role, Slot, Verdict
from harness.sandbox import RESULT_FILE, Ending, Job, Sandbox
from harness.trees import copy_tree
from harness.validation import OutputFaultError, count_unknown, read_output

TARGETS_FILE = "target_class.csv"

Witness = Callable[[Call, str, Pixels, Pixels], None]
"""Is shown the call, the image's id, what the attack wrote for it, and the clean image; from several threads."""


def look_away(call: Call, image: str, adversarial: Pixels, clean: Pixels) -> None:
    """The witness that sees nothing."""


@dataclass(frozen=True)
class Arena:
    """What every call is played in. image_size: (width, height). pixels: the pool that decodes and encodes.

    witness: sees adversarial images as they were before they are forced into the budget.
    """

    sandbox: Sandbox
    depot: Depot
    image_size: tuple[int, int]
    labels: LabelSpace
    pixels: Executor
    witness: Witness = look_away

    def play(self, call: Call, slot: Slot, stop: threading.Event) -> Outcome:
        """Raises: InfrastructureError or OSError when our own side failed."""
        with self.depot.work_folder() as folder:
            job = self._stage(call, slot, folder)
            ending = self.sandbox.run(job, stop)
            if call.unit.role is Role.DEFENSE:
                answers = self._collect_answers(call, job.output)
                return _outcome(call, ending, predictions=answers.predictions, unknown=answers.unknown_rows)
            unknown = count_unknown(job.output, call.images)
            return _outcome(call, ending, images=self._collect_images(call, job.output), unknown=unknown)

    def _stage(self, call: Call, slot: Slot, folder: Path) -> Job:
        unit = call.unit
        inputs, output, code = folder / "input", folder / "output", folder / "code"
        inputs.mkdir()
        output.mkdir()
        self.depot.objects.bring(call.images.values())
        for name, digest in call.images.items():
            self._put(unit.role, digest, inputs / name)
        if call.targets is not None:
            lines = [f"{name},{target}\n" for name, target in call.targets.items()]
            (inputs / TARGETS_FILE).write_text("".join(lines))
            (inputs / TARGETS_FILE).chmod(0o644)
        # Links are safe where the submission runs as somebody who owns none of the files.
        copy_tree(call.code, code, link=self.sandbox.isolates and os.geteuid() == 0)
        return Job(
            secrets.token_hex(8), unit.role, unit.container, call.entry_point, code, inputs, output, unit.epsilon,
            unit.seed, unit.limits, call.seconds, slot.cores,
            slot.gpu if unit.gpu else None,
        )  # fmt: skip

    def _put(self, role: Role, digest: str, target: Path) -> None:
        """A hard link for an attack, where the sandbox keeps it from being written through; else a copy.

        A defense gets copies, made in the order of their names: the number and the birth time of a linked file
        would tell which images were made together, and so by which attack.
        """
        if self.sandbox.isolates and role is not Role.DEFENSE:
            self.depot.objects.link(digest, target)
        else:
            self.depot.objects.copy(digest, target)
            target.chmod(0o644)
            os.utime(target, ns=(0, 0))

    def _collect_images(self, call: Call, output: Path) -> tuple[ImageAudit, ...]:
        return tuple(self.pixels.map(lambda item: self._collect_image(call, output, *item), call.images.items()))

    def _collect_image(self, call: Call, output: Path, name: str, clean_digest: str) -> ImageAudit:
        """Takes one adversarial image into the store; where there is none to take, the clean one stands for it."""
        image = name.removesuffix(".png")
        try:
            data = read_output(output, name, max_png_bytes(*self.image_size))
            adversarial = read_png(data, self.image_size)
        except (OutputFaultError, ImageFaultError) as error:
            return ImageAudit(image, clean_digest, error.fault)
        clean = read_png(self.depot.objects.read(clean_digest), self.image_size)
        self.witness(call, image, adversarial, clean)
        canonical, found = clip_to_budget(adversarial, clean, call.unit.epsilon or 0)
        digest = self.depot.objects.add(write_png(canonical)) if found.linf else clean_digest
        return ImageAudit(image, digest, None, found.raw_linf, found.clipped, found.linf, found.l2, found.mean_abs)

    def _collect_answers(self, call: Call, output: Path) -> Answers:
        try:
            data = read_output(output, RESULT_FILE, max_csv_bytes(len(call.images)))
        except OutputFaultError as error:
            return Answers(tuple(Prediction(digest, None, error.fault) for digest in call.images.values()), 0)
        return parse_answers(data, call.images, self.labels)


def _outcome(
    call: Call,
    ending: Ending,
    *,
    images: tuple[ImageAudit, ...] = (),
    predictions: tuple[Prediction, ...] = (),
    unknown: int,
) -> Outcome:
    """A program that ended well but left a fault in its output did not end well."""
    faulty = any(image.fault for image in images) or any(answer.fault for answer in predictions)
    verdict = Verdict.BAD_OUTPUT if ending.verdict is Verdict.OK and faulty else ending.verdict
    return Outcome(
        call.unit.key, verdict, ending.exit_code, ending.seconds, ending.peak_memory, ending.log, images,
        predictions, unknown,
    )  # fmt: skip
