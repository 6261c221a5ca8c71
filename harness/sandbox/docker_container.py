"""One container while it runs and when it ends, and what an engine's errors mean."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from harness.errors import EngineUnavailableError, InfrastructureError
from harness.sandbox.failure import LOG_BYTES, Kill, clean_log
from harness.sandbox.held import processes_of

STATISTICS_SECONDS = 1.0
"""How often memory use is asked for; a call that ends before is too short to have it known."""


class Processes:
    """The processes of a container, for as long as it lives."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._first = 0

    def look(self) -> list[int]:
        if not self._first:
            self._container.reload()
            self._first = self._container.attrs["State"]["Pid"]
        return processes_of(str(self._container.id), self._first)


class Statistics:
    """The highest memory use that the engine reported, in bytes."""

    def __init__(self, engine: docker.DockerClient, container: Container) -> None:
        self.peak = 0
        self._engine = engine
        self._container = container
        self._next = time.monotonic() + STATISTICS_SECONDS

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + STATISTICS_SECONDS
        try:
            stats: dict[str, Any] = self._engine.api.stats(str(self._container.id), stream=False, one_shot=True)
        except (APIError, json.JSONDecodeError):  # the container ended in between
            return
        memory = stats.get("memory_stats") or {}
        self.peak = max(self.peak, memory.get("max_usage", 0), memory.get("usage", 0))


class Waiting:
    """Waits aside until a container has ended; `finished` is also set when the engine breaks off telling."""

    def __init__(self, container: Container) -> None:
        self.finished = threading.Event()
        self._container = container
        self._told = False
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        try:
            self._container.wait(timeout=None)
            self._told = True
        except (DockerException, requests.RequestException):
            pass  # `check` tells
        finally:
            self.finished.set()

    def check(self) -> None:
        """Raises: InfrastructureError where the engine broke off: it may have ended the container itself since."""
        if not self._told:
            raise InfrastructureError(f"the engine lost track of container {self._container.short_id}")


def check_own_end(engine: docker.DockerClient, container: Container) -> None:
    """Raises: InfrastructureError where the container did not end by itself, but with its engine or through it.

    An engine that stops ends its containers by signals, and tells so; one that was started anew has forgotten how
    those of its former life ended.
    """
    now = datetime.fromisoformat(engine.info()["SystemTime"]).timestamp()  # by the engine's own clock
    until: Any = f"{now:.6f}"  # the engine takes fractions; the SDK's own conversion cuts to whole seconds
    told = engine.events(since=1, until=until, filters={"container": container.id}, decode=True)
    actions = {event["Action"] for event in told}
    if "kill" in actions or "die" not in actions:
        raise InfrastructureError(f"container {container.short_id} was ended from outside")


def read_log(container: Container, kill: Kill | None) -> str:
    """The log as far as the engine kept it (LogConfig bounds that), its middle left out where it is long."""
    kept = container.logs(stdout=True, stderr=True)
    half = LOG_BYTES // 2
    tail = kept[half:][-half:]
    return clean_log(kept[:half], tail, len(kept) - len(kept[:half]) - len(tail), kill)


def kill_container(container: Container) -> None:
    try:
        container.kill()
    except APIError:
        container.reload()
        if container.attrs["State"]["Running"]:
            raise


def remove_container(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != requests.codes.conflict:  # conflict: a removal is already under way
            raise


@contextmanager
def engine_errors() -> Iterator[None]:
    """What the engine could not do is our failure, never the submission's."""
    try:
        yield
    except requests.ConnectionError as error:
        raise EngineUnavailableError(f"the Docker engine does not answer ({error})") from None
    except (DockerException, requests.RequestException) as error:
        raise InfrastructureError(f"the Docker engine failed: {error}") from None
