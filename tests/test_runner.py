"""In whatever order calls end, the same is known at the end: every defense's answer on every image, asked for once. And
a failure of our own side is tried again, never scored, and never ends in a hang."""

import errno
import itertools
import random
import secrets
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import pytest
from helpers import FakeSandbox, ShuffledExecutor, label_of, open_field, write_dataset, write_players, write_submission
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import runner as runner_module
from harness.assembly import assemble, read_audits
from harness.calls import TARGETS_FILE
from harness.errors import EngineUnavailableError, InfrastructureError, StoreDamagedError, UserError
from harness.executors.local import LocalExecutor, share_out
from harness.known import known_attack_calls
from harness.leaderboard import build_leaderboard
from harness.records import Fault, Role
from harness.runner import MAX_ATTEMPTS, MAX_CHECKS


@pytest.fixture(autouse=True, scope="module")
def no_waiting():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(runner_module, "BACK_OFF_SECONDS", 0)
        yield


@pytest.fixture
def folder(tmp_path):
    """Five pictures; three attacks of which one does nothing, a targeted one, two defenses of different code."""
    write_dataset(tmp_path / "dataset", 5)
    write_players(tmp_path / "players", ("noop", "shift 3", "shift 9"), ("shift -2",), ("sum", "sum twice"))
    return tmp_path


def board_of(field):
    round_ = field.prepared.round
    audits = read_audits(round_, field.store.index)
    return build_leaderboard(round_, assemble(round_, field.store.index), audits, "fair")


def ledger_of(field):
    return list(field.store.index.calls(field.prepared.round.players()))


def calls_of(executor, role):
    return [call for call in executor.submitted if (call.unit.role is Role.DEFENSE) is (role == "defense")]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("slots", "batch_size", "versions"), [(1, 5, 1), (3, 2, 1), (4, 1, 1), (3, 2, "all")])
def test_the_order_in_which_calls_end_does_not_matter(folder, seed, slots, batch_size, versions):
    with open_field(folder, batch_size=batch_size, epsilon=[2, 4]) as field:
        executor = ShuffledExecutor(field.arena.play, slots, seed)
        field.play(executor, all_versions=versions == "all")
        assert field.predictions() == field.answers()
        assert board_of(field)["complete"]
        assert executor.closed
        asked = Counter((call.unit.player, d) for call in calls_of(executor, "defense") for d in call.images.values())
        assert asked == Counter(field.answers().keys())


def test_the_board_is_the_same_bytes_whatever_the_order(folder):
    boards = []
    for seed in range(4):
        with open_field(folder, output=f"out{seed}", batch_size=2) as field:
            field.play(ShuffledExecutor(field.arena.play, 1 + seed, seed))
            boards.append(board_of(field))
    assert boards[0] == boards[1] == boards[2] == boards[3]


class Flaky:
    """Fails calls by a draw, at most `most` times each: before the submission is run, or when it has ended."""

    def __init__(self, play, seed, most):
        self._play, self._random, self._most = play, random.Random(seed), most
        self.failures = Counter()

    def __call__(self, call, slot, stop):
        key = call.unit.key
        kind = self._random.choice(["fine", "fine", "before", "after"]) if self.failures[key] < self._most else "fine"
        if kind == "before":
            self._fail(key)
        outcome = self._play(call, slot, stop)
        if kind == "after":
            self._fail(key)
        return outcome

    def _fail(self, key):
        self.failures[key] += 1
        raise self._random.choice([InfrastructureError("gone"), OSError(errno.EIO, "I/O error")])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Dataset and players, and for each way to play them the board and the answers of a quiet run on one slot."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_dataset(folder / "dataset", 5)
    write_players(folder / "players", ("noop", "shift 3", "shift 9"), ("shift -2",), ("sum", "sum twice"))

    @cache
    def play(batch_size):
        with open_field(folder, output=f"quiet{batch_size}", batch_size=batch_size) as field:
            field.play()
            return board_of(field), field.predictions()

    return folder, play


class BrokenOff(ShuffledExecutor):
    """Ctrl-C after so many calls."""

    def __init__(self, play, slots, seed, calls):
        super().__init__(play, slots, seed)
        self._left = calls

    def wait(self, seconds):
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return super().wait(seconds)


