#!/usr/bin/env python3
"""It looks for a secret of the caller's environment in its own."""

import os

from report import contained, got_out, token

secret = token("environment")
found = [name for name, value in os.environ.items() if secret in value]
if found:
    got_out(f"{', '.join(found)} holds the secret")
contained(f"none of its {len(os.environ)} variables holds it")
