"""What a proof needs around its attempts: calls staged as in a round, what they could steal, and a call beside them."""

import json
import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.digest import digest_tree
from harness.errors import InfrastructureError, UserError
from harness.records import Limits, Role, Verdict
from harness.sandbox import OPEN_FILES, CallStoppedError, Ending, Job, Sandbox
from harness.sandbox.listener import Listener, own_addresses
from harness.sandbox.rules import PROGRAMS, Attempt
from harness.submission import load_submission
from harness.trees import copy_tree, remove_tree

LIMITS = Limits(memory=128 << 20, pids=64, output=4 << 20)
"""Small, so that trying to exceed them costs this machine little where nothing stands against it."""

SECRET_VARIABLE = "HARNESS_PROOF_SECRET"

SECRETS = ("environment", "call", "labels", "code", "rival")

FAMILY = 2
"""Processes that a lone attempt may see: itself, and an init that buries its dead."""

HELPERS = ("report.py", "kernel.py")

RIVAL_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Staged:
    """One call of an attempt. original: the submission's own folder. before: digests of what must stay as it is."""

    job: Job
    original: Path
    before: tuple[str, str]


class Bench:
    """A context: the secrets exist, somebody listens, and after `start_rival` another call lives, until it ends.

    folder: an empty one of ours. mark: carried by what an attempt leaves behind. touched: how often our listener
    was reached. rival_ended: what became of the call beside, None while it lives.
    """

    def __init__(self, sandbox: Sandbox, image: str, folder: Path, cores: tuple[int, ...]) -> None:
        self.sandbox = sandbox
        self.mark = f"harness-proof-{secrets.token_hex(8)}"
        self.rival_ended: str | None = None
        self._image, self._folder, self._cores = image, folder, cores
        self._tokens = {name: secrets.token_hex(16) for name in SECRETS}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._paths: list[Path] = []
        self._runtime = ""

    def __enter__(self) -> "Bench":
        self._listener = Listener(self.mark)
        os.environ[SECRET_VARIABLE] = self._tokens["environment"]
        labels = self._folder / "dataset" / "labels.csv"
        labels.parent.mkdir()
        labels.write_text(f"ImageId,TrueLabel\n{self._tokens['labels']},1\n")
        self._paths.append(labels)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop_rival()
        self._listener.close()
        os.environ.pop(SECRET_VARIABLE, None)

    @property
    def touched(self) -> int:
        return self._listener.reached

    # --- the call beside

    def start_rival(self) -> None:
        """Returns when it runs. Raises: UserError where nothing runs in that image."""
        hello = Attempt("hello", "", "")
        original = self.hand_in(hello, 1)
        self._runtime = self.sandbox.prepare(load_submission(original), use_gpu=False)
        ending = self.sandbox.run(self.stage(hello, original).job, threading.Event())
        if ending.verdict is not Verdict.OK:
            said = (ending.log.strip().splitlines() or [f"exit code {ending.exit_code}"])[-1]
            raise UserError(f"{self._image}: no Python program runs in it ({said}); name an image that has python3")
        self._begin_rival()

    def _begin_rival(self) -> None:
        rival = replace(Attempt("rival", "", ""), seconds=RIVAL_SECONDS)
        original = self.hand_in(rival, 1, {"weights.txt": self._tokens["code"]})
        job = self.stage(rival, original).job
        written = job.output / "rival.txt"
        self._paths += [original / "weights.txt", job.code / "weights.txt", written]
        self._thread = threading.Thread(target=self._run_rival, args=(job,), daemon=True)
        self._thread.start()
        while not written.exists() and not self.rival_ended:
            time.sleep(0.05)

    def _run_rival(self, job: Job) -> None:
        try:
            ending = self.sandbox.run(job, self._stop)
            self.rival_ended = f"the call beside it was ended ({ending.verdict}, exit code {ending.exit_code})"
        except CallStoppedError:
            return
        except (InfrastructureError, OSError) as error:
            self.rival_ended = f"the call beside it was lost ({error})"

    def stop_rival(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(60)

    # --- one attempt

    def call(self, attempt: Attempt, number: int) -> tuple[Staged, Ending]:
        """Call number 1, 2, ... of an attempt, from end to end; `forget` removes what was staged."""
        staged = self.stage(attempt, self.hand_in(attempt, number))
        return staged, self.sandbox.run(staged.job, threading.Event())

    def hand_in(self, attempt: Attempt, number: int, files: dict[str, str] | None = None) -> Path:
        """The folder of the contract that an attempt is."""
        folder = self._folder / "submissions" / f"{attempt.name}-{number}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        shutil.copyfile(attempt.path, folder / "run")
        for name in HELPERS:
            shutil.copyfile(PROGRAMS / name, folder / name)
        metadata = {"type": "attack", "container": self._image, "entry_point": "run"}
        texts = {"metadata.json": json.dumps(metadata), "facts.json": json.dumps(self._facts(attempt, number))}
        for name, text in (texts | (files or {})).items():
            (folder / name).write_text(text)
        for path in folder.iterdir():
            path.chmod(0o755 if path.name == "run" else 0o644)
        return folder

    def _facts(self, attempt: Attempt, number: int) -> dict[str, Any]:
        """Everything that could help an attempt; whoever is told where to look needs no luck."""
        halves = {name: (token[:16], token[16:]) for name, token in self._tokens.items()}
        return {
            "name": attempt.name, "call": number, "seconds": attempt.seconds, "pids": LIMITS.pids,
            "memory": LIMITS.memory, "output": LIMITS.output, "open_files": OPEN_FILES, "cores": len(self._cores),
            "mark": self.mark, "tokens": halves, "wanted": attempt.wanted, "paths": [str(path) for path in self._paths],
            "port": self._listener.port, "abstract": self._listener.name, "addresses": own_addresses(),
            "engines": [os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"],
            "harness": os.getpid(), "harness_started": _started(), "family": FAMILY,
            "shared": ["/dev/shm", "/var/tmp", "/dev/mqueue"] if self.sandbox.isolates else [],
        }  # fmt: skip

    def stage(self, attempt: Attempt, original: Path) -> Staged:
        """As a round does it: links where the sandbox runs it as somebody who owns none of the files."""
        token = secrets.token_hex(8)
        folder = self._folder / "work" / token
        inputs, output, code = folder / "input", folder / "output", folder / "code"
        inputs.mkdir(parents=True)
        output.mkdir()
        (inputs / "img1.png").write_bytes(b"\x89PNG, as far as anybody looks")
        (inputs / "img1.png").chmod(0o644)
        copy_tree(original, code, link=self.sandbox.isolates and os.geteuid() == 0)
        job = Job(
            token, Role.ATTACK, self._runtime, "run", code, inputs, output, 16, 7,
            replace(LIMITS, seconds=attempt.seconds), attempt.seconds, self._cores,
        )  # fmt: skip
        return Staged(job, original, (digest_tree(original, {}), digest_tree(inputs, {})))

    def unchanged(self, staged: Staged) -> tuple[bool, bool]:
        """Whether the submission's own folder, and the input of the call, are what they were."""
        own, given = staged.before
        return digest_tree(staged.original, {}) == own, digest_tree(staged.job.inputs, {}) == given

    def forget(self, staged: Staged) -> None:
        remove_tree(staged.job.code.parent)


def _started() -> str:
    """The moment when this process began, which with its number is nobody else's."""
    return Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
