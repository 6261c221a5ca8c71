"""Places of objects for tests: folders, fsspec's own memory, and a real S3 server in this process."""

import logging
import os
import secrets
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from harness.objects import folder_of

FORMS = ("own folder", "shared folder", "file://", "memory://", "s3://")

SHARED = FORMS[1:]
"""Those that several machines reach."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "of-a-test",
    "AWS_SECRET_ACCESS_KEY": "of-a-test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Server:
    """moto's S3 server, which keeps what it has while it is down."""

    def __init__(self):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.port = 0
        self.start()

    def start(self):
        from moto.server import ThreadedMotoServer  # takes a second

        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()

    def stop(self):
        self._server.stop()

    @property
    def environment(self):
        return CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}


@contextmanager
def s3_server():
    """A server, and what finds it in this process's environment."""
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        try:
            yield server
        finally:
            server.stop()


def files_at(place):
    """The file system and path of a place, past all that the harness does."""
    folder = folder_of(place)
    if folder is not None:
        return fsspec.filesystem("file", auto_mkdir=True), str(folder)
    options = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]} if place.startswith("s3:") else {}
    return fsspec.core.url_to_fs(place, use_listings_cache=False, **options)


def make_bucket():
    """The URL of a new, empty bucket."""
    name = f"bucket-{secrets.token_hex(6)}"
    files_at(f"s3://{name}")[0].mkdir(name)
    return f"s3://{name}"


def make_place(form, folder):
    """A place of this form that nobody used before; `folder` is the test's own."""
    return {
        "own folder": lambda: str(folder / "cache"),
        "shared folder": lambda: str(folder / "shared"),
        "file://": lambda: (folder / "with space").as_uri(),
        "memory://": lambda: f"memory://{secrets.token_hex(6)}",
        "s3://": lambda: f"{make_bucket()}/deep/er",
    }[form]()


def overwrite(place, name, data):
    """Puts other bytes there, as no harness does."""
    files, root = files_at(place)
    path = f"{root}/{name}"
    if folder_of(place) is not None and Path(path).exists():
        Path(path).chmod(0o644)
        Path(path).write_bytes(data)
    else:
        files.pipe_file(path, data)


def key_of(digest):
    return f"{digest[:2]}/{digest[2:]}"
