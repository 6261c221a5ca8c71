"""`harness doctor --prove-sandbox` tells whether this machine isolates, and says so where it does not.

A proof that cannot fail is worth nothing: every attempt of docker's is also made in containers with a hole in them.
"""

import os
import re
import secrets
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from builders import PYTHON_IMAGE, living
from hostile import note

from harness.commands.doctor import KIT_IMAGE
from harness.errors import UserError
from harness.machine import usable_cores
from harness.records import Verdict
from harness.sandbox import Ending, Job, Setting
from harness.sandbox.bench import SECRET_VARIABLE
from harness.sandbox.proof import LEFTOVERS, State, judge, prove
from harness.sandbox.rules import ATTEMPTS, GOT_OUT, NOT_TRIED, PROGRAMS

SANDBOXES = (pytest.param("docker", marks=pytest.mark.docker), "process")
LINE = re.compile(rf"^({'|'.join(State)}) +([a-z ]+): (.*); (.*)$", re.MULTILINE)


def doctor(folder, *arguments, **variables):
    """(exit code, standard output, standard error) of the command itself."""
    command = [sys.executable, "-m", "harness", "doctor", "--prove-sandbox", "--output", str(folder), *arguments]
    environment = os.environ | {"HARNESS_SANDBOX": ""} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """`proved(sandbox)` is what the command came to in that sandbox, called once."""
    made = {}

    def prove_once(sandbox):
        if sandbox not in made:
            folder = tmp_path_factory.mktemp(sandbox)
            code, out, errors = doctor(folder, "--sandbox", sandbox, "--image", PYTHON_IMAGE)
            lines = {words.replace(" ", "_"): (state, rule, what) for state, words, rule, what in LINE.findall(out)}
            made[sandbox] = (code, out, errors, lines, list(folder.iterdir()))
        return made[sandbox]

    return prove_once


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize("attempt", [*ATTEMPTS, LEFTOVERS], ids=lambda attempt: attempt.name)
@pytest.mark.timeout(300)
def test_each_attempt_is_contained_or_not_promised(proved, sandbox, attempt, record_property):
    promised = sandbox == "docker" or not attempt.unpromised
    if promised and attempt is not LEFTOVERS:
        note(record_property, attempt.group, attempt.description(), attempt.rule, sandbox)
    state, rule, what = proved(sandbox)[3][attempt.name]
    if attempt.name == "other_cores" and len(usable_cores()) == 1:
        pytest.skip("this machine has one core")
    assert state == (State.CONTAINED if promised else State.UNPROMISED)
    assert rule == attempt.rule
    assert what == attempt.unpromised if not promised else what


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_the_command_counts_shows_progress_and_leaves_nothing(proved, sandbox):
    code, out, errors, lines, left = proved(sandbox)
    assert (code, errors, left) == (0, "", [])
    assert len(lines) == len(ATTEMPTS) + 1
    assert "to go" in out
    contained = sum(state == State.CONTAINED for state, _, _ in lines.values())
    assert f"{len(lines)} attempts: {contained} contained, 0 NOT contained" in out
    assert ("does not isolate" in out) is (sandbox == "process")
    if sandbox == "docker":
        assert f"image {PYTHON_IMAGE}, runtime the default, seccomp the engine's own" in out


# --- what stands in its way


@pytest.mark.docker
def test_without_the_kits_image_there_is_one_clear_line(docker_engine, tmp_path):
    if docker_engine.images.list(KIT_IMAGE):
        pytest.skip("the kit's image is there")
    code, out, errors = doctor(tmp_path, "--sandbox", "docker")
    assert (code, out) == (1, "")
    (line,) = errors.splitlines()
    assert KIT_IMAGE in line
    assert "make kit-image" in line
    assert "--image" in line


def test_the_default_is_the_kits_image():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    assert f"KIT_IMAGE := {KIT_IMAGE}\n" in makefile


@pytest.mark.docker
def test_an_image_without_python_is_one_clear_line(docker_engine, tmp_path):
    name = f"harness-test/{secrets.token_hex(4)}:1"
    (tmp_path / "Dockerfile").write_text(f"FROM {PYTHON_IMAGE}\nRUN rm -f /usr/bin/python3 /usr/local/bin/python3\n")
    docker_engine.images.build(path=str(tmp_path), tag=name, rm=True, forcerm=True, network_mode="none")
    (tmp_path / "Dockerfile").unlink()
    try:
        code, _, errors = doctor(tmp_path, "--sandbox", "docker", "--image", name)
    finally:
        docker_engine.images.remove(name, force=True)
    assert code == 1
    (line,) = errors.splitlines()
    assert re.search(rf"{name}.*python3", line)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path):
    code, _, errors = doctor(tmp_path / "nowhere", "--sandbox", "process")
    assert code == 1
    assert errors.count("\n") == 1
    assert "--output" in errors


