#!/usr/bin/env python3
"""It looks for a secret of the caller in the environment of every process that it sees."""

import os

from report import contained, got_out, token

secrets = [token("environment").encode(), token("call").encode()]
looked = 0
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{name}/environ", "rb") as file:
            text = file.read()
    except OSError:
        continue
    looked += 1
    if any(secret in text for secret in secrets):
        got_out(f"process {name} holds the secret")
contained(f"{looked} environments can be read, none holds it")
