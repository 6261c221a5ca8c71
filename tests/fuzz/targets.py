"""What must hold of the two parsers of hostile bytes, whatever they are given; for the fuzzers and for their corpus."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from harness.dataset import LabelSpace
from harness.images import SIGNATURE, ImageFaultError, read_png, write_png
from harness.predictions import parse_answers
from harness.records import Fault

SIZE = (8, 6)
PNG_FAULTS = {Fault.NOT_PNG, Fault.CORRUPT, Fault.WRONG_MODE, Fault.WRONG_SIZE}

IMAGES = {name: f"digest of {name}" for name in ("a.png", "b.png", "0f.png", "img 1.png", "\u00fc.png", "=1.png")}
SPACES = (LabelSpace(), LabelSpace(space="cifar10", first=0, count=10, background=None))
ROW_FAULTS = {Fault.MISSING, Fault.NOT_AN_INTEGER, Fault.OUTSIDE_LABELS, Fault.DUPLICATE}


def check_png(data):
    """`data` as a file, and as the content of a file whose checksums are right, which mutation alone never hits."""
    for file in (data, wrapped(data)):
        pixels = read(file)
        if isinstance(pixels, ImageFaultError):
            assert pixels.fault in PNG_FAULTS
            assert pixels.detail.isprintable()
            continue
        assert (pixels.shape, pixels.dtype) == ((SIZE[1], SIZE[0], 3), np.uint8)
        assert np.array_equal(read_png(write_png(pixels), SIZE), pixels)
        agree_with_pillow(file, pixels)


def read(file):
    """The pixels, or the fault that stands for them."""
    try:
        return read_png(file, SIZE)
    except ImageFaultError as error:
        return error


def wrapped(data):
    """A PNG of the right size; three bytes are its methods, one is where its data is cut into chunks, then lines."""
    head = struct.pack(">IIBB", *SIZE, 8, 2) + data[:3].ljust(3, b"\0")
    packed = zlib.compress(data[4:], 1)
    cut = data[3] if len(data) > 3 else 0
    parts = [(b"IHDR", head), (b"IDAT", packed[:cut]), (b"IDAT", packed[cut:]), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(body)) + kind + body for kind, body in parts]
    return SIGNATURE + b"".join(chunk + struct.pack(">I", zlib.crc32(chunk[4:])) for chunk in chunks)


def agree_with_pillow(file, pixels):
    """Pillow sees the same picture, or none; where a second header stands, it believes that one and we do not."""
    if file.count(b"IHDR") > 1:
        return
    try:
        with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
            seen = np.asarray(image)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error):
        return
    assert np.array_equal(seen, pixels)


def check_csv(data):
    """One answer for each image, a label of the space or a fault, and good rows come back from what was read."""
    for labels in SPACES:
        found = parse_answers(data, IMAGES, labels)
        assert [answer.digest for answer in found.predictions] == list(IMAGES.values())
        for answer in found.predictions:
            assert (answer.label is None) is (answer.fault is not None)
            assert labels.accepts(answer.label) if answer.fault is None else answer.fault in ROW_FAULTS
        assert 0 <= found.unknown_rows <= data.count(b"\n") + 1
        assert again(found, labels) == found.predictions


def again(found, labels):
    """What is read from a clean file of the same answers, and of nothing where a row did not count."""
    pairs = zip(IMAGES, found.predictions, strict=True)
    rows = "".join(f"{name},{answer.label}\n" for name, answer in pairs if answer.fault is None)
    clean = parse_answers(rows.encode(), IMAGES, labels)
    assert clean.unknown_rows == 0
    return tuple(
        before if before.fault else after for before, after in zip(found.predictions, clean.predictions, strict=True)
    )
