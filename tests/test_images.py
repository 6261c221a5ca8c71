"""The bytes of a canonical image are its identity, and what a stranger wrote comes out inside the budget or not at all.
A file with a second header once came out in another size than the one that had been judged."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from helpers import data_folder, random_pixels
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.digest import digest_bytes
from harness.images import (
    SIGNATURE,
    STORED_BLOCK,
    ImageFaultError,
    clip_to_budget,
    max_png_bytes,
    read_png,
    write_png,
)
from harness.records import Fault

SIZE = (8, 6)

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def pixels(draw, count=1):
    """`count` arrays of one shape, of small or of any values."""
    width, height = draw(sizes)
    values = st.integers(0, 255) | st.integers(0, 3) | st.integers(252, 255)
    drawn = [draw(arrays(np.uint8, (height, width, 3), elements=values)) for _ in range(count)]
    return drawn[0] if count == 1 else drawn


def pillow_png(image, **options):
    """What Pillow writes; `image` is an array or an Image."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "PNG", **options)
    return file.getvalue()


def pillow_pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def chunk(kind, body=b"", *, crc=None):
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def header(width=SIZE[0], height=SIZE[1], depth=8, colour=2, rest=b"\0\0\0"):
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest)


def png(image, *, head=None, before=b"", data=None, after=b"", end=b""):
    """A PNG put together by hand: deflated scan lines without filters, further chunks before and after them."""
    height, width, _ = image.shape
    lines = b"".join(b"\0" + row.tobytes() for row in image)
    data = chunk(b"IDAT", zlib.compress(lines)) if data is None else data
    return SIGNATURE + (head or header(width, height)) + before + data + after + chunk(b"IEND") + end


def fault_of(data, size=SIZE):
    with pytest.raises(ImageFaultError) as caught:
        read_png(data, size)
    return caught.value.fault


# --- canonical files


def test_the_bytes_are_pinned():
    small = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert write_png(small).hex() == (
        "89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d0000001f494441547801011400ebff"
        "0000010203040506070800090a0b0c0d0e0f10110401009a2186f64c0000000049454e44ae426082"
    )
    slope = (np.indices((299, 299)).sum(axis=0)[:, :, None] * [1, 2, 3] % 256).astype(np.uint8)
    assert len(write_png(slope)) == 268590
    assert digest_bytes(write_png(slope)) == "e80684b8d71c22423bfe53c4c5e9d1c555763d19aab57f86757f1bdaa46009ad"


@given(pixels())
def test_written_pixels_are_read_back_by_us_and_by_pillow(image):
    data = write_png(image)
    size = (image.shape[1], image.shape[0])
    assert np.array_equal(read_png(data, size), image)
    assert np.array_equal(pillow_pixels(data), image)
    assert len(data) <= max_png_bytes(*size)


