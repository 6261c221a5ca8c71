"""A machine of a cluster plays in the very image that the driver prepared, wherever it got that from, and never in
another one."""

import io
import tarfile

import pytest
from engine import open_stage

pytestmark = pytest.mark.docker


@pytest.fixture
def image(docker_engine):
    """The id of an image that nobody else has."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"), io.BytesIO())
    docker_engine.api.import_image_from_data(data.getvalue(), repository="harness-test/travels", tag="1")
    found = docker_engine.images.get("harness-test/travels:1").id
    yield found
    docker_engine.images.remove(found, force=True)


@pytest.fixture
def sandbox(tmp_path):
    with open_stage("docker", tmp_path / "stage") as stage:
        yield stage.backend


def test_an_image_comes_back_from_its_archive(docker_engine, image, sandbox, tmp_path):
    archive = tmp_path / "image.tar"
    sandbox.pack(image, archive)
    assert sandbox.provide(image, (), None)
    docker_engine.images.remove(image, force=True)
    assert not sandbox.provide(image, (), None)
    assert not sandbox.provide(image, ["localhost:1/nowhere@sha256:" + "0" * 64], None)
    assert sandbox.provide(f"{image} runtime=runc", (), archive)
    assert docker_engine.images.get(image).id == image


def test_another_image_in_an_archive_is_not_taken(image, sandbox, tmp_path):
    archive = tmp_path / "image.tar"
    sandbox.pack(image, archive)
    assert not sandbox.provide("sha256:" + "1" * 64, (), archive)


def test_an_image_has_names_only_where_a_registry_gave_them(image, sandbox):
    assert sandbox.names(image) == ()
