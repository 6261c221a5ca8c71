"""Draws docs/images/leaderboard.svg from a finished run:  python docs/images/draw.py runs/photos"""

import json
import re
import sys
from pathlib import Path

from rich.console import Console

from harness.terminal import Terminal

WIDTH = 112
"""Columns of the terminal in the picture: all but the names of the hardest opponents."""

board = json.loads(Path(sys.argv[1], "leaderboard.json").read_text())
with open("/dev/null", "w") as nowhere:
    console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
    Terminal(console).leaderboard(board)
drawing = re.sub(r"@font-face {.*?}\s*", "", console.export_svg(title="make run"), flags=re.DOTALL)
Path(__file__).with_name("leaderboard.svg").write_text(drawing)