@pytest.mark.parametrize("height", [STORED_BLOCK - 1, STORED_BLOCK, STORED_BLOCK + 1, 2 * STORED_BLOCK])
def test_blocks_end_where_they_should(height):
    """Three values and a filter byte to a line of one pixel: the data ends just before, at and after a block."""
    image = random_pixels(3, (1, height // 4 + 1))
    data = write_png(image)
    assert np.array_equal(read_png(data, (1, len(image))), image)
    assert np.array_equal(pillow_pixels(data), image)


@given(pixels(), st.sampled_from([{}, {"compress_level": 0}, {"compress_level": 9}, {"optimize": True}]))
def test_what_pillow_writes_is_read_the_same(image, options):
    size = (image.shape[1], image.shape[0])
    assert np.array_equal(read_png(pillow_png(image, **options), size), image)


@given(pixels())
def test_writing_again_changes_nothing(image):
    data = write_png(image)
    assert write_png(read_png(data, (image.shape[1], image.shape[0]))) == data


def test_arrays_of_any_layout_give_the_same_bytes():
    image = random_pixels(5, (7, 9))
    assert write_png(np.asfortranarray(image)) == write_png(image)
    assert write_png(np.ascontiguousarray(image[:, ::-1])[:, ::-1]) == write_png(image)


def test_a_photograph_of_the_competition():
    path = min((data_folder("nips2017-dev-400") / "images").glob("*.png"))
    data = path.read_bytes()
    image = read_png(data, (299, 299))
    assert np.array_equal(image, pillow_pixels(data))
    assert np.array_equal(pillow_pixels(write_png(image)), image)


# --- what is no image

IMAGE = random_pixels(1, SIZE)
GREY = np.ascontiguousarray(IMAGE[:, :, 0])
ALPHA = np.dstack([IMAGE, GREY])
LINES = b"".join(b"\0" + row.tobytes() for row in IMAGE)


def change(data, position, value=None):
    """`data` with one byte flipped or set."""
    changed = bytearray(data)
    changed[position] = changed[position] ^ 0xFF if value is None else value
    return bytes(changed)


BAD = {
    "empty": (b"", Fault.NOT_PNG),
    "text": (b"label,1\n", Fault.NOT_PNG),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), Fault.NOT_PNG),
    "half-signature": (SIGNATURE[:5], Fault.NOT_PNG),
    "signature-only": (SIGNATURE, Fault.CORRUPT),
    "no-header": (SIGNATURE + chunk(b"IDAT", zlib.compress(LINES)) + chunk(b"IEND"), Fault.CORRUPT),
    "long-header": (png(IMAGE, head=chunk(b"IHDR", bytes(14))), Fault.CORRUPT),
    "truncated": (pillow_png(IMAGE)[:-30], Fault.CORRUPT),
    "truncated-canonical": (write_png(IMAGE)[:-30], Fault.CORRUPT),
    "no-end": (png(IMAGE)[:-12], Fault.CORRUPT),
    "no-pixels": (png(IMAGE, data=b""), Fault.CORRUPT),
    "half-stream": (png(IMAGE, data=chunk(b"IDAT", zlib.compress(LINES)[:-20])), Fault.CORRUPT),
    "no-stream": (png(IMAGE, data=chunk(b"IDAT", b"pixels")), Fault.CORRUPT),
    "checksum-of-pixels": (change(write_png(IMAGE), 60), Fault.CORRUPT),
    "checksum-of-header": (change(pillow_png(IMAGE), 30), Fault.CORRUPT),
    "checksum-of-canonical-header": (change(write_png(IMAGE), 30), Fault.CORRUPT),
    "unknown-filter": (png(IMAGE, data=chunk(b"IDAT", zlib.compress(b"\7" + LINES[1:]))), Fault.CORRUPT),
    "unknown-filter-method": (png(IMAGE, head=header(rest=b"\0\1\0")), Fault.CORRUPT),
    "unknown-compression": (png(IMAGE, head=header(rest=b"\1\0\0")), Fault.CORRUPT),
    "unknown-interlacing": (png(IMAGE, head=header(rest=b"\0\0\2")), Fault.CORRUPT),
    "length-beyond-the-end": (SIGNATURE + header() + b"\xff\xff\xff\xffIDAT" + bytes(50), Fault.CORRUPT),
    "grey": (pillow_png(GREY), Fault.WRONG_MODE),
    "grey-alpha": (pillow_png(Image.fromarray(ALPHA).convert("LA")), Fault.WRONG_MODE),
    "alpha": (pillow_png(ALPHA), Fault.WRONG_MODE),
    "palette": (pillow_png(Image.fromarray(IMAGE).quantize(8)), Fault.WRONG_MODE),
    "one-bit": (pillow_png(Image.fromarray(GREY).convert("1")), Fault.WRONG_MODE),
    "16-bit-grey": (pillow_png(Image.fromarray(GREY.astype(np.uint16))), Fault.WRONG_MODE),
    "16-bit": (png(IMAGE, head=header(depth=16), data=chunk(b"IDAT", zlib.compress(LINES * 2))), Fault.WRONG_MODE),
    "unknown-colour": (png(IMAGE, head=header(colour=9)), Fault.WRONG_MODE),
    "turned": (pillow_png(IMAGE.transpose(1, 0, 2)), Fault.WRONG_SIZE),
    "larger": (pillow_png(random_pixels(1, (9, 6))), Fault.WRONG_SIZE),
    "huge-claim": (png(IMAGE, head=header(2**31 - 1, 2**31 - 1)), Fault.WRONG_SIZE),
    "no-size": (png(IMAGE, head=header(0, 0)), Fault.WRONG_SIZE),
}


@pytest.mark.parametrize(("data", "fault"), BAD.values(), ids=BAD.keys())
def test_what_is_no_image_has_a_fault(data, fault):
    assert fault_of(data) is fault


def test_the_fault_says_what_was_found():
    with pytest.raises(ImageFaultError, match=r"is 16-bit RGB, not 8-bit RGB"):
        read_png(png(IMAGE, head=header(depth=16)), SIZE)
    with pytest.raises(ImageFaultError, match=r"is 9x6, not 8x6"):
        read_png(pillow_png(random_pixels(1, (9, 6))), SIZE)


def test_pixels_after_a_second_header_are_not_of_another_size():
    """The header that was judged is the one that counts, whatever stands further on."""
    small = chunk(b"IDAT", zlib.compress(bytes(7 * 3)))
    for second in (header(2, 3), header(30_000, 30_000), header(depth=16), header(colour=0), header(colour=6)):
        assert fault_of(png(IMAGE, before=second, data=small)) is Fault.CORRUPT
        assert np.array_equal(read_png(png(IMAGE, before=second), SIZE), IMAGE)