@given(
    order=st.integers(0, 2**32),
    slots=st.integers(1, 7),
    batch_size=st.integers(1, 5),
    all_versions=st.booleans(),
    most=st.integers(0, MAX_ATTEMPTS + 1),  # failures of a call
    breaks=st.lists(st.integers(0, 40), max_size=3),
)
@settings(max_examples=20)
def test_any_order_of_ends_failures_and_breaks_gives_the_same_board(
    undisturbed, order, slots, batch_size, all_versions, most, breaks
):
    """The same command is given until all is known; some runs are broken off, in others calls are given up."""
    folder, quiet = undisturbed
    output, asked, attempts = f"out-{secrets.token_hex(4)}", Counter(), 0
    for number in range(20):
        with open_field(folder, output=output, batch_size=batch_size) as field:
            flaky = Flaky(field.arena.play, order + number, most if number < 10 else 0)
            calls = breaks[number] if number < len(breaks) else -1
            with suppress(KeyboardInterrupt):
                runner = field.play(BrokenOff(flaky, slots, order + number, calls), all_versions=all_versions)
                hopeless = [key for key, failures in flaky.failures.items() if failures >= MAX_ATTEMPTS]
                assert len(runner.given_up) == len(hopeless)
                assert bool(hopeless) is not board_of(field)["complete"]
            attempts += len(field.listener.failures)
            assert len(field.store.index.attempts(field.prepared.round.players())) == attempts
            for call, _ in field.listener.ends:
                asked.update((call.unit.player, digest) for digest in call.images.values())
            found = board_of(field), field.predictions()
        if found[0]["complete"]:
            break
    shutil.rmtree(folder / output)
    assert found == quiet(batch_size)
    defenses = {player for player, _ in found[1]}
    assert {count for (player, _), count in asked.items() if player in defenses} == {1}


def test_real_threads_give_the_same(folder):
    with open_field(folder, batch_size=2) as field:
        field.play(LocalExecutor(share_out(4, [0], []), field.arena.play, field.sandbox))
        assert field.predictions() == field.answers()


def test_a_call_that_is_played_twice_at_once_counts_once(folder):
    """As a cluster does it that takes a machine for lost while it still plays."""
    with open_field(folder, batch_size=2) as field:
        field.play()
        once = board_of(field)
    shutil.rmtree(folder / "out")

    def twice(call, slot, stop):
        both = [pool.submit(field.arena.play, call, slot, stop) for _ in range(2)]
        first, second = (one.result() for one in both)
        assert (first.images, first.predictions) == (second.images, second.predictions)
        return second

    with open_field(folder, batch_size=2) as field, ThreadPoolExecutor(4) as pool:
        field.play(LocalExecutor(share_out(2, [0], []), twice, field.sandbox))
        assert len(field.sandbox.jobs) == 2 * len(ledger_of(field))
        assert (board_of(field), field.predictions()) == (once, field.answers())
        assert list(field.store.work.iterdir()) == []


class Coming(ShuffledExecutor):
    """A cluster whose machines come and go: at every other look there is none that could take a call."""

    looks = 0

    @property
    def free_slots(self):
        return super().free_slots if self.looks % 2 else 0

    def submit(self, call):
        self._running.append(call)
        self.looks += 1

    def wait(self, seconds):
        self.looks += 1
        return super().wait(seconds)


def test_a_run_goes_on_where_there_is_no_slot_for_a_while(folder):
    with open_field(folder, batch_size=2) as field:
        field.play(Coming(field.arena.play))
        assert field.predictions() == field.answers()
        assert board_of(field)["complete"]


@pytest.mark.parametrize("seed", range(3))
def test_a_defense_never_sees_two_versions_of_a_picture_at_once(folder, seed):
    with open_field(folder, batch_size=4) as field:
        executor = ShuffledExecutor(field.arena.play, 2, seed)
        field.play(executor)
        pictures = {}
        for key in field.prepared.round.unit_keys():
            pictures |= {audit.digest: audit.image for audit in field.store.index.audits(key)}
        for call in calls_of(executor, "defense"):
            seen = [pictures[digest] for digest in call.images.values()]
            assert len(set(seen)) == len(seen)


