"""The referee's peak memory at 5000 images of 299x299: images stream, so it must not grow with their number.

    python benchmarks/memory.py [--images 500 5000]

Two attacks and one defense, all of them light, under the `process` sandbox; the pictures are the 20 photographs,
shifted. Prints the peak resident memory of the harness itself (VmHWM, MiB), without what it started, and seconds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = Path(__file__).resolve().parent.parent / "dataset" / "photos"

ATTACK = """#!/usr/bin/env python3
import os, sys
import numpy as np
from PIL import Image
for name in os.listdir(sys.argv[1]):
    pixels = np.asarray(Image.open(os.path.join(sys.argv[1], name)))
    Image.fromarray(pixels ^ {mask}).save(os.path.join(sys.argv[2], name), compress_level=0)
"""
DEFENSE = """#!/usr/bin/env python3
import os, sys
with open(sys.argv[2], "w") as file:
    file.writelines(f"{name},1\\n" for name in os.listdir(sys.argv[1]))
"""


def write_round(folder: Path, images: int) -> None:
    programs = {"attack1": ATTACK.format(mask=1), "attack2": ATTACK.format(mask=3), "defense": DEFENSE}
    for name, program in programs.items():
        place = folder / "submissions" / name
        place.mkdir(parents=True)
        (place / "run.py").write_text(program)
        (place / "run.py").chmod(0o755)
        role = "defense" if name == "defense" else "attack"
        metadata = {"type": role, "container": "python:3.11-slim", "entry_point": "run.py"}
        (place / "metadata.json").write_text(json.dumps(metadata))
    (folder / "dataset" / "images").mkdir(parents=True)
    photos = [np.asarray(Image.open(path)) for path in sorted((PHOTOS / "images").glob("*.png"))]
    rows = ["ImageId,TrueLabel,TargetClass"]
    for number in range(images):
        pixels = np.roll(photos[number % len(photos)], number // len(photos), axis=1)
        Image.fromarray(pixels).save(folder / "dataset" / "images" / f"{number:05d}.png", compress_level=1)
        rows.append(f"{number:05d},1,2")
    (folder / "dataset" / "dataset.csv").write_text("\n".join(rows) + "\n")


def peak_memory(folder: Path) -> tuple[float, float]:
    """(MiB, seconds) of a run of the round in `folder`."""
    flags = [
        "--attacks-dir",
        folder / "submissions",
        "--dataset-dir",
        folder / "dataset",
        "--output-dir",
        folder / "run",
    ]
    command = [sys.executable, "-m", "harness", "run", *flags, "--sandbox", "process", "--trust-submissions"]
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the run failed with exit code {process.returncode}")
    return peak / 1024, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="The referee's peak memory.")
    parser.add_argument("--images", type=int, nargs="+", default=[500, 5000])
    for images in parser.parse_args().images:
        with tempfile.TemporaryDirectory() as name:
            write_round(Path(name), images)
            memory, seconds = peak_memory(Path(name))
            print(f"{images:>6} images: peak {memory:.0f} MiB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
