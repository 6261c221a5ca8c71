"""Whatever a submission takes or reaches for, the round goes on, its rivals' scores stay, and nothing of it is left.

tests/submissions holds folders that each attempt one thing, `resource_*` and `reach_*`; the table below says how their
calls must end. Those that reach for something do their work if they were refused, and end with an exit code of 1 and
`GOT OUT` if they were not. NOT_UNDER_PROCESS is the written list of what only `docker` promises.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import (
    first_pixel_dataset,
    living,
    play_file,
    read_board,
    read_index,
    rule_defense,
    store_identity,
    write_attack,
    write_tournament,
)
from engine import containers
from hostile import note

from harness.digest import digest_file
from harness.sandbox.listener import Listener

FOLDERS = Path(__file__).parent / "submissions"
PREFIXES = ("resource_", "reach_")
MEMORY_BYTES = 500 << 20
"""More than this the harness itself may never have."""

LIMITS = {"seconds": 4, "memory": "128 MiB", "pids": 64, "output": "4 MiB"}

TIME, MEMORY, OUTPUT = "over when its time is", "no more than limits.memory", "no more on the disk than limits.output"
LEFT, OWN = "nothing of a call is left", "what was handed in and what was given stay as they are"
NETWORK, FILES, KERNEL = "no network", "no file but its own", "no rights of any kind"

# Name -> (rule, verdict of its calls; two where the sandboxes differ: docker, process).
EXPECTED = {
    "resource_core_dump": ("a crash writes no memory to the disk", "exit"),
    "resource_daemon": ("what it starts ends with it", "ok"),
    "resource_deleted_files": (f"{OUTPUT}, files without a name counted", "bad_output"),
    "resource_exit_137": ("an exit code is no proof of having been killed", "exit"),
    "resource_fill_tmp": ("temporary files are bounded", ("out_of_memory", "bad_output")),
    "resource_flood_stdout": ("what it prints is cut", "timeout"),
    "resource_fork_bomb": ("no more processes than limits.pids", "timeout"),
    "resource_huge_file": (OUTPUT, "bad_output"),
    "resource_ignores_signals": (TIME, "timeout"),
    "resource_many_files": (f"{OUTPUT}, small files counted by the room that they take", "bad_output"),
    "resource_memory_slow": (MEMORY, "out_of_memory"),
    "resource_memory_sudden": (MEMORY, "out_of_memory"),
    "resource_open_files": ("a bounded number of open files", "ok"),
    "resource_sleep": (TIME, "timeout"),
    "resource_slow_defense": (TIME, "timeout"),
    "resource_sparse_file": ("an image is no larger than an honest one can be", "bad_output"),
    "resource_spin": (TIME, "timeout"),
    "reach_code": (OWN, "ok"),
    "reach_engine": (FILES, "ok"),
    "reach_environment": ("nothing of the caller's environment", "ok"),
    "reach_inputs": (OWN, "ok"),
    "reach_kernel": (KERNEL, "ok"),
    "reach_labels": (FILES, "ok"),
    "reach_network": (NETWORK, "ok"),
    "reach_next_call": ("nothing is left for its own next call", "ok"),
    "reach_rivals": (FILES, "ok"),
    "reach_root": (FILES, "ok"),
    "reach_store": (FILES, "ok"),
    "reach_targets": (FILES, "ok"),
}

NOT_UNDER_PROCESS = {
    "resource_fork_bomb": "processes are counted every 0.2 s; a bomb starts thousands in between",
    "reach_engine": "it reads what the caller may",
    "reach_kernel": "it has the caller's rights",
    "reach_labels": "it reads what the caller may",
    "reach_network": "the network is the caller's",
    "reach_rivals": "it reads what the caller may",
    "reach_root": "it writes where the caller may",
    "reach_store": "it writes where the caller may",
    "reach_targets": "it reads what the caller may",
}

SANDBOXES = ("docker", "process")
CASES = [
    pytest.param(sandbox, name, marks=[pytest.mark.docker] if sandbox == "docker" else [], id=f"{sandbox}-{name}")
    for sandbox in SANDBOXES
    for name in EXPECTED
    if sandbox == "docker" or name not in NOT_UNDER_PROCESS
]
EACH = [pytest.param("docker", marks=pytest.mark.docker), "process"]

MEASURED = """
import re, sys
from pathlib import Path
from harness.cli import main
code = main(sys.argv[2:])
status = Path("/proc/self/status").read_text()
Path(sys.argv[1]).write_text(str(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024))
sys.exit(code)
"""
"""The harness, which notes the most memory that it ever had, in bytes."""


def second_pixel(pixels):
    return int(pixels[0, 1, 0]) - 40


def write_honest(folder):
    first_pixel_dataset(folder / "dataset")
    body = "for name in names:\n    pixels = read(name)\n    pixels[0, 1:] += (name != 'img2.png') * 9\n"
    write_attack(folder / "submissions/honest", body + "    write(name, pixels)")
    (folder / "submissions/honest/secret.txt").write_text("secret of an honest player")
    targeted = body.replace("(name != 'img2.png') * 9", "(name != 'img3.png')")
    write_attack(folder / "submissions/honest_targeted", targeted + "    write(name, pixels)", "targeted_attack")
    rule_defense(folder / "submissions/honest_defense", second_pixel)


class Played:
    """A tournament of all of them and three honest ones, through the command line, two calls side by side."""

    def __init__(self, folder, sandbox):
        self.folder, self.output, self.store = folder, folder / "out", folder / "out/store"
        self.mark = f"mark-{folder.name}-{os.getpid()}"
        write_honest(folder)
        names = [name for name in EXPECTED if sandbox == "docker" or name not in NOT_UNDER_PROCESS]
        self.listener = Listener(self.mark)
        for name in names:
            shutil.copytree(FOLDERS / name, folder / "submissions" / name)
        self.tell(names)
        keys = {"limits": LIMITS | {"cpus": 1}, "batch_size": 2, "slots": 2, "versions_per_call": "all"}
        path = write_tournament(folder / "hostile.yaml", sandbox=sandbox, **keys)
        self.code, self.printed, self.errors = self.run(path)
        self.listener.close()
        self.peak = int((folder / "peak").read_text())

    def tell(self, names):
        """Where to find what they are after, for those who know it."""
        engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        told = {"mark": self.mark, "port": str(self.listener.port), "store": str(self.store), "engine": engine}
        asked = {"resource_daemon": "mark", "reach_network": "port", "reach_store": "store", "reach_engine": "engine"}
        for name, key in asked.items():
            if name in names:
                (self.folder / "submissions" / name / key).write_text(told[key])

    def run(self, path):
        command = [sys.executable, "-c", MEASURED, str(self.folder / "peak"), "run", str(path)]
        environment = os.environ | {"CALLERS_SECRET": "SECRET", "TOKEN": "the SECRET of the caller"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=280, start_new_session=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def calls(self, name):
        """(verdict, log) of every call."""
        round_ = json.loads((self.output / "round.json").read_text())
        key = next(one["player"] for one in (*round_["attacks"], *round_["defenses"]) if one["name"] == name)
        return read_index(self.store, f"SELECT verdict, log FROM calls WHERE player = '{key}'")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """`played(sandbox)` is the tournament in that sandbox, played once."""
    made = {}

    def play(sandbox):
        if sandbox not in made:
            made[sandbox] = Played(tmp_path_factory.mktemp(sandbox), sandbox)
        return made[sandbox]

    return play


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The board of the honest ones without the others."""
    folder = tmp_path_factory.mktemp("alone")
    write_honest(folder)
    play_file(write_tournament(folder / "hostile.yaml", batch_size=2))
    return read_board(folder / "out")


