"""What an oracle leaves for the normal tests: names and shapes of a reference's variables, and its logits."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "fixtures"


def save(name, shapes, logits=None):
    """Write tests/fixtures/NAME.npz: `shapes` maps names to shapes; `logits` is float32, N x classes."""
    lines = np.array([f"{variable} {'x'.join(map(str, shape))}" for variable, shape in shapes.items()])
    arrays = {"variables": lines} if logits is None else {"variables": lines, "logits": logits.astype(np.float32)}
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
    print(f"{name}: {len(shapes)} variables" + ("" if logits is None else f", logits {spread(logits)}"))


def load(name):
    """(name -> shape, logits or None) of tests/fixtures/NAME.npz."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        lines = [line.split(" ") for line in arrays["variables"].tolist()]
        shapes = {variable: tuple(int(side) for side in text.split("x")) for variable, text in lines}
        return shapes, arrays.get("logits")


def difference(logits, expected):
    """The largest difference as a part of the largest logit."""
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def spread(logits):
    """How much logits say: their largest, and the largest difference between two pictures."""
    return f"up to {np.abs(logits).max():.3g}, between pictures {np.abs(logits[0] - logits[1]).max():.3g}"