@pytest.mark.parametrize("option", ["--runtime", "--seccomp"])
def test_what_only_containers_have_is_refused_under_process(tmp_path, option):
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    code, _, errors = doctor(tmp_path, "--sandbox", "process", option, str(tmp_path / "profile.json"))
    assert code == 1
    assert "--sandbox docker" in errors


# --- it can fail


def ending(verdict, exit_code, log="said"):
    return Ending(verdict, exit_code, 1.0, 0, log)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_how_each_attempt_is_judged(attempt):
    """By what it says of itself; only the verdicts that its rule names are an end by the sandbox."""
    assert judge(attempt, ending(Verdict.EXIT, GOT_OUT)).state is State.OUT
    assert judge(attempt, ending(Verdict.EXIT, NOT_TRIED)).state is State.UNTRIED
    assert judge(attempt, ending(Verdict.EXIT, 1)).state is State.UNTRIED
    assert judge(attempt, ending(Verdict.OK, 0)).state is State.CONTAINED
    for verdict in set(Verdict) - {Verdict.OK}:
        expected = State.CONTAINED if verdict in attempt.ends else State.UNTRIED
        assert judge(attempt, ending(verdict, 137)).state is expected


def test_every_program_is_in_the_table():
    programs = {path.stem for path in PROGRAMS.glob("*.py")} - {"report", "kernel", "hello", "rival"}
    assert {attempt.path.stem for attempt in ATTEMPTS} == programs
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS)


def weak(changes, hurt=None):
    """A docker sandbox whose containers are created with `changes`; `hurt(job, ending)` spoils what it reports."""
    from harness.sandbox.docker import Backend

    class Weak(Backend):
        def _changed(self, keywords):
            return {key: changes.get(key, value) for key, value in keywords.items()}

        def _isolation(self):
            known = {"user", "network_mode", "ipc_mode", "cap_drop", "security_opt", "runtime"}
            others = {"read_only", "mounts", "tmpfs", "shm_size", "pids_limit", "mem_limit", "memswap_limit",
                      "cpuset_cpus", "ulimits", "device_requests"}  # fmt: skip
            added = {key: value for key, value in changes.items() if key not in known | others}
            return self._changed(super()._isolation()) | added

        def _file_systems(self, job):
            systems = super()._file_systems(job)
            for mount in systems["mounts"]:
                mount["ReadOnly"] = mount["ReadOnly"] and "read_write" not in self.holes
            return self._changed(systems) | {"mounts": systems["mounts"] + self.more}

        def _limits(self, job):
            return self._changed(super()._limits(job))

        def run(self, job, stop):
            found = super().run(job, stop)
            return hurt(job, found) if hurt else found

    Weak.holes, Weak.more = changes.pop("holes", ()), [bind(*pair) for pair in changes.pop("more", [])]
    return Weak(Setting(secrets.token_hex(8), {}))


def bind(source, target):
    from docker.types import Mount

    return Mount(target, str(source), type="bind")


def findings(sandbox, folder, names):
    try:
        attempts = [attempt for attempt in ATTEMPTS if attempt.name in names]
        assert len(attempts) == len(names)
        found = prove(sandbox, PYTHON_IMAGE, folder, tuple(usable_cores()[:1]), attempts)
        return {one.attempt.name: one.state for one in found}
    finally:
        sandbox.sweep()
        sandbox.close()


ROOT_USER = {"user": "0:0", "cap_drop": []}
UNFILTERED = {"security_opt": ["seccomp=unconfined"]}
HOLES = {
    "the host's network": ({"network_mode": "host"},
                           "network_loopback network_address network_interfaces abstract_socket"),
    "the host's processes": (ROOT_USER | UNFILTERED | {"pid_mode": "host", "cap_add": ["SYS_PTRACE"]},
                             "see_processes ptrace"),
    "root": (ROOT_USER, "user capabilities make_devices"),
    "no filter, new privileges": (UNFILTERED, "call_filter no_new_privileges setuid keyrings namespaces"),
    "an administrator": (ROOT_USER | UNFILTERED | {"cap_add": ["SYS_ADMIN", "SYS_NICE", "SYSLOG"]},
                         "mounts priority kernel_calls"),
    "the host's devices and kernel": (
        ROOT_USER | {"devices": ["/dev/kmsg"], "cap_add": ["SYSLOG"], "more": [("/sys", "/sys")]},
        "devices kernel_files"),
    "a root that can be written to": (ROOT_USER | {"read_only": False, "holes": ("read_write",)},
                                      "write_root write_inputs write_code"),
    "no limits": ({"pids_limit": None, "mem_limit": None, "memswap_limit": None, "ulimits": [], "cpuset_cpus": "",
                   "shm_size": 1 << 30, "tmpfs": {"/tmp": "size=1g,mode=1777"}},
                  "fork_bomb memory_slow memory_sudden open_files core_dump output_sparse fill_shared_memory "
                  "fill_temporary other_cores raise_limits"),
}  # fmt: skip


def possible(name):
    """Whether this machine has what would be found through the hole."""
    if name == "other_cores":
        return len(usable_cores()) > 1
    return name != "network_interfaces" or len(socket.if_nameindex()) > 1