def metadata(image):
    info = PngInfo()
    info.add_text("Title", "x" * 100)
    info.add_itxt("Note", "y", zip=True)
    return pillow_png(image, pnginfo=info, dpi=(72, 72), icc_profile=b"profile")


def text_bomb(image):
    """200 MB of text in 200 KB, which a decoder that looks at it refuses or swallows."""
    return png(image, before=chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(20_000_000), 9)))


def animation(image):
    frames = [Image.fromarray(frame) for frame in (image, 255 - image)]
    return pillow_png(frames[0], save_all=True, append_images=frames[1:])


IGNORED = {
    "metadata": metadata,
    "text-bomb": text_bomb,
    "animation": animation,
    "trailing-bytes": lambda image: write_png(image) + b"<script>" * 100,
    "second-image": lambda image: pillow_png(image) + pillow_png(255 - image),
    "transparent-colour": lambda image: png(image, before=chunk(b"tRNS", bytes(6))),
    "gamma": lambda image: png(image, before=chunk(b"gAMA", struct.pack(">I", 10_000))),
    "broken-text": lambda image: png(image, before=chunk(b"tEXt", b"x", crc=0), after=chunk(b"iTXt", b"\xff" * 9)),
    "unknown-chunk": lambda image: png(image, before=chunk(b"ABCD", b"x")),
    "many-chunks": lambda image: png(
        image, data=b"".join(chunk(b"IDAT", bytes([byte])) for byte in zlib.compress(LINES))
    ),
    "empty-chunks": lambda image: png(image, before=chunk(b"IDAT") * 3),
}


@pytest.mark.parametrize("build", IGNORED.values(), ids=IGNORED.keys())
def test_what_is_no_pixel_is_not_looked_at(build):
    assert np.array_equal(read_png(build(IMAGE), SIZE), IMAGE)


def stream(lines, level=6):
    return chunk(b"IDAT", zlib.compress(lines, level))


@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.parametrize(
    "lines",
    [b"", LINES[:1], LINES[: 25 * 4], LINES[:-1], LINES + b"\0", LINES * 2, LINES + bytes(10_000_000)],
    ids=["nothing", "one-byte", "four-lines", "a-byte-short", "a-byte-more", "two-images", "bomb"],
)
def test_a_stream_that_ends_well_but_holds_less_or_more_is_no_image(lines, level):
    """A decoder takes such a file: what is left out is black, and what is more is unpacked for nothing."""
    data = png(IMAGE, data=stream(lines, level))
    tracemalloc.start()
    try:
        assert fault_of(data) is Fault.CORRUPT
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + (1 << 18)
    finally:
        tracemalloc.stop()


def test_data_behind_the_end_of_the_stream_is_passed_over():
    packed = zlib.compress(LINES)
    for more in (b"PAYLOAD", packed, bytes(9999)):
        assert np.array_equal(read_png(png(IMAGE, data=chunk(b"IDAT", packed + more)), SIZE), IMAGE)
        assert np.array_equal(read_png(png(IMAGE, data=chunk(b"IDAT", packed) + chunk(b"IDAT", more)), SIZE), IMAGE)


def interlace(image):
    """Scan lines of the seven passes, each pixel assigned by the 8 x 8 pattern of the PNG specification, 8.2."""
    pattern = ("16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777")
    lines = b""
    for number in "1234567":
        for y, row in enumerate(image):
            chosen = [row[x].tobytes() for x in range(len(row)) if pattern[y % 8][x % 8] == number]
            lines += b"\0" + b"".join(chosen) if chosen else b""
    return lines


@given(pixels())
def test_interlaced_pixels_are_put_in_their_place(image):
    height, width, _ = image.shape
    head = header(width, height, rest=b"\0\0\1")
    lines = interlace(image)
    assert np.array_equal(read_png(png(image, head=head, data=stream(lines)), (width, height)), image)
    for wrong in (lines[:-1], lines + b"\0"):
        assert fault_of(png(image, head=head, data=stream(wrong)), (width, height)) is Fault.CORRUPT


@given(st.data())
def test_lines_with_filters_are_read_as_pillow_reads_them(data):
    image = data.draw(pixels())
    height, width, _ = image.shape
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    lines = b"".join(bytes([kind]) + row.tobytes() for kind, row in zip(filters, image, strict=True))
    packed = png(image, data=stream(lines))
    assert np.array_equal(read_png(packed, (width, height)), pillow_pixels(packed))