def test_what_each_role_finds_in_its_input(folder):
    sandbox = FakeSandbox()
    with open_field(folder, sandbox) as field:
        field.play()
    names = [f"img{number}.png" for number in range(5)]
    for job, seen in zip(sandbox.jobs, sandbox.seen, strict=True):
        if job.role is Role.DEFENSE:
            assert not any("img" in name for name in seen)
            assert TARGETS_FILE not in seen
        else:
            assert [name for name in seen if name != TARGETS_FILE] == names
            assert (TARGETS_FILE in seen) is (job.role is Role.TARGETED_ATTACK)


def test_attacks_go_first_and_defenses_do_not_wait_for_all_of_them(folder):
    """With more slots than attacks, defenses label the clean images meanwhile."""
    with open_field(folder) as field:
        executor = ShuffledExecutor(field.arena.play, 6)
        field.play(executor)
        roles = [call.unit.role for call in executor.submitted[:6]]
        assert roles == [Role.ATTACK] * 3 + [Role.TARGETED_ATTACK] + [Role.DEFENSE] * 2


@pytest.mark.parametrize(
    ("versions", "order"),
    [(1, "a0 a1 a2 d0 d1 t0 d0 d1 d0 d1 d0 d1"), ("all", "a0 a1 a2 t0 d0 d1")],
    ids=["mixed", "all-versions"],
)
def test_a_defense_waits_until_its_call_mixes_attacks_or_none_are_left(folder, versions, order):
    """One slot: after a1 and a2 there are three versions of each picture, the clean one among them."""
    with open_field(folder) as field:
        executor = ShuffledExecutor(field.arena.play)
        field.play(executor, all_versions=versions == "all")
        assert " ".join(call.label.split()[0] for call in executor.submitted) == order


def test_where_no_attack_is_left_the_longest_queue_goes_first(folder):
    with open_field(folder) as field:
        field.play()
    write_submission(folder / "players" / "d2", "defense", "#!fake sum thrice")
    write_submission(folder / "players" / "a9", "attack", "#!fake shift 1")
    with open_field(folder, FakeSandbox(Trouble(InfrastructureError("gone"), 99, Role.ATTACK))) as field:
        executor = ShuffledExecutor(field.arena.play)
        field.play(executor)
        assert {call.label.split()[0] for call in calls_of(executor, "defense")} == {"d2"}


# --- nobody waits for a call that has nothing to do with them


def test_a_due_retry_is_not_kept_waiting_by_a_long_call(tmp_path):
    """The attack ends only after the defense that failed beside it was called again."""
    write_dataset(tmp_path / "dataset", 3)
    write_players(tmp_path / "players", ("shift 3",), (), ("sum",))
    failed, again = threading.Event(), threading.Event()

    def trouble(job):
        if job.role is Role.ATTACK:
            assert again.wait(60), "the defense was kept waiting"
        elif failed.is_set():
            again.set()
        else:
            failed.set()
            raise InfrastructureError("the engine coughed")

    with open_field(tmp_path, FakeSandbox(trouble)) as field:
        field.play(LocalExecutor(share_out(2, [0], []), field.arena.play, field.sandbox))
        assert field.predictions() == field.answers()


def test_the_display_is_told_how_far_it_is_while_a_call_takes_long(tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "LOOK_SECONDS", 0.01)
    write_dataset(tmp_path / "dataset", 3)
    write_players(tmp_path / "players", ("noop",), (), ("sum",))
    enough = threading.Event()
    with open_field(tmp_path, FakeSandbox(lambda job: enough.wait(60))) as field:
        progress = field.listener.progress

        def count(*told):
            progress(*told)
            if len(field.listener.progresses) > 20:
                enough.set()

        monkeypatch.setattr(field.listener, "progress", count)
        field.play(LocalExecutor(share_out(1, [0], []), field.arena.play, field.sandbox))
        assert len(field.listener.progresses) > 20
        assert len(field.listener.ends) == 2


