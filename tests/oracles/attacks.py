"""Our attacks beside those of torchattacks, cleverhans and foolbox: the same networks, images, labels and starts.

Ours is the whole program, `advkit.perturb`, with the submission's own config.yaml, up to the saved PNG. `attacks.md`
beside this file says what to install, how to call this, and what came out.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchattacks
import yaml
from attack_libraries import RANDOM, REFERENCES, Given, Reference
from torch import Tensor

import advkit.networks.efficientnet_lite
import advkit.perturb
from advkit.attacks import AWAY, TOWARDS, ascend, loss_gradient
from advkit.config import read_config
from advkit.images import clip_to_ball, list_images, read_images, write_image
from advkit.methods import Setting, momentum, variance
from advkit.networks import NETWORKS, load_network, predict
from advkit.perturb import OBJECTIVES, STARTS, Config, perturb
from advkit.run import AttackJob
from advkit.tensors import to_pixels, to_tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/kit"))

from tiny import tiny_network, tiny_pixels  # noqa: E402

FIXTURE = ROOT / "tests/fixtures/attacks.npz"
EPSILON = 16
OTHER_NETWORK = "efficientnet_lite1"  # for transfer
SAMPLES = 5  # neighbours in VMI- and VNI-FGSM, here and there, for time's sake


@dataclass(frozen=True)
class Scene:
    """A network of NETWORKS and the folder of the images (and targets) that it is attacked on."""

    network: str
    input_dir: Path
    dtype: torch.dtype = torch.float32

    def ours(self, submission: Path, seed: int = 0) -> np.ndarray:
        """Pixels, uint8, that the submission makes; its configuration as it is, but for the surrogate."""
        with self._job(submission, seed) as job:
            perturb(job)
            return read_images(list_images(job.output_dir))

    def theirs(self, submission: Path, reference: Reference, seed: int = 0) -> np.ndarray:
        """Pixels, uint8, of a library's attack with the settings of the submission."""
        torch.manual_seed(seed)
        with self._job(submission, seed) as job:
            pairs = [(to_pixels(reference(given)), to_pixels(given.x)) for given in self._batches(job)]
        return np.concatenate([clip_to_ball(pixels, clean, EPSILON) for pixels, clean in pairs])

    @contextmanager
    def _job(self, submission: Path, seed: int) -> Iterator[AttackJob]:
        with tempfile.TemporaryDirectory() as folder:
            code, output_dir = Path(folder, "code"), Path(folder, "output")
            shutil.copytree(submission, code)
            output_dir.mkdir()
            settings = yaml.safe_load((code / "config.yaml").read_text()) | {"surrogates": [self.network]}
            for method in settings.get("methods", []):
                method.update({"samples": SAMPLES} if method["name"] == "variance" else {})
            (code / "config.yaml").write_text(yaml.safe_dump(settings))
            yield AttackJob(code, self.input_dir, output_dir, EPSILON, seed)

    def _batches(self, job: AttackJob) -> Iterator[Given]:
        network = load_network(self.network)
        config = read_config(job.folder / "config.yaml", Config)
        for batch in job.batches():
            x = to_tensor(batch.pixels).to(self.dtype)
            classes, sign = OBJECTIVES[config.objective](job, batch, network, x)
            generators = [job.generator(name) for name in batch.names]
            start = STARTS[config.start](x, config.relative_start_size * EPSILON, generators)
            step = config.relative_step_size * EPSILON / 255
            yield Given(network, x, classes, sign == TOWARDS, start, EPSILON / 255, config.steps, step)


def submission_of(name: str) -> Path:
    """The folder of an attack, targeted or not."""
    return next(ROOT.glob(f"submissions/*attacks/{name}"))


@contextmanager
def tiny_scene() -> Iterator[Scene]:
    """The tiny network of the tests, on four images of 32 x 32."""
    NETWORKS["tiny"] = tiny_network
    with tempfile.TemporaryDirectory() as folder:
        write_scene(Path(folder), tiny_pixels(4), [7, 8, 9, 10])
        yield Scene("tiny", Path(folder))


@contextmanager
def photo_scene(number: int) -> Iterator[Scene]:
    """EfficientNet-Lite0 on so many of the twenty photographs of the project."""
    with tempfile.TemporaryDirectory() as built, tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, ROOT / "dataset/photos/build.py", built], check=True)
        with Path(built, "dataset.csv").open(newline="") as file:
            targets = [int(row["TargetClass"]) for row in csv.DictReader(file)]
        paths = list_images(Path(built, "images"))
        write_scene(Path(folder), read_images(paths[:number]), targets[:number])
        yield Scene("efficientnet_lite0", Path(folder))


@contextmanager
def exact_photo_scene(number: int) -> Iterator[Scene]:
    """The same in float64, where rounding decides no sign: the network, the images and our program."""
    body = load_network("efficientnet_lite0").double()
    advkit.networks.efficientnet_lite.resize = _resize
    NETWORKS["efficientnet_lite0 in float64"] = lambda: body
    advkit.perturb.to_tensor = lambda pixels: to_tensor(pixels).double()
    with photo_scene(number) as scene:
        yield Scene("efficientnet_lite0 in float64", scene.input_dir, torch.float64)


