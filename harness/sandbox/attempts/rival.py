#!/usr/bin/env python3
"""The call beside the attempts: it holds a secret, in files and in memory, and waits."""

import os
import tempfile
import time

from report import OUTPUT, token

for folder in (OUTPUT, tempfile.gettempdir(), os.getcwd()):
    with open(os.path.join(folder, "rival.txt"), "w") as file:
        file.write(token("rival"))
while True:
    time.sleep(1)