class Clock:
    """Stands for the module `time`, and for an executor whose waiting takes just as long as it was asked to."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_the_display_is_told_while_there_is_nothing_but_a_retry_to_wait_for(folder, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(runner_module, "time", clock)
    monkeypatch.setattr(runner_module, "BACK_OFF_SECONDS", 30.25)

    class Waiting(ShuffledExecutor):
        def wait(self, seconds):
            if not self.running:
                clock.sleep(seconds)
            return super().wait(seconds)

    with open_field(folder, FakeSandbox(Trouble(InfrastructureError("gone"), 99, Role.DEFENSE))) as field:
        told = []
        monkeypatch.setattr(field.listener, "progress", lambda *_: told.append(clock.now))
        field.play(Waiting(field.arena.play))
        assert clock.now == 3 * 30.25, "a retry is made when it is due and not at the next look"
        gaps = [after - before for before, after in itertools.pairwise(told)]
        assert max(gaps) <= runner_module.LOOK_SECONDS + 1e-6


def test_a_due_retry_that_has_no_slot_does_not_keep_the_runner_busy(folder, monkeypatch):
    """Waiting for no time at all, again and again, would take a core from the calls themselves."""
    clock = Clock()
    monkeypatch.setattr(runner_module, "time", clock)
    monkeypatch.setattr(runner_module, "BACK_OFF_SECONDS", 3.0)
    waits = []

    class Slow(ShuffledExecutor):
        def wait(self, seconds):
            clock.sleep(seconds)
            waits.append((self.free_slots, seconds))
            return super().wait(seconds) if len(waits) % 8 == 0 else None

    with open_field(folder, FakeSandbox(Trouble(InfrastructureError("gone"), 1))) as field:
        field.play(Slow(field.arena.play))
        assert field.predictions() == field.answers()
        assert {seconds for free, seconds in waits if not free} == {runner_module.LOOK_SECONDS}


# --- what is known is not asked again


def test_a_second_run_calls_nobody(folder):
    with open_field(folder) as field:
        field.play()
        before = board_of(field)
    with open_field(folder) as field:
        executor = ShuffledExecutor(field.arena.play)
        runner = field.play(executor)
        assert executor.submitted == []
        assert runner.calls.total() == 0
        assert board_of(field) == before


def test_renaming_everybody_calls_nobody(folder):
    with open_field(folder) as field:
        field.play()
    for path in sorted((folder / "players").iterdir()):
        path.rename(path.with_name(f"new-{path.name}"))
    with open_field(folder, name="renamed") as field:
        assert field.play().calls.total() == 0
        assert board_of(field)["complete"]


def test_a_new_defense_costs_its_own_calls_alone(folder):
    with open_field(folder) as field:
        field.play()
    write_submission(folder / "players" / "d9", "defense", "#!fake sum thrice")
    with open_field(folder) as field:
        runner = field.play()
        assert list(runner.calls) == [field.prepared.round.defenses[2].player]
        assert board_of(field)["complete"]


def test_a_new_attack_costs_its_calls_and_the_labels_of_its_images(folder):
    with open_field(folder) as field:
        field.play()
    write_submission(folder / "players" / "a9", "attack", "#!fake shift 1")
    with open_field(folder) as field:
        executor = ShuffledExecutor(field.arena.play)
        field.play(executor)
        assert len(calls_of(executor, "attack")) == 1
        assert [len(call.images) for call in calls_of(executor, "defense")] == [5, 5]
        assert board_of(field)["complete"]


@pytest.mark.parametrize("program", ["noop", "nothing", "shift 0"])
def test_an_attack_that_changes_nothing_costs_no_call_of_a_defense(tmp_path, program):
    write_dataset(tmp_path / "dataset", 5)
    write_players(tmp_path / "players", ("shift 3",), (), ("sum",))
    with open_field(tmp_path) as field:
        field.play()
    write_submission(tmp_path / "players" / "a9", "attack", f"#!fake {program}")
    with open_field(tmp_path) as field:
        executor = ShuffledExecutor(field.arena.play)
        field.play(executor)
        assert [call.unit.role for call in executor.submitted] == [Role.ATTACK]
        assert board_of(field)["complete"]


def test_one_and_the_same_code_under_two_names_is_called_once(tmp_path):
    write_dataset(tmp_path / "dataset", 5)
    write_players(tmp_path / "players", ("shift 3", "shift 3"), (), ("sum", "sum"))
    with open_field(tmp_path) as field:
        executor = ShuffledExecutor(field.arena.play, 3)
        runner = field.play(executor)
        assert len(calls_of(executor, "attack")) == 1
        assert sum(len(call.images) for call in calls_of(executor, "defense")) == 10
        board = board_of(field)
        assert board["complete"]
        assert [row["rank"] for row in board["defenses"]] == [1, 1]
        assert runner.calls.total() == len(executor.submitted)


def test_an_attack_whose_images_are_gone_is_called_again(folder):
    with open_field(folder) as field:
        field.play()
        shifted = field.prepared.round.attacks[1]
        lost = field.store.index.audits(shifted.units[0][0])[2].digest
        field.store.objects.remove([lost])
    with open_field(folder) as field:
        round_ = field.prepared.round
        known = known_attack_calls(round_, field.store)  # what `harness plan` says
        assert set(known) == set(round_.unit_keys()) - {shifted.units[0][0]}
        for key, images in known.items():
            assert field.store.index.digests(images) == [audit.digest for audit in field.store.index.audits(key)]
        executor = ShuffledExecutor(field.arena.play)
        field.play(executor)
        assert [call.unit.key for call in executor.submitted] == [shifted.units[0][0]]
        assert lost in set(field.store.objects.digests())
        assert set(known_attack_calls(round_, field.store)) == set(round_.unit_keys())


def test_before_the_first_run_no_call_is_known_and_those_of_others_never_are(folder):
    with open_field(folder) as field:
        assert known_attack_calls(field.prepared.round, field.store) == {}
        field.play()
    with open_field(folder, epsilon=9) as field:
        assert known_attack_calls(field.prepared.round, field.store) == {}


# --- what came out


def test_images_are_forced_into_the_budget_and_audited(folder):
    with open_field(folder, epsilon=4) as field:
        field.play()
        round_ = field.prepared.round
        audits = {entry.name: field.store.index.audits(entry.units[0][0]) for entry in round_.attacks}
        clean = [image.clean for image in round_.images]
        assert [audit.digest for audit in audits["a0"]] == clean
        assert [(audit.raw_linf, audit.linf, audit.clipped) for audit in audits["a1"]] == [(3, 3, 0)] * 5
        for audit in audits["a2"]:
            assert (audit.raw_linf, audit.linf) == (9, 4)
            assert audit.clipped > 0


def test_what_is_missing_is_a_fault_of_each_image_and_the_clean_one_stands_in(tmp_path):
    write_dataset(tmp_path / "dataset", 3)
    write_players(tmp_path / "players", ("nothing",), (), ("sum",))
    with open_field(tmp_path) as field:
        field.play()
        ((_, outcome), *_) = [end for end in field.listener.ends if end[0].unit.role is Role.ATTACK]
        assert (outcome.verdict, outcome.faults) == ("bad_output", {Fault.MISSING: 3})
        table = assemble(field.prepared.round, field.store.index)
        assert not table.valid.any()
        assert (table.labels[0, 0] == table.clean).all()
        assert table.clean[0].tolist() == [label_of(field.pixels(i.clean)) for i in field.prepared.round.images]


@pytest.mark.parametrize("seed", range(3))
def test_progress_never_goes_back_and_ends_at_the_end(folder, seed):
    with open_field(folder, batch_size=2) as field:
        field.play(ShuffledExecutor(field.arena.play, 3, seed))
        seen = field.listener.progresses
        assert (seen[0].attacked, seen[0].answered) == (0, 0)
        for before, after in itertools.pairwise(seen):
            assert before.attacked <= after.attacked <= after.to_attack == 20
            assert before.answered <= after.answered <= after.to_answer == 50
            assert before.calls <= after.calls
            assert after.seconds_left is None or after.seconds_left >= 0
        assert (seen[-1].attacked, seen[-1].answered, seen[-1].seconds_left) == (20, 50, 0.0)
        assert seen[-1].calls == len(field.listener.ends)


# --- our own failures


class Trouble:
    """Raises `error` the first `times` calls of a role (None: of any) are made."""

    def __init__(self, error, times, role=None):
        self.error, self.left, self.role = error, times, role
        self.raised = 0

    def __call__(self, job):
        if self.left and self.role in (None, job.role):
            self.left -= 1
            self.raised += 1
            raise self.error


@pytest.mark.parametrize("error", [InfrastructureError("the engine coughed"), OSError(errno.EIO, "I/O error")])
@pytest.mark.parametrize("slots", [1, 3])
def test_a_failure_of_ours_is_tried_again_and_leaves_no_trace_in_the_results(folder, error, slots):
    trouble = Trouble(error, MAX_ATTEMPTS - 1)
    with open_field(folder, FakeSandbox(trouble)) as field:
        runner = field.play(ShuffledExecutor(field.arena.play, slots, 1))
        assert trouble.raised == MAX_ATTEMPTS - 1
        assert field.predictions() == field.answers()
        assert board_of(field)["complete"]
        assert runner.given_up == []
        assert [again for _, _, again in field.listener.failures] == [True] * (MAX_ATTEMPTS - 1)
        attempts = field.store.index.attempts(field.prepared.round.players())
        assert [text for _, text, _ in attempts] == [str(error)] * (MAX_ATTEMPTS - 1)
        assert field.sandbox.checks == MAX_ATTEMPTS - 1


def test_a_call_that_fails_again_and_again_is_given_up_and_nothing_else_is(folder):
    trouble = Trouble(InfrastructureError("gone"), 99, Role.TARGETED_ATTACK)
    with open_field(folder, FakeSandbox(trouble)) as field:
        runner = field.play()
        assert trouble.raised == MAX_ATTEMPTS
        assert runner.given_up == ["t0 epsilon 4 batch 1: gone"]
        assert [again for _, _, again in field.listener.failures] == [True] * (MAX_ATTEMPTS - 1) + [False]
        assert not board_of(field)["complete"]
        assert board_of(field)["missing_answers"] == 2 * 5
    with open_field(folder) as field:
        assert field.play().calls.total() == 1 + 2
        assert board_of(field)["complete"]


def test_a_call_is_tried_a_last_time_when_all_else_is_done(folder):
    """What it failed at, a machine say, may be gone by then."""
    trouble = Trouble(InfrastructureError("gone"), MAX_ATTEMPTS - 1, Role.TARGETED_ATTACK)
    with open_field(folder, FakeSandbox(trouble)) as field:
        assert field.play().given_up == []
        assert trouble.raised == MAX_ATTEMPTS - 1
        attacks = [call.label for call, _ in field.listener.ends if call.unit.role is not Role.DEFENSE]
        assert attacks[-1] == "t0 epsilon 4 batch 1"
        assert board_of(field)["complete"]


def test_a_defense_whose_calls_are_given_up_leaves_its_answers_unknown(folder):
    with open_field(folder, FakeSandbox(Trouble(InfrastructureError("gone"), 99, Role.DEFENSE))) as field:
        field.play()
        assert field.predictions() == {}
        assert not board_of(field)["complete"]
    with open_field(folder) as field:
        field.play()
        assert field.predictions() == field.answers()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_run_at_once_with_what_to_do(folder, number):
    trouble = Trouble(OSError(number, "No space left on device"), 99)
    with open_field(folder, FakeSandbox(trouble)) as field:
        executor = ShuffledExecutor(field.arena.play)
        with pytest.raises(UserError, match=r"store: cannot be written \(No space left on device\); make room"):
            field.play(executor)
        assert trouble.raised == 1
        assert executor.closed


def test_without_an_engine_the_run_ends_and_goes_on_later(folder):
    class Gone(FakeSandbox):
        def check(self):
            raise EngineUnavailableError("no engine")

    with open_field(folder, Gone(Trouble(InfrastructureError("reset by peer"), 1, Role.DEFENSE))) as field:
        executor = ShuffledExecutor(field.arena.play)
        with pytest.raises(EngineUnavailableError, match="no engine"):
            field.play(executor)
        assert executor.closed
        defenses = [entry.player for entry in field.prepared.round.defenses]
        assert len(field.store.index.attempts(defenses)) == 1
    with open_field(folder) as field:
        executor = ShuffledExecutor(field.arena.play)
        field.play(executor)
        assert [call.unit.role for call in calls_of(executor, "attack")] == [
            Role.TARGETED_ATTACK
        ]  # it was not made yet
        assert field.predictions() == field.answers()


@pytest.mark.parametrize("away", range(MAX_CHECKS + 1))
def test_an_engine_that_is_started_anew_is_waited_for(folder, monkeypatch, away):
    """Longer and longer, a fixed number of times; then the run ends."""
    clock, asked = Clock(), []
    monkeypatch.setattr(runner_module, "time", clock)
    monkeypatch.setattr(runner_module, "BACK_OFF_SECONDS", 1.0)

    class Restarted(FakeSandbox):
        def check(self):
            asked.append(clock.now)
            if len(asked) <= away:
                raise EngineUnavailableError("no engine")

    class Waiting(ShuffledExecutor):
        def wait(self, seconds):
            clock.sleep(0 if self.running else seconds)
            return super().wait(seconds)

    with open_field(folder, Restarted(Trouble(EngineUnavailableError("reset by peer"), 1))) as field:
        if away < MAX_CHECKS:
            field.play(Waiting(field.arena.play))
            assert field.predictions() == field.answers()
        else:
            with pytest.raises(EngineUnavailableError, match="no engine"):
                field.play(Waiting(field.arena.play))
    assert asked == [0.0, 1.0, 3.0, 7.0, 15.0][: away + 1]


def test_what_a_failed_call_left_is_swept_when_the_run_is_over(folder, monkeypatch):
    """While others run, nobody knows whose a container is."""
    for times in (0, 1):
        swept, trouble = [], Trouble(InfrastructureError("gone"), times)
        monkeypatch.setattr(FakeSandbox, "sweep", lambda self, swept=swept: swept.append(len(self.jobs)) or 0)
        with open_field(folder, FakeSandbox(trouble), output=f"out{times}") as field:
            field.play()
            assert swept == [len(field.sandbox.jobs)] * times


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), UserError("mend it")])
def test_any_other_error_is_nobodys_and_ends_the_run(folder, error):
    with open_field(folder, FakeSandbox(Trouble(error, 1))) as field:
        executor = ShuffledExecutor(field.arena.play)
        with pytest.raises(type(error)):
            field.play(executor)
        assert executor.closed
        assert field.store.index.attempts(field.prepared.round.players()) == []


class Bare(FakeSandbox):
    """Gets copies where an isolated one gets links."""

    isolates = False


def damage(field, digest):
    path = field.store.objects.path_of(digest)
    path.chmod(0o644)
    path.write_bytes(b"rotten")


@pytest.mark.parametrize("sandbox", [FakeSandbox, Bare], ids=["linked", "copied"])
def test_a_rotten_clean_image_ends_the_run_and_the_next_one_mends_it(folder, sandbox):
    """Nobody is blamed for what was made of it, and nothing is tried again: it is as rotten the second time."""
    with open_field(folder, sandbox(), trust_submissions=True) as field:
        digest = field.prepared.round.images[0].clean
        damage(field, digest)
        executor = ShuffledExecutor(field.arena.play)
        line = rf"store: object {digest} is damaged; run the same command again to make it anew"
        with pytest.raises(StoreDamagedError, match=line):
            field.play(executor)
        assert executor.closed
        assert len(executor.submitted) == 1
        assert field.listener.failures == []
        assert field.store.index.attempts(field.prepared.round.players()) == []
    with open_field(folder, sandbox(), trust_submissions=True) as field:
        field.play()
        assert field.predictions() == field.answers()


def test_all_that_is_rotten_is_removed_at_once(folder):
    """A power cut spoils many objects; one more run is enough to make them anew."""
    with open_field(folder) as field:
        clean = [image.clean for image in field.prepared.round.images]
        for digest in clean[:3]:
            damage(field, digest)
        with pytest.raises(StoreDamagedError, match=r"is damaged \(and 2 more objects\); run the same command again"):
            field.play()
        assert set(field.store.objects.digests()) >= set(clean[3:])
        assert not set(field.store.objects.digests()) & set(clean[:3])
    with open_field(folder) as field:
        field.play()
        assert field.predictions() == field.answers()


def test_a_rotten_adversarial_image_ends_the_run_and_is_made_again(folder):
    with open_field(folder) as field:
        field.play()
        shifted = field.prepared.round.attacks[1].units[0][0]
        digest = field.store.index.audits(shifted)[2].digest
    write_submission(folder / "players" / "d9", "defense", "#!fake sum thrice")
    with open_field(folder) as field:
        damage(field, digest)
        with pytest.raises(StoreDamagedError, match=f"object {digest} is damaged; run the same command again"):
            field.play()
    with open_field(folder) as field:
        executor = ShuffledExecutor(field.arena.play)
        field.play(executor)
        assert [call.unit.key for call in calls_of(executor, "attack")] == [shifted]
        assert field.predictions() == field.answers()
