"""One photograph of the list: fetched politely, judged, and cut as the competition cut it.

Source of the cut: `download_images.py` of the competition (cleverhans v3.1.0, examples/nips17_adversarial_competition/
dataset). It truncates the corners of the box to whole pixels, pays no heed to the orientation that a camera noted,
and resizes with Pillow's ANTIALIAS, which is LANCZOS by its older name (Pillow 2.7 renamed it, 10.0 dropped the name).
"""

import hashlib
import io
import threading
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from enum import StrEnum
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from random import Random
from typing import TypeVar

import requests
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from requests.adapters import HTTPAdapter

Made = TypeVar("Made")

SIZE = (299, 299)
MOST_BYTES = 100 << 20
SMALLEST_SIDE = 64
"""Pixels of a cut; with fewer, the host sent a thumbnail."""

SQUARE_WITHIN = 1.1
"""Every box of the list is a square of its photograph: the shapes that this implies are the usual ones of cameras
(3:2, 4:3, 1:1, 16:9). Where the cut is no square, the photograph is another one than the list was made from."""

DIGEST_KEY = "photograph-sha256"
"""Text in each PNG: the digest of the bytes it was cut from, by which placeholders are found later."""

AGENT = {"User-Agent": "adversarial-harness (builds the image set of NIPS 2017 from its published list)"}
JPEG_TYPES = ("image/jpeg", "image/jpg", "image/pjpeg", "application/octet-stream", "binary/octet-stream", "")
LONGEST_WAIT = 60.0


class Reason(StrEnum):
    """Why an image is missing."""

    UNREACHABLE = "unreachable"
    HTTP_ERROR = "http_error"
    PLACEHOLDER = "placeholder"
    WRONG_TYPE = "wrong_type"
    TRUNCATED = "truncated"
    WRONG_SIZE = "wrong_size"
    WRONG_SHAPE = "wrong_shape"
    NOT_TRIED = "not_tried"
    ABSENT = "absent"


class UnusableError(Exception):
    """There is no image to be had. again: another try may help. wait: seconds that the host asks for."""

    def __init__(self, reason: Reason, detail: str, *, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.again, self.wait = reason, detail, again, wait


@dataclass(frozen=True)
class Row:
    """A row of the list. box: x1, y1, x2, y2 as shares of width and height."""

    id: str
    url: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Patience:
    """timeout: seconds without a byte; a photograph may take ten times that. backoff: seconds after the first try,
    doubled after each. stop: set when nothing more is wanted; what is under way ends with its next bytes."""

    timeout: float = 30.0
    attempts: int = 4
    backoff: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event)


class Host:
    """Whoever has the photographs. One session for all threads, which share connections and no cookie."""

    def __init__(self, patience: Patience, connections: int) -> None:
        self._patience = patience
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.mount("https://", HTTPAdapter(pool_maxsize=connections))
        self._session.headers.update(AGENT)

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def png(self, row: Row) -> bytes:
        """The PNG of a row, 299x299 RGB. Raises: UnusableError."""

        def attempt() -> tuple[str, Image.Image]:
            data = self._get(row.url, JPEG_TYPES)
            return hashlib.sha256(data).hexdigest(), open_photograph(data)

        digest, photograph = self._patiently(row.url, attempt)
        text, made = PngInfo(), io.BytesIO()
        text.add_text(DIGEST_KEY, digest)
        cut(photograph, row.box).save(made, "PNG", pnginfo=text)
        return made.getvalue()

    def file(self, url: str) -> bytes:
        """What `url` holds, of whatever type. Raises: UnusableError."""
        return self._patiently(url, lambda: self._get(url, None))

    def _patiently(self, url: str, attempt: Callable[[], Made]) -> Made:
        """The result of `attempt`, made again where that may help."""
        patience, jitter = self._patience, Random(url)
        number = 0
        while True:
            self._go_on()
            try:
                return attempt()
            except UnusableError as error:
                if not error.again or number + 1 >= patience.attempts:
                    raise
                patience.stop.wait(max(error.wait, patience.backoff * 2**number * (0.75 + jitter.random() / 2)))
            number += 1

    def _go_on(self) -> None:
        """Raises: UnusableError where nothing more is wanted."""
        if self._patience.stop.is_set():
            raise UnusableError(Reason.NOT_TRIED, "the build was stopped")

    def _get(self, url: str, types: Container[str] | None) -> bytes:
        try:
            with self._session.get(url, timeout=self._patience.timeout, stream=True) as response:
                _judge(response, types)
                return self._body(response)
        except (requests.ConnectionError, requests.Timeout) as error:
            cause = getattr(error.args[0], "reason", error) if error.args else error
            raise UnusableError(Reason.UNREACHABLE, f"no answer ({type(cause).__name__})", again=True) from None
        except requests.exceptions.ChunkedEncodingError as error:
            raise UnusableError(Reason.TRUNCATED, _first_line(error), again=True) from None
        except requests.RequestException as error:
            raise UnusableError(Reason.UNREACHABLE, _first_line(error)) from None

    def _body(self, response: requests.Response) -> bytes:
        """All bytes; urllib3 sees to it that they are as many as announced."""
        data = bytearray()
        longest = 10 * self._patience.timeout
        deadline = time.monotonic() + longest
        for piece in response.iter_content(1 << 12):
            self._go_on()
            data += piece
            if len(data) > MOST_BYTES:
                raise UnusableError(Reason.WRONG_SIZE, f"more than {MOST_BYTES} bytes")
            if time.monotonic() > deadline:
                raise UnusableError(Reason.UNREACHABLE, f"not all there after {longest:.0f} s", again=True)
        return bytes(data)