def said(name):
    """What the folder's program says that it attempts."""
    return (FOLDERS / name / "run").read_text().splitlines()[1].strip('"')


def test_every_folder_has_its_expectation():
    found = {path.name for path in FOLDERS.iterdir() if path.name.startswith(PREFIXES)}
    assert found == set(EXPECTED)
    assert set(NOT_UNDER_PROCESS) < set(EXPECTED)


@pytest.mark.parametrize(("sandbox", "name"), CASES)
def test_each_ends_as_the_rules_say(played, sandbox, name, record_property):
    rule, verdict = EXPECTED[name]
    group = "resources" if name.startswith("resource_") else "reaching out"
    note(record_property, group, said(name), rule, sandbox)
    calls = played(sandbox).calls(name)
    expected = verdict if isinstance(verdict, str) else verdict[SANDBOXES.index(sandbox)]
    assert len(calls) >= (1 if "defense" in name or name == "reach_labels" else 2)
    assert {found for found, _ in calls} == {expected}, calls
    assert not [log for _, log in calls if "GOT OUT" in log]


@pytest.mark.parametrize("sandbox", EACH)
def test_the_run_ends_well(played, sandbox):
    found = played(sandbox)
    assert (found.code, found.errors) == (0, ""), found.printed
    assert read_board(found.output)["complete"]
    assert read_index(found.store, "SELECT * FROM attempts") == []


@pytest.mark.parametrize("sandbox", EACH)
def test_the_honest_ones_are_scored_as_if_they_were_alone(played, alone, sandbox):
    board = read_board(played(sandbox).output)
    for matrix, attack in (("accuracy_on_attacks", "honest"), ("hit_target_class", "honest_targeted")):
        rows = "attacks" if attack == "honest" else "targeted_attacks"
        cells = [
            found["matrices"][matrix][found["matrices"][rows].index(attack)][
                found["matrices"]["defenses"].index("honest_defense")
            ]
            for found in (board, alone)
        ]
        assert cells[0] == cells[1] > 0
    for kind, name in (("attacks", "honest"), ("targeted_attacks", "honest_targeted")):
        one, other = (next(row for row in found[kind] if row["name"] == name) for found in (board, alone))
        assert (one["perturbation"], one["faults"]) == (other["perturbation"], other["faults"])


@pytest.mark.parametrize("sandbox", EACH)
def test_what_was_handed_in_and_what_is_kept_is_what_it_was(played, sandbox):
    found = played(sandbox)
    objects = list(found.store.glob("objects/*/*"))
    assert objects
    assert [path for path in objects if digest_file(path) != path.parent.name + path.name] == []
    for name in ("reach_code", "reach_inputs", "honest"):
        handed_in = {path.name: path.read_bytes() for path in (found.folder / "submissions" / name).iterdir()}
        kept = [
            {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (found.store / "code").iterdir()
        ]
        assert handed_in in kept


@pytest.mark.parametrize("sandbox", EACH)
def test_nothing_is_left_behind(played, sandbox, request):
    found = played(sandbox)
    assert living(found.mark) == []
    assert living(str(found.folder)) == []
    assert list((found.store / "work").iterdir()) == []
    assert str(found.folder) not in Path("/proc/mounts").read_text()
    if sandbox == "docker":
        assert containers(request.getfixturevalue("docker_engine"), store_identity(found.output)) == []
        assert found.listener.reached == 0


@pytest.mark.parametrize("sandbox", EACH)
def test_the_harness_itself_stays_small(played, sandbox):
    assert 10 << 20 < played(sandbox).peak < MEMORY_BYTES
