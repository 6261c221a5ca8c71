"""Fuzzes the reader of adversarial images; README.md beside it says how to run this."""

import sys

import atheris

with atheris.instrument_imports(include=["harness.images", "targets"]):
    from targets import check_png

atheris.Setup(sys.argv, check_png)
atheris.Fuzz()
