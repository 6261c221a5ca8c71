"""Pixels: reading what a stranger wrote, forcing it into the budget, writing it again.

Canonical images are PNGs whose scan lines are unfiltered and whose data is stored, not deflated: adversarial
noise does not compress, and every defense reads such a file several times faster. The bytes are a function of
the pixels alone, so the digest of the file is the identity of the picture.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from harness.records import Fault

Pixels = npt.NDArray[np.uint8]
"""Height x width x 3, uint8, RGB."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
STORED_BLOCK = 65535
GREY = 128
"""Where a picture has nothing to show."""
IHDR_END = 33
"""Bytes of signature and IHDR chunk; IDAT begins here in a canonical file."""
ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
"""The passes of an interlaced image: first column, step across, first line, step down."""


class ImageFaultError(Exception):
    """These bytes are no image that the referee takes; `fault` says in what way."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.fault = fault
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True)
class Perturbation:
    """What clipping found and left; see `records.ImageAudit` for the units."""

    raw_linf: int
    clipped: int
    linf: int
    l2: float
    mean_abs: float


def max_png_bytes(width: int, height: int) -> int:
    """The largest file that is looked at: four times the stored form and room for metadata."""
    return 4 * height * (3 * width + 1) + (64 << 10)


def read_png(data: bytes, size: tuple[int, int]) -> Pixels:
    """Decodes an 8-bit RGB PNG of `size` (width, height); the header is judged before any pixel is decoded.

    Only the chunks that carry pixels are looked at, so text bombs, profiles and trailing bytes are not. They are
    inflated here, to exactly the bytes that the header promises; the decoder gets those in a file of our own
    making, and only undoes filters and interlacing. Raises: ImageFaultError.
    """
    width, height, depth, colour = _read_header(data)
    if (depth, colour) != (8, 2):
        mode = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}.get(colour, "unknown")
        raise ImageFaultError(Fault.WRONG_MODE, f"is {depth}-bit {mode}, not 8-bit RGB")
    if (width, height) != size:
        raise ImageFaultError(Fault.WRONG_SIZE, f"is {width}x{height}, not {size[0]}x{size[1]}")
    stored = _read_stored(data, width, height)
    if stored is not None:
        return stored
    lines = _inflate(_pixel_data(data), _line_bytes(width, height, interlaced=_is_interlaced(data)))
    try:
        with Image.open(io.BytesIO(_stored_png(data[:IHDR_END], lines)), formats=["PNG"]) as image:
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        raise ImageFaultError(Fault.CORRUPT, f"cannot be decoded: {error}") from None


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) as the header states them. Raises: ImageFaultError."""
    return _read_header(data)[:2]


def write_png(pixels: Pixels) -> bytes:
    """The canonical PNG of `pixels`, the same bytes on every machine (zlib's stored blocks vary, ours do not)."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 3 * width + 1), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(height, 3 * width)
    return _stored_png(_canonical_header(width, height), lines.tobytes())


def fit_square(pixels: Pixels, edge: int) -> Pixels:
    """`pixels`, made smaller where they have to be, in the middle of a grey square of `edge` pixels."""
    height, width, _ = pixels.shape
    if max(height, width) > edge:
        size = max(1, width * edge // max(height, width)), max(1, height * edge // max(height, width))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        height, width, _ = pixels.shape
    square = np.full((edge, edge, 3), GREY, dtype=np.uint8)
    top, left = (edge - height) // 2, (edge - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def encode_picture(pixels: Pixels, quality: int | None) -> bytes:
    """A picture for people: a JPEG of that quality (1..95), or, where that is None, a WebP that loses nothing."""
    data = io.BytesIO()
    if quality is None:
        # of noise, as small as slower methods make it
        Image.fromarray(pixels).save(data, "WEBP", lossless=True, quality=50, method=1)
    else:
        Image.fromarray(pixels).save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()


def _stored_png(head: bytes, raw: bytes) -> bytes:
    """The file of signature and header `head` and of the lines `raw`, which are not deflated."""
    pieces = [b"\x78\x01"]
    for start in range(0, len(raw), STORED_BLOCK):
        piece = raw[start : start + STORED_BLOCK]
        last = start + STORED_BLOCK >= len(raw)
        pieces += [struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece]
    pieces.append(struct.pack(">I", zlib.adler32(raw)))
    return b"".join([head, _chunk(b"IDAT", b"".join(pieces)), _chunk(b"IEND", b"")])


def clip_to_budget(adversarial: Pixels, clean: Pixels, epsilon: int) -> tuple[Pixels, Perturbation]:
    """Forces `adversarial` into the L-infinity ball of radius `epsilon` (0..255 scale) around `clean`.

    Saturating uint8 arithmetic throughout: nothing wraps and nothing is rounded.
    """
    delta = _distance(adversarial, clean)
    raw_linf = int(delta.max())
    result, clipped = adversarial, 0
    if raw_linf > epsilon:
        result = _clip(adversarial, clean, epsilon)
        clipped = int(np.count_nonzero(delta > epsilon))
        delta = _distance(result, clean)
    squares = int(np.square(delta, dtype=np.uint16).sum(dtype=np.uint64))
    mean_abs = int(delta.sum(dtype=np.uint64)) / delta.size
    return result, Perturbation(raw_linf, clipped, min(raw_linf, epsilon), squares**0.5, mean_abs)


def _clip(adversarial: Pixels, clean: Pixels, epsilon: int) -> Pixels:
    budget, rest = np.uint8(epsilon), np.uint8(255 - epsilon)
    low = np.maximum(clean, budget) - budget
    high = np.minimum(clean, rest) + budget
    return np.minimum(np.maximum(adversarial, low), high)


def _distance(left: Pixels, right: Pixels) -> Pixels:
    return np.maximum(left, right) - np.minimum(left, right)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return b"".join([struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))])


def _canonical_header(width: int, height: int) -> bytes:
    return SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def _read_header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bit depth and colour type as the IHDR chunk states them."""
    if not data.startswith(SIGNATURE):
        raise ImageFaultError(Fault.NOT_PNG, "is not a PNG file")
    if len(data) < IHDR_END or data[8:16] != b"\x00\x00\x00\x0dIHDR":
        raise ImageFaultError(Fault.CORRUPT, "has no PNG header")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    return width, height, depth, colour


