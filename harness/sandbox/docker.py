"""The `docker` sandbox: one container for each call, without network, privileges or anything worth stealing."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from harness.errors import EngineUnavailableError, InfrastructureError, UserError
from harness.records import Role, Verdict
from harness.sandbox import Ending, Job, Setting
from harness.sandbox.docker_images import Images
from harness.sandbox.failure import LOG_BYTES, Kill, classify, clean_log, start_was_refused
from harness.sandbox.watch import staged_bytes, watch
from harness.submission import Submission

STORE_LABEL = "adversarial-harness.store"
CALL_LABEL = "adversarial-harness.call"
NOBODY = "65534:65534"
TEMPORARY_BYTES = 1 << 30
"""Size of /tmp and of /dev/shm, counted against the memory limit like any other memory."""

STATISTICS_SECONDS = 1.0
"""How often memory use is asked for; a call that ends before is too short to have it known."""

NO_ENGINE = (
    "docker: no engine answers at {where}; start one (systemctl start docker), set DOCKER_HOST, "
    "or use --sandbox process for submissions that you trust"
)


def engine_answers() -> bool:
    """Whether an engine is there to be used."""
    try:
        _connect().close()
    except (DockerException, requests.RequestException):
        return False
    return True


def describe_engine() -> str | None:
    """One line about the engine, None where none answers."""
    try:
        with closing(_connect()) as engine:
            found = engine.info()
    except (DockerException, requests.RequestException):
        return None
    runtimes = ", ".join(sorted(found.get("Runtimes", {})))
    cgroup = found.get("CgroupVersion", "1")
    return f"Docker {found['ServerVersion']}, {found['Driver']}, cgroup v{cgroup}, runtimes {runtimes}"


def _connect() -> docker.DockerClient:
    """An engine that answered. Raises: DockerException or RequestException where there is none."""
    engine = docker.DockerClient.from_env(timeout=120, max_pool_size=64)
    try:
        engine.ping()
    except BaseException:
        engine.close()
        raise
    return engine


class Backend:
    """See `harness.sandbox.Sandbox`."""

    name = "docker"
    isolates = True

    def __init__(self, setting: Setting) -> None:
        try:
            self._engine = _connect()
        except (DockerException, requests.RequestException):
            where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
            raise UserError(NO_ENGINE.format(where=where)) from None
        self._setting = setting
        self._images = Images(self._engine, setting)
        # As root we take an identity that owns nothing; else our own, so that we can remove what was written.
        self._user = NOBODY if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"

    def check(self) -> None:
        try:
            self._engine.ping()
        except (DockerException, requests.RequestException) as error:
            raise EngineUnavailableError(f"the Docker engine does not answer ({error})") from None

    def close(self) -> None:
        self._engine.close()

    def sweep(self) -> int:
        with _engine_errors():
            left = self._engine.containers.list(
                all=True, ignore_removed=True, filters={"label": f"{STORE_LABEL}={self._setting.store_identity}"}
            )
            for container in left:
                _remove(container)
        return len(left)

    def prepare(self, submission: Submission, use_gpu: bool) -> str:
        with _engine_errors():
            return self._images.image_of(submission, use_gpu)

    def run(self, job: Job, stop: threading.Event) -> Ending:
        with _engine_errors():
            container = self._create(job)
            try:
                return self._play(container, job, stop)
            finally:
                _remove(container)

    def _play(self, container: Container, job: Job, stop: threading.Event) -> Ending:
        staged, started = staged_bytes(job), time.monotonic()
        try:
            container.start()
        except APIError as error:
            container.reload()
            code = container.attrs["State"]["ExitCode"]
            if not start_was_refused(code):
                raise
            log = clean_log(f"the entry point cannot be started: {error.explanation}".encode())
            return Ending(Verdict.EXIT, code, time.monotonic() - started, 0, log)
        finished, statistics = _wait_aside(container), _Statistics(self._engine, container)
        kill = watch(job, staged, finished, stop, statistics.look)
        if kill is not None:
            _kill(container)
            finished.wait(30)
        seconds = time.monotonic() - started
        container.reload()
        state = container.attrs["State"]
        if state["Running"]:
            raise InfrastructureError(f"the engine lost track of container {container.short_id}")
        verdict = classify(state["ExitCode"], out_of_memory=state["OOMKilled"], kill=kill)
        peak = job.limits.memory if verdict is Verdict.OUT_OF_MEMORY else statistics.peak
        return Ending(verdict, state["ExitCode"], seconds, peak, _read_log(container, kill))

    def _create(self, job: Job) -> Container:
        target = "/output_data" if job.role is Role.DEFENSE else "/output_images"
        _open_to_nobody(job)
        gpus = [DeviceRequest(device_ids=[job.gpu], capabilities=[["gpu"]])] if job.gpu is not None else None
        limits = job.limits
        temporary = min(TEMPORARY_BYTES, limits.memory)
        in_memory = f"rw,exec,nosuid,nodev,mode=1777,size={temporary}"
        mounts = {"/input_images": job.inputs, target: job.output, "/code": job.code}
        return self._engine.containers.create(
            job.runtime,
            job.arguments("/input_images", target),
            user=self._user,
            working_dir="/code",
            environment=job.environment() | {"HOME": "/tmp"},
            mounts=[
                Mount(place, str(folder), type="bind", read_only=folder == job.inputs)
                for place, folder in mounts.items()
            ],
            labels={STORE_LABEL: self._setting.store_identity, CALL_LABEL: job.token},
            network_mode="none",
            read_only=True,
            tmpfs=dict.fromkeys({"/tmp", *self._declared_volumes(job.runtime)} - mounts.keys(), in_memory),
            shm_size=temporary,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=limits.pids,
            mem_limit=limits.memory,
            memswap_limit=limits.memory,
            cpuset_cpus=",".join(map(str, job.cores)),
            device_requests=gpus,
            ipc_mode="private",
            init=True,
            ulimits=[Ulimit(name="fsize", soft=job.largest_file, hard=job.largest_file)],
            use_config_proxy=False,  # a proxy's password is nothing for a stranger
            log_config=LogConfig(type="json-file", config={"max-size": "512k", "max-file": "2"}),
        )

    def _declared_volumes(self, image: str) -> list[str]:
        """Folders that the engine would make writable without a limit, because the image says VOLUME."""
        config = self._engine.images.get(image).attrs["Config"] or {}
        return list(config.get("Volumes") or {})


class _Statistics:
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


def _wait_aside(container: Container) -> threading.Event:
    """An event that is set when the container has ended, or when the engine can no longer tell."""
    finished = threading.Event()

    def wait() -> None:
        try:
            container.wait(timeout=None)
        except (DockerException, requests.RequestException):
            pass  # what became of the container is asked of the engine right after
        finally:
            finished.set()

    threading.Thread(target=wait, daemon=True).start()
    return finished


def _open_to_nobody(job: Job) -> None:
    """Lets the container's user write into its output folder and into its own copy of the code."""
    job.inputs.chmod(0o755)
    job.output.chmod(0o777)
    for folder, _, _ in os.walk(job.code):
        os.chmod(folder, 0o777)


def _read_log(container: Container, kill: Kill | None) -> str:
    """The log as far as the engine kept it (LogConfig bounds that), its middle left out where it is long."""
    kept = container.logs(stdout=True, stderr=True)
    half = LOG_BYTES // 2
    tail = kept[half:][-half:]
    return clean_log(kept[:half], tail, len(kept) - len(kept[:half]) - len(tail), kill)


def _kill(container: Container) -> None:
    try:
        container.kill()
    except APIError:
        container.reload()
        if container.attrs["State"]["Running"]:
            raise


def _remove(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != requests.codes.conflict:  # conflict: a removal is already under way
            raise


@contextmanager
def _engine_errors() -> Iterator[None]:
    """What the engine could not do is our failure, never the submission's."""
    try:
        yield
    except requests.ConnectionError as error:
        raise EngineUnavailableError(f"the Docker engine does not answer ({error})") from None
    except (DockerException, requests.RequestException) as error:
        raise InfrastructureError(f"the Docker engine failed: {error}") from None
