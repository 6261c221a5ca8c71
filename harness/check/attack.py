"""Checking an attack: a run at each budget, what it did to the pixels, and whether it heeds its target classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from harness.bench import Bench, Seat
from harness.check import budget, smoke, timing
from harness.check.conditions import Conditions
from harness.check.report import Check, Level, Report, count
from harness.digest import digest_bytes
from harness.images import Pixels
from harness.plan import attack_call
from harness.preparation import Say
from harness.records import Call, ImageAudit, Outcome, Role
from harness.round import RoundImage


@dataclass
class Eyes:
    """Keeps the digest and the histogram of every adversarial image, as it was before the referee clipped it."""

    seen: dict[tuple[int, str], tuple[str, budget.Histogram]] = field(default_factory=dict)

    def witness(self, call: Call, image: str, adversarial: Pixels, clean: Pixels) -> None:
        digest = digest_bytes(adversarial.tobytes())
        self.seen[call.unit.epsilon or 0, image] = digest, budget.differences(adversarial, clean)

    def histograms(self, epsilon: int) -> dict[str, budget.Histogram]:
        """Image id -> its histogram at that budget, in the order of ids."""
        return {image: self.seen[at, image][1] for at, image in sorted(self.seen) if at == epsilon}

    def digests(self, epsilon: int) -> dict[str, str]:
        """Image id -> digest of its pixels at that budget."""
        return {image: self.seen[at, image][0] for at, image in self.seen if at == epsilon}


@dataclass(frozen=True)
class AttackCheck:
    """One attack at one bench."""

    bench: Bench
    seat: Seat
    conditions: Conditions
    eyes: Eyes
    report: Report
    say: Say

    @property
    def targeted(self) -> bool:
        return self.seat.player.submission.role is Role.TARGETED_ATTACK

    def run(self) -> dict[int, list[ImageAudit]]:
        """Every check of an attack alone; what it made at each budget, as far as that was valid."""
        made: dict[int, list[ImageAudit]] = {}
        for epsilon in self.conditions.budgets:
            outcomes = self._play(epsilon)
            how = f"{self.seat.player.name} on {count(len(self.bench.images), 'image')} at epsilon {epsilon}"
            ids, limit = [image.id for image in self.bench.images], self.seat.player.limits.seconds
            well = smoke.judge(outcomes, {}, ids, how, limit, self.report)
            made[epsilon] = [audit for outcome in outcomes for audit in outcome.images if not audit.fault]
            if epsilon == self.conditions.budgets[0]:
                self._time(epsilon, outcomes[0], well)
        for epsilon in self.conditions.budgets:
            budget.audit(self.eyes.histograms(epsilon), epsilon, self.report)
        return made

    def _play(self, epsilon: int) -> list[Outcome]:
        size = self.conditions.tournament.batch_size
        images = self.bench.images
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        outcomes = []
        for number, batch in enumerate(batches):
            place = f", batch {number + 1} of {len(batches)}" if len(batches) > 1 else ""
            self.say(f"{self.seat.player.name} attacks {count(len(batch), 'image')} at epsilon {epsilon}{place}")
            outcomes.append(self.seat.play(attack_call(self.seat.player, epsilon, number, batch)))
        return outcomes

    def _time(self, epsilon: int, first: Outcome, well: bool) -> None:
        """A smaller call, once more where it was no faster: for its time, and to see whether other targets matter."""
        size = len(first.images)
        few = self.bench.images[: size // 4 or 1]
        other = [replace(image, target_class=self._other_class(image)) for image in few] if self.targeted else few
        played = [first]
        seen, before = dict(self.eyes.seen), self.eyes.digests(epsilon)
        while well and size > 1 and len(played) < 3 and played[-1].seconds >= first.seconds:
            self.say(f"{self.seat.player.name} attacks {count(len(few), 'image')}, to see what an image costs")
            played.append(self.seat.play(attack_call(self.seat.player, epsilon, 0, tuple(other))))
        after, self.eyes.seen = self.eyes.digests(epsilon), seen
        batch, limits, cores = self.conditions.tournament.batch_size, self.seat.player.limits, len(self.seat.slot.cores)
        well = smoke.all_well(played[1:], Check.VERDICT, f"on {count(len(few), 'image')}", self.report)
        timing.judge(played, batch, limits, cores, self.report)
        if self.targeted and well and len(played) > 1:
            self._judge_targets([(image.id, before[image.id] == after[image.id]) for image in few])

    def _other_class(self, image: RoundImage) -> int:
        """A class that is neither its target nor, where there are more than two, its true label."""
        labels = self.bench.labels
        others = (labels.first + (image.target_class - labels.first + step) % labels.count for step in (1, 2))
        first, second = others
        return second if first == image.true_label and labels.count > 2 else first

    def _judge_targets(self, images: Sequence[tuple[str, bool]]) -> None:
        """images: (id, whether the very same pixels came out for another target): those heed no target."""
        same = [image for image, is_same in images if is_same]
        values = {"compared": len(images), "same": len(same)}
        if len(same) == len(images):
            text = (
                f"the same {count(len(same), 'image')} came out for other target classes: target_class.csv of the "
                "input folder is not heeded; read its lines IMAGE.png,CLASS"
            )
            self.report.add(Level.ERROR, Check.TARGETS, text, images=same, values=values)
        else:
            text = f"{len(images) - len(same)} of {count(len(images), 'image')} came out otherwise for another target"
            self.report.add(Level.OK, Check.TARGETS, f"{text}, so target_class.csv is read", values=values)