@given(st.data())
def test_a_damaged_canonical_file_is_read_as_pillow_reads_it_or_refused(data):
    """The short way for our own files may not see other pixels than any decoder sees."""
    image = random_pixels(4, SIZE)
    changed = write_png(image)
    for _ in range(data.draw(st.integers(1, 3))):
        changed = change(changed, data.draw(st.integers(8, len(changed) - 1)), data.draw(st.integers(0, 255)))
    try:
        found = read_png(changed, SIZE)
    except ImageFaultError:
        return
    assert np.array_equal(found, pillow_pixels(changed))


@given(st.binary(max_size=300), st.booleans())
def test_whatever_comes_is_an_image_or_a_fault(data, with_header):
    data = SIGNATURE + header() + data if with_header else data
    try:
        found, fault = read_png(data, SIZE), None
    except ImageFaultError as error:
        found, fault = IMAGE, error
    assert found.shape == IMAGE.shape
    assert fault is None or fault.detail.isprintable()


# --- the budget


def naive_clip(adversarial, clean, epsilon):
    """Clipping in plain integers, without any care for speed."""
    result, clipped, raw, deltas = np.empty_like(clean), 0, 0, []
    for place in np.ndindex(*clean.shape):
        wanted, middle = int(adversarial[place]), int(clean[place])
        value = min(max(wanted, middle - epsilon, 0), middle + epsilon, 255)
        result[place] = value
        clipped += value != wanted
        raw = max(raw, abs(wanted - middle))
        deltas.append(abs(value - middle))
    squares = sum(delta * delta for delta in deltas)
    return result, raw, clipped, max(deltas), squares**0.5, sum(deltas) / len(deltas)


@given(pixels(count=2), st.integers(0, 255))
def test_clipping_agrees_with_plain_integers(pair, epsilon):
    adversarial, clean = pair
    result, found = clip_to_budget(adversarial, clean, epsilon)
    expected, raw, clipped, linf, l2, mean_abs = naive_clip(adversarial, clean, epsilon)
    assert result.dtype == np.uint8
    assert np.array_equal(result, expected)
    assert (found.raw_linf, found.clipped, found.linf) == (raw, clipped, linf)
    assert found.l2 == pytest.approx(l2, rel=1e-12)
    assert found.mean_abs == pytest.approx(mean_abs, rel=1e-12)


@given(pixels(count=2))
def test_one_level_less_than_the_perturbation_clips_and_is_counted(pair):
    adversarial, clean = pair
    raw = clip_to_budget(adversarial, clean, 255)[1].raw_linf
    assert clip_to_budget(adversarial, clean, raw)[1].clipped == 0
    if raw:
        assert clip_to_budget(adversarial, clean, raw - 1)[1].clipped > 0


@given(pixels(count=2), st.integers(0, 255))
def test_clipping_twice_changes_nothing(pair, epsilon):
    adversarial, clean = pair
    once, first = clip_to_budget(adversarial, clean, epsilon)
    twice, second = clip_to_budget(once, clean, epsilon)
    assert np.array_equal(once, twice)
    assert second.clipped == 0
    assert second.raw_linf == second.linf == first.linf <= epsilon


@given(pixels(count=2), st.integers(0, 255))
def test_an_image_inside_the_budget_is_not_touched(pair, epsilon):
    noise, clean = pair
    delta = noise.astype(int) % (2 * epsilon + 1) - epsilon
    adversarial = np.clip(clean + delta, 0, 255).astype(np.uint8)
    result, found = clip_to_budget(adversarial, clean, epsilon)
    assert np.array_equal(result, adversarial)
    assert found.clipped == 0


@given(pixels(), st.integers(0, 255))
def test_a_no_op_is_bit_identical(clean, epsilon):
    result, found = clip_to_budget(clean.copy(), clean, epsilon)
    assert write_png(result) == write_png(clean)
    assert (found.raw_linf, found.clipped, found.linf, found.l2, found.mean_abs) == (0, 0, 0, 0.0, 0.0)


@given(pixels(count=2))
def test_without_a_budget_the_clean_image_is_left(pair):
    adversarial, clean = pair
    assert np.array_equal(clip_to_budget(adversarial, clean, 0)[0], clean)


@given(pixels(count=2))
def test_the_whole_budget_takes_everything(pair):
    adversarial, clean = pair
    assert np.array_equal(clip_to_budget(adversarial, clean, 255)[0], adversarial)


def test_the_norms_of_a_full_image_do_not_overflow():
    white, black = np.full((299, 299, 3), 255, dtype=np.uint8), np.zeros((299, 299, 3), dtype=np.uint8)
    _, found = clip_to_budget(white, black, 255)
    assert found.l2 == pytest.approx(255 * (299 * 299 * 3) ** 0.5)
    assert found.mean_abs == 255.0
