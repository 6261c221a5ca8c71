"""What content addresses, a cache and looking at every digest add to an object store's own reading and writing.

    python benchmarks/objects.py [--images 200] [--repeat 3]

Canonical images of 299x299 (268 KB each) go to moto's S3 server, in a process of its own on this machine, and come back
into a folder: with plain fsspec (one call for all of them, which it makes side by side), and with `RemoteObjects`: its
`add` is called from 16 threads, and it then brings and links them. A second reading comes out of the cache.
Interleaved; prints the median, and the smallest and largest, in images per second. moto is written in Python, and a
server on the same cores is no network: look at the ratio and not at the speed.
"""

import argparse
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from fsspec.core import url_to_fs

from harness.bucket import STREAMS
from harness.images import write_png
from harness.objects import open_objects

ADDRESS = "http://127.0.0.1:{port}"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "of-a-test",
    "AWS_SECRET_ACCESS_KEY": "of-a-test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--port", type=int, default=5577)
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {}
    with server(arguments.port), tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.repeat):
            generator = np.random.default_rng(turn)
            shape = (arguments.images, 299, 299, 3)
            images = [write_png(one) for one in generator.integers(0, 256, shape, dtype=np.uint8)]
            for measure in (plain, ours) if turn % 2 else (ours, plain):
                for name, seconds in measure(images, Path(folder) / f"{measure.__name__}{turn}").items():
                    rates.setdefault(name, []).append(len(images) / seconds)
    for name in sorted(rates):
        found = rates[name]
        print(f"{name:32} {statistics.median(found):7.0f} ({min(found):.0f} to {max(found):.0f}) images/s")


def plain(images: list[bytes], folder: Path) -> dict[str, float]:
    files, bucket = url_to_fs(f"s3://plain-{secrets.token_hex(4)}", use_listings_cache=False, skip_instance_cache=True)
    files.mkdir(bucket)
    keys = [f"{bucket}/{number:06}" for number in range(len(images))]
    folder.mkdir()
    targets = [str(folder / f"{number:06}") for number in range(len(images))]
    return {
        "write, fsspec": timed(lambda: files.pipe(dict(zip(keys, images, strict=True)), batch_size=STREAMS)),
        "read, fsspec": timed(lambda: files.get(keys, targets, batch_size=STREAMS)),
    } | clear(folder)


def ours(images: list[bytes], folder: Path) -> dict[str, float]:
    url = f"s3://ours-{secrets.token_hex(4)}"
    url_to_fs(url)[0].mkdir(url)
    objects = open_objects(url, folder / "writer")
    digests: list[str] = []

    def write() -> None:
        with ThreadPoolExecutor(STREAMS) as pool:
            digests.extend(pool.map(objects.add, images))

    def read() -> None:
        target = folder / secrets.token_hex(4)
        target.mkdir()
        reader.bring(digests)
        for digest in digests:
            reader.link(digest, target / digest)

    found = {"write, RemoteObjects": timed(write)}
    reader = open_objects(url, folder / "reader")
    found["read, RemoteObjects"] = timed(read)
    found["read again, RemoteObjects"] = timed(read)
    return found | clear(folder)


def clear(folder: Path) -> dict[str, float]:
    shutil.rmtree(folder)
    return {}


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@contextmanager
def server(port: int) -> Iterator[None]:
    """moto's, which this process's environment then leads to."""
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=ADDRESS.format(port=port))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(ADDRESS.format(port=port))
            yield
        finally:
            process.kill()


def wait_for(address: str) -> None:
    for _ in range(100):
        try:
            urlopen(address).close()
        except URLError:
            time.sleep(0.2)
        else:
            return
    sys.exit(f"{address}: does not answer")


if __name__ == "__main__":
    main()
