"""A Ray cluster, before there is anything to play on it: one that is there, or one that is started on this machine."""

import importlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from harness import machine
from harness.config import Tournament
from harness.errors import UserError
from harness.executors import Executor
from harness.executors.field import Field
from harness.executors.local_ground import check_cores, own_gpus
from harness.trees import remove_tree

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""Read when Ray is imported: it reports to nobody, and leaves the environments of its processes alone."""

TOKEN = "; a cluster with a token wants RAY_AUTH_MODE=token, and the token (`ray get-auth-token`)"
"""Ray never shows the user's token to an address that is given, unless it is told to."""

OBJECT_STORE_BYTES = 100 << 20
"""Of Ray's own object store: nothing goes through it but calls and outcomes."""

CONNECT_SECONDS = 10.0


class Ground:
    """See `harness.executors.field.Ground`. Without an address, Ray is started when there is something to play."""

    def __init__(self, tournament: Tournament) -> None:
        """Raises: UserError where Ray is not installed, or no cluster of the same versions answers at the address."""
        self._tournament = tournament
        self._ray = _import_ray()
        self._folder: Path | None = None
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
                self._ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            reason = " ".join(str(error).split())
            remedy = "; mend that" if "RAY_AUTH_MODE" in os.environ else TOKEN
            raise UserError(f"{address}: Ray does not take us into its cluster ({reason}){remedy}") from None

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
        self._folder = Path(mkdtemp(prefix="harness-ray-", dir="/tmp"))
        memory = max(machine.total_memory(), self._tournament.limits.resolve().memory)
        with _own_signals():
            self._ray.init(
                "local", num_cpus=len(machine.usable_cores()), num_gpus=self._gpus, _memory=memory,
                object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False, log_to_driver=False,
                logging_level=logging.ERROR, _temp_dir=str(self._folder),
            )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        return {"ray": self._ray.__version__, "slots": [], "nodes": self._executor.describe()}

    def close(self) -> None:
        with _own_signals():
            self._ray.shutdown()
        if self._folder is not None:
            remove_tree(self._folder)


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
    yield
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


def _check_gpus(field: Field, gpus: int) -> None:
    if not gpus and (asking := [player.name for player in field.players if player.gpu]):
        raise UserError(
            f"{field.tournament.name}: {name} asks for 1 GPU; the cluster has none; set gpu: auto, or add a machine"
            for name in asking
        )
