"""A Ray cluster, before there is anything to play on it: one that is there, or one that is started on this machine."""

import fcntl
import importlib
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from harness import machine
from harness.config import Tournament
from harness.errors import UserError
from harness.executors import Executor
from harness.executors.field import Field
from harness.executors.local_ground import check_cores, own_gpus
from harness.trees import is_locked, remove_tree

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""Read when Ray is imported: it reports to nobody, and leaves the environments of its processes alone."""

TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what `ray get-auth-token` prints on the cluster"
"""Ray never shows the user's token to an address that is given, unless it is told to."""

OBJECT_STORE_BYTES = 100 << 20
"""Of Ray's own object store: nothing goes through it but calls and outcomes."""

NO_MEMORY_MONITOR = {"memory_monitor_refresh_ms": 0}
"""Else Ray ends calls, and begins them again without end or a word, while the machine's memory is nearly full: that of
a call is limited by its sandbox."""

PREFIX = "harness-ray-"
FRESH_SECONDS = 60.0
"""A folder that is younger may be one that is just being made."""

CONNECT_SECONDS = 10.0


class Ground:
    """See `harness.executors.field.Ground`. Without an address, Ray is started when there is something to play."""

    def __init__(self, tournament: Tournament) -> None:
        """Raises: UserError where Ray is not installed, or no cluster of the same versions answers at the address."""
        self._tournament = tournament
        self._ray = _import_ray()
        self._folder: Path | None = None
        self._lock: int | None = None
        """Of the folder. It is gone with this process, however that ends."""
        self._executor: Any = None
        if tournament.ray_address is None:
            check_cores(tournament)
            self._gpus = len(own_gpus(tournament))
        else:
            self._connect(tournament.ray_address)
            self._gpus = 0 if tournament.gpu is False else int(self._ray.cluster_resources().get("GPU", 0))
        self.has_gpus = bool(self._gpus) or tournament.gpu is True

    def _connect(self, address: str) -> None:
        _check_address(address)
        try:
            with _own_signals():
                _check_token(self._ray, address)
                self._ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except self._ray.exceptions.AuthenticationError:
            raise UserError(f"{address}: the cluster wants a token, and not what we have; {TOKEN}") from None
        except (ConnectionError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            reason = " ".join(str(error).split())
            remedy = f"where it wants a token, {TOKEN}" if address == "auto" else "mend that"
            raise UserError(f"{address}: Ray does not take us into its cluster ({reason}); {remedy}") from None

    def executor(self, field: Field) -> Executor:
        _check_gpus(field, self._gpus)
        home = self._tournament.ray_address is None
        if home:
            self._start()
        self._executor = importlib.import_module("harness.executors.ray").muster(field, home=home)
        made: Executor = self._executor
        return made

    def _start(self) -> None:
        """In a folder of its own, which holds Ray's logs for as long as it runs; sockets want a short path."""
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray leaves one in ~/.ray for good
        _sweep_folders(Path("/tmp"))
        self._folder = Path(mkdtemp(prefix=PREFIX, dir="/tmp"))
        self._lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        memory = max(machine.total_memory(), self._tournament.limits.resolve().memory)
        with _own_signals():
            self._ray.init(
                "local", num_cpus=len(machine.usable_cores()), num_gpus=self._gpus, _memory=memory,
                object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False, log_to_driver=False,
                logging_level=logging.ERROR, _temp_dir=str(self._folder), _system_config=NO_MEMORY_MONITOR,
            )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        return {"ray": self._ray.__version__, "slots": [], "nodes": self._executor.describe()}

    def close(self) -> None:
        with _own_signals():
            self._ray.shutdown()
        if self._folder is not None and self._lock is not None:
            remove_tree(self._folder)
            os.close(self._lock)


def _sweep_folders(parent: Path) -> None:
    """Removes what runs of this user left that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # its own run, or another one, was quicker
            about = folder.lstat()
            old = time.time() - about.st_mtime > FRESH_SECONDS
            if old and about.st_uid == os.geteuid() and not is_locked(folder):
                remove_tree(folder)


def _import_ray() -> Any:
    """Raises: UserError where it is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError(
            "executor: ray is not installed; pip install 'adversarial-harness[ray]', or use local"
        ) from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray prints the last words of every machine that is lost to the standard output, which is the leaderboard's.
    ray._private.worker._worker_logs_enabled = False
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """What a signal does to us stays as it is: Ray takes SIGTERM for itself."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_address(address: str) -> None:
    """Ray itself asks an address where nobody is for minutes. Raises: UserError where nobody answers."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        raise UserError(f"{address}: is no address of a Ray cluster; give HOST:PORT (`ray start --head` prints it)")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{address}: nobody answers there ({error}); start Ray with `ray start --head`") from None


def _check_token(ray: Any, address: str) -> None:
    """Ray itself asks for 20 seconds, and does not say then why it is refused.

    Raises: ray.exceptions.AuthenticationError where the token is refused or missing.
    """
    if address == "auto":  # which only Ray itself can look up
        return
    tokens = importlib.import_module("ray._private.authentication.authentication_token_setup")
    tokens.ensure_token_if_auth_enabled(create_token_if_missing=False)  # without one, the client ends the process
    with _silenced():
        ray._raylet.GcsClient(address=address)


@contextmanager
def _silenced() -> Iterator[None]:
    """Without the lines that Ray's C++ writes to the standard error by itself."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_gpus(field: Field, gpus: int) -> None:
    if not gpus and (asking := [player.name for player in field.players if player.gpu]):
        raise UserError(
            f"{field.tournament.name}: {name} asks for 1 GPU; the cluster has none; set gpu: auto, or add a machine"
            for name in asking
        )