def _judge(response: requests.Response, types: Container[str] | None) -> None:
    """Refuses an answer by its head. Flickr answers for a photograph that is gone with a redirect to a picture
    `photo_unavailable_?.png` and status 200 (github.com/openimages/dataset, issue 9)."""
    if "photo_unavailable" in response.url:
        raise UnusableError(Reason.PLACEHOLDER, f"the host led to {response.url}")
    if response.status_code != 200:
        again = response.status_code == 429 or response.status_code >= 500
        asked = response.headers.get("Retry-After", "")
        wait = min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0
        raise UnusableError(Reason.HTTP_ERROR, f"HTTP {response.status_code}", again=again, wait=wait)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if types is not None and kind not in types:
        raise UnusableError(Reason.WRONG_TYPE, f"the host sent {kind}, not a JPEG")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def open_photograph(data: bytes) -> Image.Image:
    """The decoded JPEG as RGB. Raises: UnusableError."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise UnusableError(Reason.WRONG_TYPE, "the bytes are no JPEG") from None
    except Image.DecompressionBombError as error:
        raise UnusableError(Reason.WRONG_SIZE, _first_line(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UnusableError(Reason.TRUNCATED, _first_line(error), again=True) from None


def cut(photograph: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """The box of the photograph, 299x299. Raises: UnusableError where it is no square or too small."""
    width, height = photograph.size
    x1, y1, x2, y2 = box
    corners = int(x1 * width), int(y1 * height), int(x2 * width), int(y2 * height)
    sides = sorted((corners[2] - corners[0], corners[3] - corners[1]))
    if sides[0] < SMALLEST_SIDE:
        raise UnusableError(Reason.WRONG_SIZE, f"the photograph is only {width}x{height}")
    if sides[1] > sides[0] * SQUARE_WITHIN:
        raise UnusableError(Reason.WRONG_SHAPE, f"it is {width}x{height}, in which the box is no square: another one")
    return photograph.crop(corners).resize(SIZE, Image.Resampling.LANCZOS)


def fault_of(path: Path) -> UnusableError | None:
    """What is wrong with a PNG of the set; None where it is whole. Raises: OSError where it cannot be read."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            if image.mode == "RGB" and image.size == SIZE:
                return None
            found = f"{image.mode} {image.width}x{image.height}"
            return UnusableError(Reason.WRONG_SIZE, f"{path}: is {found}, not RGB {SIZE[0]}x{SIZE[1]}")
    except Image.DecompressionBombError as error:
        return UnusableError(Reason.WRONG_SIZE, f"{path}: {_first_line(error)}")
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # it cannot be read, which says nothing of what it holds
        return UnusableError(Reason.TRUNCATED, f"{path}: {_first_line(error)}")


def digest_in(path: Path) -> str | None:
    """The digest of the photograph that a PNG was cut from, where the PNG says so."""
    with Image.open(path, formats=["PNG"]) as image:
        return image.info.get(DIGEST_KEY)
