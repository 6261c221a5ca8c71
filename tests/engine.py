"""What the tests of both sandboxes share: the sandboxes themselves, and calls staged by hand."""

import contextlib
import os
import re
import secrets
import socket
import tempfile
import textwrap
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from builders import PYTHON_IMAGE, living, write_submission

from harness.records import Limits, Role
from harness.sandbox import Job, Setting, open_sandbox
from harness.submission import load_submission
from harness.trees import remove_tree

SANDBOXES = ("process", pytest.param("docker", marks=pytest.mark.docker))

LIMITS = Limits(seconds=60, memory=256 << 20, pids=64, output=4 << 20)


@dataclass
class Stage:
    """Calls in one sandbox, each in folders of its own below `folder`."""

    name: str
    folder: Path
    identity: str = field(default_factory=lambda: secrets.token_hex(8))
    lines: list = field(default_factory=list)
    opened: list = field(default_factory=list)
    built: dict = field(default_factory=dict)

    def __post_init__(self):
        self.backend = self.open()

    def open(self, identity=None, **images):
        """One more sandbox of this kind, of the same store where `identity` does not say otherwise."""
        setting = Setting(identity or self.identity, images, self.lines.append, self.built)
        sandbox = open_sandbox(self.name, setting)
        self.opened.append(sandbox)
        return sandbox

    def stage(self, program, *, role="attack", image=PYTHON_IMAGE, files=None, inputs=None, **fields):
        """A job whose entry point is `program` (bash, where it does not say)."""
        folder = self.folder / secrets.token_hex(4)
        program = textwrap.dedent(program).lstrip()
        program = program if program.startswith(("#!", "\0")) else f"#!/bin/bash\n{program}"
        code = write_submission(folder / "code", program, role, image)
        for name, text in (files or {}).items():
            (code / name).write_text(text)
        for name, contents in {"inputs": inputs or {}, "output": {}}.items():
            (folder / name).mkdir()
            for file, text in contents.items():
                (folder / name / file).write_text(text)
        runtime = self.backend.prepare(load_submission(code), use_gpu=False)
        defaults = {
            "epsilon": None if role == "defense" else 16,
            "seed": 7,
            "limits": LIMITS,
            "seconds": 60.0,
            "cores": (0,),
        }
        return Job(
            secrets.token_hex(8), Role(role), runtime, "run", code, folder / "inputs", folder / "output",
            **defaults | fields,
        )  # fmt: skip

    def run(self, program, stop=None, **fields):
        """(ending, job) of a call."""
        job = self.stage(program, **fields)
        return self.backend.run(job, stop or threading.Event()), job


def limits(**changes):
    return replace(LIMITS, **changes)


@contextlib.contextmanager
def open_stage(name, folder):
    stage = Stage(name, folder)
    try:
        yield stage
    finally:
        for sandbox in stage.opened:
            sandbox.close()
        remove_tree(folder)  # pytest itself cannot, where a submission made it too deep


def wait_until(condition, seconds=30.0):
    """The first true value of `condition`; a test whose condition does not come fails."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def assert_gone(mark):
    """Nothing that carries `mark` is alive, or will be in a moment (the kernel takes one to bury its dead)."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not living(mark), 5)
    assert not [process.cmdline() for process in living(mark)]


def containers(engine, identity):
    """The containers, running or not, that calls for this store left."""
    from harness.sandbox.docker import STORE_LABEL

    return engine.containers.list(all=True, filters={"label": f"{STORE_LABEL}={identity}"}, ignore_removed=True)


class Forwarder:
    """A socket that passes everything on to the real engine, until it is cut."""

    def __init__(self, path, target):
        self.address = f"unix://{path}"
        self._target = target
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._ends = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self._ends += [near, far]
                threading.Thread(target=self._ask, args=(near, far), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(far, near), daemon=True).start()

    def _ask(self, near, far):
        self._pass_on(near, far)

    def _pass_on(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self):
        """As if the engine had been killed."""
        for end in [self._listener, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Bare(Forwarder):
    """The real engine as that of a machine that has no image until one is loaded there from an archive."""

    loads = 0

    def _ask(self, near, far):
        """Each connection carries one question."""
        head = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in head and (data := near.recv(1 << 16)):
                head += data
            asked, _, rest = head.partition(b"\r\n")
            self.loads += b"/images/load" in asked
            if re.search(rb"^GET .*/images/sha256:\w+/json", asked) and not self.loads:
                near.sendall(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n" + b'{"message": "No such image"}')
                near.shutdown(socket.SHUT_RDWR)
                far.shutdown(socket.SHUT_RDWR)
                return
            if b"upgrade" not in rest.lower():
                rest = b"Connection: close\r\n" + re.sub(rb"(?i)(?<=\n)connection:[^\r]*\r\n", b"", rest)
            far.sendall(asked + b"\r\n" + rest)
        self._pass_on(near, far)


@contextlib.contextmanager
def forwarder(kind=Forwarder):
    """One in front of the engine; skips where that cannot be done."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip(f"the engine is not behind a local socket ({address})")
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has to be short
        made = kind(Path(folder, "docker.sock"), address.removeprefix("unix://"))
        yield made
        made.cut()


@contextlib.contextmanager
def forwarded_engine(monkeypatch):
    """DOCKER_HOST leads to the engine through a Forwarder, which is yielded; skips where that cannot be done."""
    with forwarder() as made:
        monkeypatch.setenv("DOCKER_HOST", made.address)
        yield made