@pytest.mark.docker
@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_is_found(tmp_path, hole):
    if os.geteuid() != 0:
        pytest.skip("as root containers run as nobody; the holes of this table are made for that")
    changes, names = HOLES[hole]
    names = [name for name in names.split() if possible(name)]
    found = findings(weak(dict(changes)), tmp_path, names)
    assert {name: found[name] for name in names} == dict.fromkeys(names, State.OUT)


@pytest.mark.docker
def test_secrets_that_lie_about_are_found(tmp_path):
    names = ["labels", "rival_files", "rival_output"]
    tmp_path.chmod(0o755)
    found = findings(weak({"more": [(tmp_path, "/somewhere")]}), tmp_path, names)
    assert {name: found[name] for name in names} == dict.fromkeys(names, State.OUT)


@pytest.mark.docker
def test_a_folder_that_calls_share_is_found(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    own = tmp_path / "own"
    own.mkdir()
    found = findings(weak({"more": [(shared, "/var/tmp")]}), own, ["next_call"])
    assert found["next_call"] is State.OUT


@pytest.mark.docker
def test_a_socket_of_the_engine_is_found(tmp_path):
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip(f"the engine is not behind a local socket ({address})")
    more = [(address.removeprefix("unix://"), "/run/docker.sock")]
    found = findings(weak({"user": "0:0", "more": more}), tmp_path, ["engine_socket"])
    assert found["engine_socket"] is State.OUT


@pytest.mark.docker
def test_a_secret_that_is_passed_on_is_found(tmp_path, monkeypatch):
    plain = Job.environment
    monkeypatch.setattr(Job, "environment", lambda job: plain(job) | {"COPY": os.environ.get(SECRET_VARIABLE, "")})
    found = findings(weak({}), tmp_path, ["environment", "environment_of_others"])
    assert found["environment"] is found["environment_of_others"] is State.OUT


@pytest.mark.docker
def test_what_is_left_behind_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.sandbox.docker.remove_container", lambda container: None)
    sandbox = weak({})
    try:
        attempts = [attempt for attempt in ATTEMPTS if attempt.name == "user"]
        left = list(prove(sandbox, PYTHON_IMAGE, tmp_path, tuple(usable_cores()[:1]), attempts))[-1]
    finally:
        monkeypatch.undo()
        swept = sandbox.sweep()
        sandbox.close()
    assert (left.attempt, left.state) == (LEFTOVERS, State.OUT)
    assert swept == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job, end: replace(end, log="x" * 1_000_000),
        lambda job, end: (job.output / "more").write_bytes(bytes(20 << 20)) and end,
        lambda job, end: (job.inputs / "img1.png").write_text("changed") and end,
    ],
    ids=["too long a log", "too much on the disk", "changed input"],
)
@pytest.mark.docker
def test_what_counts_from_outside_is_found(tmp_path, spoil):
    found = findings(weak({}, spoil), tmp_path, ["stdout_flood"])
    assert found["stdout_flood"] is State.OUT


def test_a_process_that_outlives_its_call_is_found(tmp_path, monkeypatch):
    """As it would be if nobody buried what a call leaves."""
    from harness.sandbox import process

    monkeypatch.setattr(process, "LAUNCH", (sys.executable, str(_plain_launcher(tmp_path))))
    monkeypatch.setattr(process, "_kill_marked", lambda variable, value: 0)
    own = tmp_path / "own"
    own.mkdir()
    sandbox = process.Backend(Setting(secrets.token_hex(8), {}))
    attempts = [attempt for attempt in ATTEMPTS if attempt.name == "daemon"]
    found = {one.attempt.name: one for one in prove(sandbox, PYTHON_IMAGE, own, (usable_cores()[0],), attempts)}
    for survivor in living("harness-proof-"):
        survivor.kill()
    assert found["daemon"].state is State.OUT


def _plain_launcher(folder):
    """Begins the program and cares for nothing."""
    path = folder / "launch.py"
    path.write_text(
        "import os, sys\nos.set_inheritable(int(sys.argv[4]), False)\nos.execv(sys.argv[5], sys.argv[5:])\n"
    )
    return path


def test_an_unknown_image_under_process_does_not_matter(tmp_path):
    from harness.sandbox.process import Backend

    sandbox = Backend(Setting(secrets.token_hex(8), {}))
    attempts = [attempt for attempt in ATTEMPTS if attempt.name == "environment"]
    found = list(prove(sandbox, "no/such-image:1", tmp_path, (usable_cores()[0],), attempts))
    assert [one.state for one in found] == [State.CONTAINED] * 2


def test_where_nothing_runs_there_is_no_proof(tmp_path, monkeypatch):
    from harness.sandbox import process

    monkeypatch.setattr(process.Backend, "run", lambda self, job, stop: ending(Verdict.EXIT, 127, "not found\n"))
    with pytest.raises(UserError, match=r"an-image:1.*not found.*python3"):
        list(prove(process.Backend(Setting("x", {})), "an-image:1", tmp_path, (0,)))
