"""A cluster of Ray that has a token lets nobody in without it, and the harness says so at once, in one line."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from builders import first_pixel_dataset, write_attack, write_defense, write_tournament

pytestmark = pytest.mark.xdist_group("ray")

RIGHT, WRONG = "a" * 32, "b" * 32
REFUSED = (
    "{}: the cluster wants a token, and not what we have; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what "
    "`ray get-auth-token` prints on the cluster"
)
LET_IN = "the cluster has no machine to play on; start one with `ray start`"


def surroundings(home, **variables):
    """The environment of a user with that home, and what Ray is told there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"} | variables


@pytest.fixture(scope="module")
def address():
    """Of a head without cores, whose token is RIGHT."""
    ray = Path(sys.executable).with_name("ray")
    # In a folder whose path is short, for it holds sockets.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [ray, "start", "--head", "--block", "--port=0", "--num-cpus=0", "--include-dashboard=false"]
        with subprocess.Popen(
            [*command, "--object-store-memory=100000000", f"--temp-dir={folder}"],
            env=surroundings(folder, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=RIGHT),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as head:  # fmt: skip
            found = (re.search(r"ray start --address='(.+)'", line) for line in head.stdout)
            yield next(filter(None, found))[1]
            head.terminate()
            head.communicate()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("round")
    first_pixel_dataset(folder / "dataset")
    write_attack(folder / "submissions/noop", "")
    write_defense(folder / "submissions/silent", "")
    return write_tournament(folder / "tiny.yaml", executor="ray")


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({}, REFUSED),
        ({"RAY_AUTH_TOKEN": RIGHT}, REFUSED),  # Ray shows it nobody who is not asked to
        ({"RAY_AUTH_MODE": "token"}, REFUSED),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WRONG}, REFUSED),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": RIGHT}, LET_IN),
    ],
)
def test_who_is_let_in(address, path, tmp_path, variables, line):
    command = [sys.executable, "-m", "harness", "run", path, "--ray-address", address]
    ended = subprocess.run(
        command, env=surroundings(tmp_path, **variables), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, f"harness: {line.format(address)}\n")


def test_a_ray_of_ones_own_leaves_no_token_behind(path, tmp_path):
    """One in the home would turn tokens on in the next cluster that is started there."""
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-m", "harness", "run", path, "--output", tmp_path / "out"]
    ended = subprocess.run(command, env=surroundings(tmp_path / "home"), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert list((tmp_path / "home").rglob("*token*")) == []
