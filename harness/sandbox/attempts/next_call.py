#!/usr/bin/env python3
"""It leaves notes wherever it can, and looks in its next call whether they are still there."""

from __future__ import annotations

import os
import tempfile

from report import FACTS, OUTPUT, contained, got_out

PLACES = dict.fromkeys([tempfile.gettempdir(), os.path.expanduser("~"), os.getcwd(), OUTPUT, *FACTS["shared"]])
written = []
for folder in PLACES:
    path = os.path.join(folder, "note-to-myself")
    if os.path.exists(path):
        got_out(f"the note in {folder} is still there")
    try:
        open(path, "w").close()
    except OSError:
        continue
    written.append(folder)
contained(f"no note is there, it left some in {', '.join(written)}")
