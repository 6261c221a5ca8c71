"""Checking a defense: its answers against the labels, and whether it is a function of one image."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.bench import Bench, Seat
from harness.check import honesty, labels, smoke, timing
from harness.check.conditions import Conditions
from harness.check.report import Check, Level, Report, count
from harness.plan import defense_call
from harness.preparation import Say
from harness.records import Call, Outcome

SINGLES, MORE_SINGLES = 2, 10
"""Images that are asked about one by one, few and with --full."""

OTHER_NAMES, OTHER_ORDER, OTHER_SIZE = "under other names", "in another order", "in another batch size"

NAMES_RULE = "its names say nothing of an image, and differ in every call; look at the pixels alone"
ORDER_RULE = "a defense is a function of one image; let nothing of one image reach another, as a running mean does"
BATCH_RULE = "a defense is a function of one image; freeze batch normalisation (model.eval()), compare no images"


@dataclass(frozen=True)
class DefenseCheck:
    """One defense at one bench."""

    bench: Bench
    seat: Seat
    conditions: Conditions
    report: Report
    say: Say
    played: list[Outcome] = field(default_factory=list)

    @property
    def ids(self) -> dict[str, str]:
        """Digest of a clean image -> its id; of equal pictures the first one's."""
        return {image.clean: image.id for image in reversed(self.bench.images)}

    def run(self) -> dict[str, int | None]:
        """Every check of a defense alone; digest of a clean image -> its answer, None where none counts."""
        digests, size = list(self.ids), self.conditions.tournament.batch_size
        batches = [digests[start : start + size] for start in range(0, len(digests), size)]
        calls = [defense_call(self.seat.player, batch, size) for batch in batches]
        outcomes = [self._play(call) for call in calls]
        how = f"{self.seat.player.name} on {count(len(digests), 'image')}"
        ids = self.ids
        limit = self.seat.player.limits.seconds
        well = smoke.judge(outcomes, ids, list(ids.values()), how, limit, self.report)
        answers = honesty.answers_of(*outcomes)
        self._judge(calls, answers, well)
        return answers

    def _play(self, call: Call, how: str = "") -> Outcome:
        self.say(f"asking {self.seat.player.name} about {count(len(call.images), 'image')}{how and f', {how}'}")
        outcome = self.seat.play(call)
        self.played.append(outcome)
        return outcome

    def _judge(self, calls: list[Call], answers: dict[str, int | None], well: bool) -> None:
        """Labels, honesty and time, for which every call counts."""
        pairs = [(answers[image.clean], image.true_label) for image in self.bench.images]
        labels.judge(pairs, self.bench.labels, self.report)
        if well:
            self._judge_honesty(calls, answers)
        else:
            self.report.add(Level.SKIPPED, Check.AGAIN, "honesty is not looked at: the smoke run did not end well")
        batch, cores = self.conditions.tournament.batch_size, len(self.seat.slot.cores)
        timing.judge(self.played, batch, self.seat.player.limits, cores, self.report)

    def _judge_honesty(self, calls: list[Call], answers: dict[str, int | None]) -> None:
        metadata = self.seat.player.submission.metadata
        judge = honesty.Judge(answers, self.ids, deterministic=metadata.deterministic, report=self.report)
        judge.again(self._played(calls, "the same again"))
        renamed = self._played(map(honesty.renamed, calls), OTHER_NAMES)
        judge.other(Check.NAMED, OTHER_NAMES, renamed, NAMES_RULE)
        reordered = [honesty.reordered(call) for call in calls if len(call.images) > 1]
        if not reordered:
            self.report.add(Level.SKIPPED, Check.ORDER, "one image has no order, and is a batch by itself")
            return
        judge.other(Check.ORDER, OTHER_ORDER, self._played(reordered, OTHER_ORDER), ORDER_RULE)
        most = MORE_SINGLES if self.conditions.full else SINGLES
        part = honesty.first_of(calls[0], len(calls[0].images) // 2)
        fewer = self._played([part, *honesty.singles(calls[0], most)], "fewer at a time")
        judge.other(Check.BATCH, OTHER_SIZE, fewer, BATCH_RULE)

    def _played(self, calls: Iterable[Call], how: str) -> list[Outcome]:
        return [self._play(call, how) for call in calls]