def _is_interlaced(data: bytes) -> bool:
    """The last three bytes of the header: compression, filter and interlace method."""
    methods = data[26:29]
    if methods not in (b"\0\0\0", b"\0\0\1"):
        raise ImageFaultError(Fault.CORRUPT, "has a method of compression, filtering or interlacing that PNG has not")
    return methods[2] == 1


def _pixel_data(data: bytes) -> bytes:
    """What the IDAT chunks hold, up to IEND; every other chunk is passed over.

    A second IHDR would have a decoder believe another size or mode than the one that was judged.
    """
    pieces, position = [], IHDR_END
    while position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind, end = data[position + 4 : position + 8], position + 12 + length
        if end > len(data):
            raise ImageFaultError(Fault.CORRUPT, "is truncated")
        if kind == b"IDAT":
            pieces.append(data[position + 8 : end - 4])
        if kind == b"IEND":
            return b"".join(pieces)
        position = end
    raise ImageFaultError(Fault.CORRUPT, "is truncated")


def _inflate(stream: bytes, expected: int) -> bytes:
    """The `expected` bytes of a zlib stream that holds no more and no less; never is more than that unpacked."""
    decoder = zlib.decompressobj()
    try:
        lines = decoder.decompress(stream, expected + 1)
    except zlib.error as error:
        raise ImageFaultError(Fault.CORRUPT, f"cannot be decoded: {error}") from None
    if len(lines) != expected or not decoder.eof:
        raise ImageFaultError(Fault.CORRUPT, "cannot be decoded: has less or more pixels than its header says")
    return lines


def _line_bytes(width: int, height: int, *, interlaced: bool) -> int:
    """Bytes of an RGB image's scan lines, each with its filter byte; PNG specification, 8.2 for the passes."""
    passes = ADAM7 if interlaced else ((0, 1, 0, 1),)
    sizes = [(-(-(width - left) // across), -(-(height - top) // down)) for left, across, top, down in passes]
    return sum(rows * (3 * columns + 1) for columns, rows in sizes if columns > 0)


def _read_stored(data: bytes, width: int, height: int) -> Pixels | None:
    """The pixels of a file exactly as `write_png` makes them, None for any other."""
    total = height * (3 * width + 1)
    blocks = -(-total // STORED_BLOCK)
    body = 2 + 5 * blocks + total + 4
    start = IHDR_END + 8
    head = _canonical_header(width, height) + struct.pack(">I", body) + b"IDAT\x78\x01"
    if len(data) != start + body + 4 + 12 or not data.startswith(head) or not data.endswith(_chunk(b"IEND", b"")):
        return None
    view = memoryview(data)[start : start + body]
    pieces: list[memoryview] = []
    position = 2
    for _ in range(blocks):
        length = min(STORED_BLOCK, total - STORED_BLOCK * len(pieces))
        header = struct.pack("<BHH", len(pieces) == blocks - 1, length, length ^ 0xFFFF)
        if view[position : position + 5] != header:
            return None
        pieces.append(view[position + 5 : position + 5 + length])
        position += 5 + length
    raw = b"".join(pieces)
    lines = np.frombuffer(raw, dtype=np.uint8).reshape(height, 3 * width + 1)
    if lines[:, 0].any() or struct.pack(">I", zlib.adler32(raw)) != view[-4:]:
        return None
    return lines[:, 1:].reshape(height, width, 3)
