"""Make the data set `cifar10` from 1,000 test images of CIFAR-10.

    python build.py [OUT_DIR]                           download the binary version, where it is not in the cache
    python build.py [OUT_DIR] --from-folder SOURCE      take a folder or an archive that is here already

Writes images/cifar_NNN.png (32x32 RGB) and dataset.csv (ImageId, TrueLabel, TargetClass; labels 0..9): of each class
the first 100 of the test images, as the recipes of submissions/kit/training shuffle them. The CSV comes last: where
it is, the images are complete. The same source gives the same files again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent

# The kit is installed neither in the harness's own container nor where somebody only plays. The reader that the
# training uses is at hand in this repository, and needs no more than numpy and Pillow, but for a download.
sys.path.insert(0, str(HERE.parents[1] / "submissions/kit"))

from advkit.errors import KitError  # noqa: E402
from training.data import first_of_each, load  # noqa: E402
from training.dataset_folder import write_folder  # noqa: E402

OF_EACH_CLASS = 100


def build(out_dir: Path, source: Path | None) -> None:
    data = load("cifar10", source)
    chosen = first_of_each(data.dev_y, OF_EACH_CLASS)
    write_folder(out_dir, "cifar", data.dev_x[chosen], data.dev_y[chosen])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out_dir", metavar="OUT_DIR", nargs="?", type=Path, default=HERE, help="default: this folder")
    parser.add_argument("--from-folder", metavar="SOURCE", type=Path, help="a folder or an archive of CIFAR-10")
    options = parser.parse_args(arguments)
    try:
        build(options.out_dir, options.from_folder)
    except (KitError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
