"""What the fuzzers found worth keeping stays harmless: each input of the corpus reaches something of a parser that no
other does, and the promises of tests/fuzz/targets.py hold for all of them."""

from pathlib import Path

import pytest
from fuzz.targets import check_csv, check_png, wrapped

from harness.images import ImageFaultError, read_png

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
CHECKS = {"png": check_png, "csv": check_csv}
CASES = [(kind, path.name) for kind in CHECKS for path in sorted((CORPUS / kind).iterdir())]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind}-{name[:8]}" for kind, name in CASES])
def test_an_input_of_the_corpus_breaks_no_promise(kind, name):
    CHECKS[kind]((CORPUS / kind / name).read_bytes())


def test_the_corpus_is_small_and_reaches_both_pictures_and_faults():
    sizes = [path.stat().st_size for path in CORPUS.glob("*/*")]
    assert 50 < len(sizes) <= 200
    assert sum(sizes) <= 300_000
    files = [path.read_bytes() for path in (CORPUS / "png").iterdir()]
    assert {is_picture(data) for data in [*files, *map(wrapped, files)]} == {True, False}


def is_picture(data):
    try:
        read_png(data, (8, 6))
    except ImageFaultError:
        return False
    return True
