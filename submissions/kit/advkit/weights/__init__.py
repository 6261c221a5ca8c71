"""Published weights of networks: where they lie, how they get there, and how they are checked.

This module needs the standard library only. `python -m advkit.weights` is the command line.
"""

import os
import sys
from pathlib import Path

from advkit.errors import KitError


def folder() -> Path:
    """The weights folder: `$HARNESS_WEIGHTS`, or else `~/.cache/adversarial-harness/weights`."""
    return Path(os.environ.get("HARNESS_WEIGHTS") or "~/.cache/adversarial-harness/weights").expanduser()


def find(name: str) -> Path:
    """The file `NAME.safetensors` of a network.

    It is looked for in the folder `weights/` beside the running program, then in the weights folder. Raises
    KitError where it is in neither.
    """
    places = [Path(sys.argv[0]).resolve().parent / "weights", folder()]
    for place in places:
        if (path := place / f"{name}.safetensors").is_file():
            return path
    raise KitError(
        f"{name}: no {name}.safetensors in {' or '.join(map(str, places))}; get it with: harness weights fetch {name}"
    )
