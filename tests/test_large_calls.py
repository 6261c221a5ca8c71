"""Where starting a defense takes most of its call, it is given several batches at once, and nobody is the worse for it:
it sees one version of a picture, has the time of as many batches, and where it fails it is asked again by the batch."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from helpers import FakeSandbox, ShuffledExecutor, open_field, write_dataset, write_players

from harness.pace import MOST_BATCHES, SUCCESSES
from harness.records import Limits, Role, Verdict
from harness.sandbox import RESULT_FILE

PICTURES, ATTACKS, BATCH = 10, 5, 1


class Slow(FakeSandbox):
    """A call takes ten seconds to start and a hundredth for each image. With more than `most` images a defense ends as
    `verdict` says, half of its answers missing."""

    def __init__(self, most=1000, verdict=Verdict.TIMEOUT):
        super().__init__()
        self._most, self._verdict = most, verdict

    def run(self, job, stop):
        ending = super().run(job, stop)
        count = len(self.seen[-1])
        ending = replace(ending, seconds=10 + 0.01 * count)
        if job.role is not Role.DEFENSE or count <= self._most:
            return ending
        result = job.output / RESULT_FILE
        result.write_text("".join(result.read_text().splitlines(keepends=True)[: count // 2]))
        return replace(ending, verdict=self._verdict)


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "dataset", PICTURES)
    write_players(tmp_path / "players", [f"shift {number + 1}" for number in range(ATTACKS)], defenses=("sum", "sum 2"))
    return tmp_path


def play(folder, sandbox, slots=2):
    with open_field(folder, sandbox, batch_size=BATCH) as field:
        executor = ShuffledExecutor(field.arena.play, slots)
        field.play(executor)
        assert field.predictions() == field.answers()
        pictures = {image.clean: image.id for image in field.prepared.round.images}
        for key in field.prepared.round.unit_keys():
            pictures |= {audit.digest: audit.image for audit in field.store.index.audits(key)}
        calls = [call for call in executor.submitted if call.unit.role is Role.DEFENSE]
        recorded = list(field.store.index.calls({entry.player for entry in field.prepared.round.defenses}))
        return calls, recorded, pictures, field.listener


def test_calls_grow_and_have_one_version_of_a_picture_and_the_time_of_their_batches(folder):
    calls, recorded, pictures, listener = play(folder, Slow())
    sizes = [len(call.images) for call in calls]
    assert max(sizes) == BATCH * MOST_BATCHES
    assert sizes[:SUCCESSES] == [BATCH] * SUCCESSES
    assert len(recorded) == len(calls) < PICTURES * (ATTACKS + 1) / BATCH
    for call in calls:
        assert call.seconds == Limits().seconds * -(-len(call.images) // BATCH)
        assert set(Counter(pictures[digest] for digest in call.images.values()).values()) == {1}
    assert listener.failures == []


def test_where_slots_would_be_left_without_work_calls_stay_small(folder):
    calls, *_ = play(folder, Slow(), slots=2 * PICTURES)
    assert {len(call.images) for call in calls} == {BATCH}


@pytest.mark.parametrize(
    ("most", "verdict"), [(BATCH, Verdict.TIMEOUT), (3 * BATCH, Verdict.OUT_OF_MEMORY), (BATCH, Verdict.BAD_OUTPUT)]
)
def test_a_large_call_that_fails_is_never_scored_and_is_asked_again_by_the_batch(folder, verdict, most):
    calls, recorded, _, listener = play(folder, Slow(most, verdict))
    by_player = defaultdict(list)
    for call in calls:
        by_player[call.unit.player].append(call)
    failures = Counter(call.unit.player for call, _, _ in listener.failures)
    assert failures.keys() == by_player.keys()
    assert all(1 <= count <= 2 for count in failures.values())  # the second was under way beside the first
    assert len(recorded) == len(calls) - failures.total()
    assert {call.verdict for call in recorded} == {Verdict.OK}
    assert max(call.images for call in recorded) <= most
    asked = Counter((call.unit.player, digest) for call in calls for digest in call.images.values())
    lost = Counter((call.unit.player, digest) for call, _, _ in listener.failures for digest in call.images.values())
    assert set((asked - lost).values()) == {1}
    assert all(again and "asked again in batches" in str(error) for _, error, again in listener.failures)


def test_what_fails_in_a_batch_counts(folder):
    with open_field(folder, Slow(0), batch_size=BATCH) as field:
        field.play()
        recorded = list(field.store.index.calls({entry.player for entry in field.prepared.round.defenses}))
    assert {call.verdict for call in recorded} == {Verdict.TIMEOUT}
    assert max(call.images for call in recorded) <= BATCH
    assert field.listener.failures == []


def test_where_a_call_takes_all_versions_anyway_its_failure_counts(folder):
    with open_field(folder, Slow(BATCH), batch_size=BATCH) as field:
        field.play(all_versions=True)
        recorded = list(field.store.index.calls({entry.player for entry in field.prepared.round.defenses}))
    assert Verdict.TIMEOUT in {call.verdict for call in recorded}
    assert field.listener.failures == []
