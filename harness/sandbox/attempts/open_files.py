#!/usr/bin/env python3
"""It opens more files than it may have open."""

import os

from report import FACTS, contained, got_out

kept = []
try:
    while len(kept) <= FACTS["open_files"]:
        kept.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    contained(f"open was refused after {len(kept)} files ({error.strerror})")
got_out(f"{len(kept)} files are open")
