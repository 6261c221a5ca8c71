"""What the referee itself costs: this harness against the plain way of doing the same.

Four light attacks and three light defenses (numpy and Pillow, no network) play on 60 photographs of 299x299, so
that nearly all of the time is the referee's: staging, containers, decoding, clipping, encoding, scoring. The
plain way runs the same calls one after the other with `docker run`, clips with int32 arrays and saves with
Pillow's defaults, as the 2017 toolkit did. Once with the calls of `versions_per_call: 1` (a defense is called for
each attack), once with those of `all` (a defense is called once, as by the toolkit).

    python benchmarks/referee.py [--repeat 3]

Needs a Docker engine, and an image with Python, numpy and Pillow (--image). Prints wall seconds and own CPU
seconds (of the process and its children, without the containers) of both, interleaved, and their ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "dataset" / "photos"
EPSILON = 16

ATTACK = """#!/usr/bin/env python3
import os, sys
import numpy as np
from PIL import Image
source, target, epsilon = sys.argv[1], sys.argv[2], int(sys.argv[3])
for name in sorted(os.listdir(source)):
    if name.endswith(".png"):
        pixels = np.asarray(Image.open(os.path.join(source, name))).astype(int)
        rng = np.random.default_rng(len(name) + {seed})
        noise = rng.integers(-epsilon - 2, epsilon + 3, pixels.shape)
        result = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        Image.fromarray(result).save(os.path.join(target, name))
"""
DEFENSE = """#!/usr/bin/env python3
import os, sys
import numpy as np
from PIL import Image
with open(sys.argv[2], "w") as file:
    for name in sorted(os.listdir(sys.argv[1])):
        pixels = np.asarray(Image.open(os.path.join(sys.argv[1], name)))
        file.write(f"{{name}},{{1 + (int(pixels.mean() * 10) + {seed}) % 1000}}\\n")
"""


def write_submission(folder: Path, role: str, program: str, image: str) -> None:
    folder.mkdir(parents=True)
    entry = folder / "run.py"
    entry.write_text(program)
    entry.chmod(0o755)
    (folder / "metadata.json").write_text(json.dumps({"type": role, "container": image, "entry_point": "run.py"}))


def write_dataset(folder: Path) -> None:
    """60 pictures: the 20 photographs, mirrored, and upside down."""
    (folder / "images").mkdir(parents=True)
    rows = ["ImageId,TrueLabel,TargetClass"]
    for path in sorted((PHOTOS / "images").glob("*.png")):
        pixels = np.asarray(Image.open(path))
        for turn, turned in enumerate((pixels, pixels[:, ::-1], pixels[::-1])):
            Image.fromarray(turned).save(folder / "images" / f"{path.stem}_{turn}.png")
            rows.append(f"{path.stem}_{turn},1,2")
    (folder / "dataset.csv").write_text("\n".join(rows) + "\n")


def plain_way(folder: Path, versions: str) -> None:
    """The same calls one after the other; this function is what the benchmark compares with."""
    images, work = folder / "dataset" / "images", folder / "plain"
    bounds = {}
    for path in images.glob("*.png"):
        clean = np.array(Image.open(path).convert("RGB")).astype("int32")
        bounds[path.name] = (
            np.clip(clean - EPSILON, 0, 255).astype("uint8"),
            np.clip(clean + EPSILON, 0, 255).astype("uint8"),
        )
    everything = work / "all"
    everything.mkdir(parents=True)
    for attack in sorted((folder / "attacks").iterdir()):
        output = work / attack.name
        output.mkdir()
        docker_run(attack, images, output, ["/input_images", "/output", str(EPSILON)])
        for path in output.glob("*.png"):
            low, high = bounds[path.name]
            clipped = np.clip(np.array(Image.open(path).convert("RGB")), low, high)
            Image.fromarray(clipped).save(everything / f"{attack.name}_{path.name}")
    batches = [everything]
    if versions == "1":
        batches = [work / f"batch_{attack.name}" for attack in (folder / "attacks").iterdir()]
        for path in everything.iterdir():
            batch = work / f"batch_{path.name.partition('_')[0]}"
            batch.mkdir(exist_ok=True)
            path.rename(batch / path.name)
    for defense in sorted((folder / "defenses").iterdir()):
        output = work / defense.name
        output.mkdir()
        for batch in batches:
            docker_run(defense, batch, output, ["/input_images", "/output/result.csv"])


def docker_run(submission: Path, inputs: Path, output: Path, arguments: list[str]) -> None:
    image = json.loads((submission / "metadata.json").read_text())["container"]
    mounts = [f"{inputs}:/input_images", f"{output}:/output", f"{submission}:/code"]
    volumes = [word for mount in mounts for word in ("-v", mount)]
    command = ["docker", "run", "--rm", "--network", "none", *volumes, "-w", "/code", image, "./run.py", *arguments]
    subprocess.run(command, check=True)


def harness_way(folder: Path, versions: str) -> list[str]:
    """The command that plays the same through the harness."""
    flags = {
        "--attacks-dir": folder / "attacks",
        "--defenses-dir": folder / "defenses",
        "--dataset-dir": folder / "dataset",
        "--dataset-metadata": folder / "dataset" / "dataset.csv",
        "--output-dir": folder / "run",
        "--sandbox": "docker",
        "--epsilon": EPSILON,
        "--versions-per-call": versions,
    }
    return [sys.executable, "-m", "harness", "run", *(str(word) for pair in flags.items() for word in pair)]


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and CPU seconds of a command and the children it waited for."""
    before, began = os.times(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description="The referee's own cost, against the plain way.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--image", default="harness-test/python-numpy:1", help="has Python, numpy and Pillow")
    parser.add_argument("--plain", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        plain_way(Path(arguments.plain[0]), arguments.plain[1])
        return
    if not (PHOTOS / "images").is_dir():
        subprocess.run([sys.executable, PHOTOS / "build.py"], check=True)
    for versions in ("1", "all"):
        results: dict[str, list[tuple[float, float]]] = {"plain way": [], "harness": []}
        for _ in range(arguments.repeat):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                write_all(folder, arguments.image)
                plain = [sys.executable, __file__, "--plain", name, versions]
                results["plain way"].append(measure(plain))
                results["harness"].append(measure(harness_way(folder, versions)))
        print(f"versions_per_call: {versions}")
        report(results)


def write_all(folder: Path, image: str) -> None:
    write_dataset(folder / "dataset")
    for seed in range(4):
        write_submission(folder / "attacks" / f"attack{seed}", "attack", ATTACK.format(seed=seed), image)
    for seed in range(3):
        write_submission(folder / "defenses" / f"defense{seed}", "defense", DEFENSE.format(seed=seed), image)


def report(results: dict[str, list[tuple[float, float]]]) -> None:
    for number, quantity in enumerate(("wall seconds", "own CPU seconds")):
        medians = {}
        for name, runs in results.items():
            values = sorted(run[number] for run in runs)
            medians[name] = statistics.median(values)
            print(f"{quantity:>16}  {name:<10} min {values[0]:.2f}  median {medians[name]:.2f}  max {values[-1]:.2f}")
        print(f"{quantity:>16}  ratio of medians, harness / plain way: {medians['harness'] / medians['plain way']:.2f}")


if __name__ == "__main__":
    main()