def _resize(x: Tensor, size: int) -> Tensor:
    return F.interpolate(x, size=(size, size), mode="bicubic")


def write_scene(folder: Path, pixels: np.ndarray, targets: list[int]) -> None:
    """Images 0.png, 1.png, ... and their target labels."""
    for number, image in enumerate(pixels):
        write_image(folder / f"{number}.png", image)
    lines = [f"{number}.png,{target}\n" for number, target in enumerate(targets)]
    (folder / "target_class.csv").write_text("".join(lines))


def compare(scene: Scene) -> None:
    """One row an attack and library: how much is the same within one grey level, and the largest difference."""
    for name, libraries in REFERENCES.items():
        ours = scene.ours(submission_of(name))
        for library, reference in libraries.items():
            if scene.dtype == torch.float32 or not library.startswith("cleverhans"):  # cleverhans casts to float32
                print_agreement(scene, name, library, ours, scene.theirs(submission_of(name), reference))
    print_agreement(scene, "vmi_fgsm", "torchattacks, its draws", *variance_with_one_source_of_draws(scene))


def print_agreement(scene: Scene, name: str, library: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """A row of the table of deterministic attacks."""
    difference = np.abs(ours.astype(int) - theirs)
    share, equal = 100 * (difference <= 1).mean(), 100 * (difference == 0).mean()
    print(f"| {scene.network} | {name} | {library} | {share:.3f} | {equal:.3f} | {difference.max()} |", flush=True)


def variance_with_one_source_of_draws(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """VMI-FGSM of both, where our draws come from the generator that torchattacks uses."""

    class Draws(Setting):
        def uniform(self, low: float, high: float) -> Tensor:
            return torch.randn_like(self.x).uniform_(low, high)

    def ours(given: Given) -> Tensor:
        setting = Draws(given.x, EPSILON, given.step * 255, [], lambda: given.x)
        gradient = loss_gradient(given.network, given.classes, TOWARDS if given.towards else AWAY)
        gradient = momentum(variance(gradient, setting, samples=SAMPLES), setting)
        return ascend(given.x, gradient, epsilon=EPSILON, step_size=setting.step_size, steps=given.steps)

    def theirs(given: Given) -> Tensor:
        attack = torchattacks.VMIFGSM(given.network, given.epsilon, given.step, given.steps, N=SAMPLES)
        return attack(given.x, given.classes)

    def seeded(reference: Reference) -> Reference:
        return lambda given: (torch.manual_seed(1), reference(given))[1]

    folder = submission_of("vmi_fgsm")
    return scene.theirs(folder, seeded(ours)), scene.theirs(folder, seeded(theirs))


def compare_success(scene: Scene, seeds: range) -> None:
    """One row a random attack: images whose answer changed, ours and theirs, white-box and on another network."""
    for name, reference in RANDOM.items():
        folder = submission_of(name)
        ours = success(scene, [scene.ours(folder, seed) for seed in seeds])
        theirs = success(scene, [scene.theirs(folder, reference, seed) for seed in seeds])
        print(f"| {name} | {' | '.join(map(str, ours + theirs))} |", flush=True)


def success(scene: Scene, made: Sequence[np.ndarray]) -> list[int]:
    """Of all images in `made`, those whose answer changed: on the surrogate, on the other network."""
    x = to_tensor(read_images(list_images(scene.input_dir)))
    changed = [
        [int((predict(network, to_tensor(pixels)) != predict(network, x)).sum()) for pixels in made]
        for network in (load_network(scene.network), load_network(OTHER_NETWORK))
    ]
    return [sum(counts) for counts in changed]


def write_fixture() -> None:
    """What the first library of each attack makes of the tiny scene, as differences from the images plus EPSILON."""
    with tiny_scene() as scene:
        clean = read_images(list_images(scene.input_dir)).astype(int)
        made = {name: scene.theirs(submission_of(name), next(iter(of.values()))) for name, of in REFERENCES.items()}
    differences = {name: (pixels - clean + EPSILON).astype(np.uint8) for name, pixels in made.items()}
    FIXTURE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FIXTURE, **differences)


def main() -> None:
    """What the arguments ask for; tables go to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["tiny", "photos", "photos-in-float64", "success", "fixture"])
    parser.add_argument("--images", type=int, default=20, help="how many photographs")
    parser.add_argument("--seeds", type=int, default=1, help="how often each random attack is made")
    arguments = parser.parse_args()
    if arguments.what == "tiny":
        with tiny_scene() as scene:
            compare(scene)
    elif arguments.what == "fixture":
        write_fixture()
    else:
        with (exact_photo_scene if "64" in arguments.what else photo_scene)(arguments.images) as scene:
            compare_success(scene, range(arguments.seeds)) if arguments.what == "success" else compare(scene)


if __name__ == "__main__":
    main()
