"""The harness in a container of its own plays the same tournament as on the host: it drives the host's engine through
its socket, and the engine finds every folder under the path that the harness knows."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from builders import first_pixel, first_pixel_dataset, play_file, rule_defense, write_attack, write_tournament

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "docker-compose.yml", "Dockerfile", ".dockerignore", "pyproject.toml", "constraints.txt", "README.md", "LICENSE",
)  # fmt: skip

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def compose(tmp_path):
    """`docker-compose ARGUMENTS` in a copy of this checkout; what it printed is returned."""
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

    def compose(*arguments):
        command = ["docker-compose", "--project-directory", str(folder), *arguments]
        ended = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        return ended.stdout

    compose.folder = folder
    return compose


def test_a_tournament_is_played_from_a_container(compose):
    folder = compose.folder
    first_pixel_dataset(folder / "dataset/tiny")
    write_attack(folder / "submissions/shift", "for name in names: write(name, read(name) + epsilon)")
    rule_defense(folder / "submissions/first_pixel", first_pixel)
    keys = {"dataset": "../dataset/tiny", "submissions": ["../submissions/*"], "name": "tiny", "sandbox": "auto"}
    path = write_tournament(folder / "tournaments/tiny.yaml", output="../runs/tiny", **keys)
    compose("build")
    played = compose("run", "--rm", "-T", "harness", "run", "tournaments/tiny.yaml")
    assert "3 calls were made" in played
    again = compose("run", "--rm", "-T", "harness", "run", "tournaments/tiny.yaml")
    assert "nothing was left to call" in again
    assert "sandbox docker" in compose("run", "--rm", "-T", "harness", "plan", "tournaments/tiny.yaml")
    play_file(path, sandbox="process", output=folder / "runs/other")
    one, other = ((folder / "runs" / name / "leaderboard.json").read_bytes() for name in ("tiny", "other"))
    assert one == other
