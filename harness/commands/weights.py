"""`harness weights`: published weights of networks. The participant kit knows them; this only calls it."""

import argparse
import subprocess
import sys
from importlib.util import find_spec

from harness.errors import UserError


def main(arguments: argparse.Namespace) -> int:
    if find_spec("advkit") is None:
        raise UserError(
            "weights belong to the participant kit, which is not installed: pip install --editable "
            "'submissions/kit[fetch]' --constraint constraints.txt (in the project's folder)"
        )
    command = [sys.executable, "-m", "advkit.weights", arguments.action, *arguments.rest]
    return subprocess.run(command, check=False).returncode
