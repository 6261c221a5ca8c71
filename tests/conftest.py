"""What all tests share: the rule for tests that need a Docker engine, and how long properties are searched."""

import os
import signal
from functools import cache

import pytest
from hypothesis import HealthCheck, settings

# Speed is measured in benchmarks/, so no deadline; a named seed, so that a red test is red again. To search
# further: pytest --hypothesis-profile=explore
settings.register_profile(
    "tests", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# Most tests reckon with tensors so small that a second thread waits longer than it works.
os.environ.setdefault("OMP_NUM_THREADS", "1")

NO_ENGINE = "no Docker engine answers: start one or set DOCKER_HOST"


@cache
def engine_answers():
    from harness.sandbox.docker import engine_answers

    return engine_answers()


def require_engine():
    """Skips without an engine; fails instead where HARNESS_REQUIRE_DOCKER=1 says that there has to be one."""
    if engine_answers():
        return
    if os.environ.get("HARNESS_REQUIRE_DOCKER") == "1":
        pytest.fail(f"{NO_ENGINE} (HARNESS_REQUIRE_DOCKER=1)", pytrace=False)
    pytest.skip(NO_ENGINE)


def pytest_collection_modifyitems(items):
    """For several workers (pytest-xdist): a file is played by one, since its fixtures may be dear; slow files first."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup(item):
    if item.get_closest_marker("docker"):
        require_engine()


@pytest.fixture(scope="session")
def docker_engine():
    """A client of the engine that the harness would use."""
    require_engine()
    import docker

    client = docker.DockerClient.from_env(timeout=120)
    yield client
    client.close()


@pytest.fixture
def run_main(monkeypatch):
    """`harness ARGUMENTS` in this process, without what the developer's environment says; the exit code."""
    from harness.cli import STOPPING, main

    monkeypatch.delenv("HARNESS_SANDBOX", raising=False)
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield lambda *arguments: main([str(argument) for argument in arguments])
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Figures of the same numbers are drawn once in a module."""
    from bundles import remember_drawings  # matplotlib takes a while

    with pytest.MonkeyPatch.context() as patch:
        remember_drawings(patch, tmp_path_factory.mktemp("drawings"))
        yield
