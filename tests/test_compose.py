"""The harness in a container of its own, or on a cluster of containers, plays the same tournament as on the host: it
drives the host's engine through its socket, and the engine finds every folder under the path that the harness knows."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
from builders import (
    first_pixel,
    first_pixel_dataset,
    play_file,
    read_ledger,
    rule_defense,
    write_attack,
    write_tournament,
)

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "docker-compose.yml", "Dockerfile", ".dockerignore", "pyproject.toml", "constraints.txt", "README.md", "LICENSE",
)  # fmt: skip

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def compose(tmp_path):
    """`docker-compose ARGUMENTS` in a copy of this checkout; what it printed is returned. Its images stay, for the next
    time."""
    if shutil.which("docker-compose") is None:
        reason = "docker-compose is not installed"
        if os.environ.get("HARNESS_REQUIRE_DOCKER") == "1":
            pytest.fail(f"{reason} (HARNESS_REQUIRE_DOCKER=1)", pytrace=False)
        pytest.skip(reason)
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip(f"the engine is not behind a local socket ({address})")
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in FILES:
        shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"DOCKER_SOCKET": address.removeprefix("unix://"), "PWD": str(folder)}
    project = f"harness-test-{secrets.token_hex(4)}"

    def compose(*arguments):
        command = ["docker-compose", "--project-name", project, "--project-directory", str(folder), *arguments]
        ended = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        return ended.stdout

    compose.folder, compose.project = folder, project
    yield compose
    compose("--profile", "cluster", "down", "--volumes")


def write_tiny(folder, **more):
    """A tournament of an attack and a defense in a checkout, where its paths are as they are in the real one."""
    first_pixel_dataset(folder / "dataset/tiny")
    write_attack(folder / "submissions/shift", "for name in names: write(name, read(name) + epsilon)")
    rule_defense(folder / "submissions/first_pixel", first_pixel)
    keys = {"dataset": "../dataset/tiny", "submissions": ["../submissions/*"], "name": "tiny"} | more
    return write_tournament(folder / "tournaments/tiny.yaml", output="../runs/tiny", **keys)


def boards(folder, *names):
    return [(folder / "runs" / name / "leaderboard.json").read_bytes() for name in names]


def test_a_tournament_is_played_from_a_container(compose):
    folder = compose.folder
    path = write_tiny(folder, sandbox="auto")
    compose("build", "harness")
    played = compose("run", "--rm", "-T", "harness", "run", "tournaments/tiny.yaml")
    assert "3 calls were made" in played
    again = compose("run", "--rm", "-T", "harness", "run", "tournaments/tiny.yaml")
    assert "nothing was left to call" in again
    assert "sandbox docker" in compose("run", "--rm", "-T", "harness", "plan", "tournaments/tiny.yaml")
    play_file(path, sandbox="process", output=folder / "runs/other")
    one, other = boards(folder, "tiny", "other")
    assert one == other


SERVICES = {"cluster", "head", "objects", "worker-1", "worker-2"}
RAY = ("--executor", "ray", "--ray-address", "auto", "--objects", "s3://harness/tiny")


def services(engine, folder):
    """By the name of its service, each container that has something of this folder, or None where it is of none."""
    return [
        container.labels.get("com.docker.compose.service")
        for container in engine.containers.list(all=True, ignore_removed=True)
        if any(Path(mount.get("Source", "/")).is_relative_to(folder) for mount in container.attrs["Mounts"])
    ]


def test_a_tournament_is_played_across_a_cluster(compose, docker_engine):
    folder = compose.folder
    path = write_tiny(folder, sandbox="docker", batch_size=1, limits={"cpus": 1})
    compose("--profile", "cluster", "build", "cluster")
    compose("--profile", "cluster", "up", "--detach", "cluster")
    played = compose("--profile", "cluster", "exec", "-T", "head", "harness", "run", "tournaments/tiny.yaml", *RAY)
    assert f"{len(read_ledger(folder / 'runs/tiny/store'))} calls were made" in played

    # A machine fetches a submission's files when it is to play its first call; the head has none.
    machines = {place.parts[-3] for place in folder.glob("runs/nodes/*/*/code") if any(place.iterdir())}
    assert machines == {"worker-1", "worker-2"}
    work = [*folder.glob("runs/nodes/*/*/work"), folder / "runs/tiny/store/work"]
    assert [list(place.iterdir()) for place in work] == [[], [], []]
    assert sorted(services(docker_engine, folder)) == sorted(SERVICES)

    play_file(path, output=folder / "runs/local")
    one, other = boards(folder, "tiny", "local")
    assert one == other

    compose("--profile", "cluster", "down", "--volumes")
    assert services(docker_engine, folder) == []
    mine = {"filters": {"label": f"com.docker.compose.project={compose.project}"}}
    assert [*docker_engine.networks.list(**mine), *docker_engine.volumes.list(**mine)] == []
