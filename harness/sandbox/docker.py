"""The `docker` sandbox: one container for each call, without network, privileges or anything worth stealing."""

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from harness.digest import digest_value
from harness.errors import EngineUnavailableError, InfrastructureError, UserError
from harness.records import Role, Verdict
from harness.sandbox import OPEN_FILES, Ending, Job, Setting
from harness.sandbox.docker_container import (
    Processes,
    Statistics,
    Waiting,
    check_own_end,
    engine_errors,
    kill_container,
    read_log,
    remove_container,
)
from harness.sandbox.docker_images import Images
from harness.sandbox.failure import classify, clean_log, start_was_refused
from harness.sandbox.watch import Quota, watch
from harness.submission import Submission

STORE_LABEL = "adversarial-harness.store"
CALL_LABEL = "adversarial-harness.call"
NOBODY = "65534:65534"
TEMPORARY_BYTES = 1 << 30
"""Size of /tmp and of /dev/shm, counted against the memory limit like any other memory."""

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


def has_image(name: str) -> bool:
    """Whether the engine has an image of that name. Raises: InfrastructureError where there is no engine."""
    with engine_errors(), closing(_connect()) as engine:
        try:
            engine.images.get(name)
        except ImageNotFound:
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
        self._check_runtime()
        self._images = Images(self._engine, setting)
        # As root we take an identity that owns nothing; else our own, so that we can remove what was written.
        self._user = NOBODY if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"

    def _check_runtime(self) -> None:
        """Raises: UserError where the engine has no runtime of that name."""
        wanted = self._setting.runtime
        with engine_errors():
            there = sorted(self._engine.info().get("Runtimes") or ()) if wanted else []
        if wanted and wanted not in there:
            self._engine.close()
            raise UserError(f"runtime: the engine has none called {wanted}; it has {', '.join(there)}")

    def check(self) -> None:
        try:
            self._engine.ping()
        except (DockerException, requests.RequestException) as error:
            raise EngineUnavailableError(f"the Docker engine does not answer ({error})") from None

    def close(self) -> None:
        self._engine.close()

    def sweep(self) -> int:
        with engine_errors():
            left = self._engine.containers.list(
                all=True, ignore_removed=True, filters={"label": f"{STORE_LABEL}={self._setting.store_identity}"}
            )
            for container in left:
                remove_container(container)
        return len(left)

    def prepare(self, submission: Submission, use_gpu: bool) -> str:
        """The id of the image; a runtime or a profile is named after it, for under another one it may act otherwise."""
        with engine_errors():
            image = self._images.image_of(submission, use_gpu)
        runtime, profile = self._setting.runtime, self._setting.seccomp
        added = [f"runtime={runtime}"] if runtime else []
        added += [f"seccomp={digest_value('seccomp', json.loads(profile))}"] if profile else []
        return " ".join([image, *added])

    def names(self, runtime: str) -> tuple[str, ...]:
        with engine_errors():
            return self._images.names(_id_in(runtime))

    def pack(self, runtime: str, archive: Path) -> None:
        with engine_errors():
            self._images.pack(_id_in(runtime), archive)

    def provide(self, runtime: str, names: Sequence[str], archive: Path | None) -> bool:
        with engine_errors():
            return self._images.provide(_id_in(runtime), names, archive)

    def run(self, job: Job, stop: threading.Event) -> Ending:
        with engine_errors():
            container = self._create(job)
            try:
                return self._play(container, job, stop)
            finally:
                remove_container(container)

    def _play(self, container: Container, job: Job, stop: threading.Event) -> Ending:
        quota, started = Quota(job, Processes(container).look), time.monotonic()
        try:
            container.start()
        except APIError as error:
            container.reload()
            code = container.attrs["State"]["ExitCode"]
            if not start_was_refused(code):
                raise
            log = clean_log(f"the entry point cannot be started: {error.explanation}".encode())
            return Ending(Verdict.EXIT, code, time.monotonic() - started, 0, log)
        waiting, statistics = Waiting(container), Statistics(self._engine, container)
        kill = watch(job, quota, waiting.finished, stop, statistics.look)
        if kill:
            kill_container(container)
            waiting.finished.wait(30)
        waiting.check()
        seconds = time.monotonic() - started
        container.reload()
        state = container.attrs["State"]
        if state["Running"]:
            raise InfrastructureError(f"the engine lost track of container {container.short_id}")
        if kill is None:
            check_own_end(self._engine, container)
        verdict = classify(state["ExitCode"], out_of_memory=state["OOMKilled"], kill=kill)
        peak = job.limits.memory if verdict is Verdict.OUT_OF_MEMORY else statistics.peak
        return Ending(verdict, state["ExitCode"], seconds, peak, read_log(container, kill))

    def _create(self, job: Job) -> Container:
        _open_to_nobody(job)
        return self._engine.containers.create(
            _image(job),
            job.arguments("/input_images", _output_folder(job)),
            working_dir="/code",
            environment=job.environment() | {"HOME": "/tmp"},
            labels={STORE_LABEL: self._setting.store_identity, CALL_LABEL: job.token},
            init=True,
            use_config_proxy=False,  # a proxy's password is nothing for a stranger
            log_config=LogConfig(type="json-file", config={"max-size": "512k", "max-file": "2"}),
            **self._isolation(),
            **self._file_systems(job),
            **self._limits(job),
        )

    def _isolation(self) -> dict[str, Any]:
        profile = self._setting.seccomp
        return {
            "user": self._user,
            "network_mode": "none",
            "ipc_mode": "private",
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges", *([f"seccomp={profile}"] if profile else [])],
            "runtime": self._setting.runtime,
        }

    def _file_systems(self, job: Job) -> dict[str, Any]:
        mounts = {"/input_images": job.inputs, _output_folder(job): job.output, "/code": job.code}
        temporary = min(TEMPORARY_BYTES, job.limits.memory)
        in_memory = f"rw,exec,nosuid,nodev,mode=1777,size={temporary}"
        return {
            "read_only": True,
            "mounts": [
                Mount(place, str(folder), type="bind", read_only=folder == job.inputs)
                for place, folder in mounts.items()
            ],
            "tmpfs": dict.fromkeys({"/tmp", *self._declared_volumes(_image(job))} - mounts.keys(), in_memory),
            "shm_size": temporary,
        }

    def _limits(self, job: Job) -> dict[str, Any]:
        gpus = [DeviceRequest(device_ids=[job.gpu], capabilities=[["gpu"]])] if job.gpu is not None else None
        bounds = {"fsize": job.largest_file, "nofile": OPEN_FILES, "core": 0}
        return {
            "pids_limit": job.limits.pids,
            "mem_limit": job.limits.memory,
            "memswap_limit": job.limits.memory,
            "cpuset_cpus": ",".join(map(str, job.cores)),
            "ulimits": [Ulimit(name=name, soft=bound, hard=bound) for name, bound in bounds.items()],
            "device_requests": gpus,
        }

    def _declared_volumes(self, image: str) -> list[str]:
        """Folders that the engine would make writable without a limit, because the image says VOLUME."""
        config = self._engine.images.get(image).attrs["Config"] or {}
        return list(config.get("Volumes") or {})


def _output_folder(job: Job) -> str:
    """Where the container has its output folder."""
    return "/output_data" if job.role is Role.DEFENSE else "/output_images"


def _image(job: Job) -> str:
    return _id_in(job.runtime)


def _id_in(runtime: str) -> str:
    """The image's id, without what `prepare` may have added to it."""
    return runtime.split()[0]


def _open_to_nobody(job: Job) -> None:
    """Lets the container's user write into its output folder and into its own copy of the code."""
    job.inputs.chmod(0o755)
    job.output.chmod(0o777)
    for folder, _, _ in os.walk(job.code):
        os.chmod(folder, 0o777)
