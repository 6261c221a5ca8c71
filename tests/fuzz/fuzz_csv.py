"""Fuzzes the reader of a defense's answers; README.md beside it says how to run this."""

import sys

import atheris

with atheris.instrument_imports(include=["harness.predictions", "targets"]):
    from targets import check_csv

atheris.Setup(sys.argv, check_csv)
atheris.Fuzz()
