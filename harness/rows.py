"""How the index keeps what calls produced: one blob for each call, a few bytes an image, numbers instead of texts.

The size of 2017 is 83 million answers. As rows with two digests each they took 140 bytes an answer; here it is 8.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from harness.records import Fault, ImageAudit, Prediction
from harness.scoring import NO_ANSWER

Numbers = npt.NDArray[np.uint32]
"""Images by the numbers that the index gave them, from 1; 0 is none."""

Labels = npt.NDArray[np.int32]

Audits = npt.NDArray[np.void]
"""Rows of AUDIT, in the order of the call's batch."""

ANSWER = np.dtype([("image", "<u4"), ("label", "<i4")])
"""label: -1 where there was none that counts, -2 and below where a fault is the reason (see `FAULTS`)."""

AUDIT = np.dtype([
    ("name", "<u4"), ("image", "<u4"), ("fault", "u1"), ("raw_linf", "<i4"), ("clipped", "<i8"), ("linf", "<i4"),
    ("l2", "<f8"), ("mean_abs", "<f8"),
])  # fmt: skip
"""name: number of the picture's id. fault: 0 for none, else one more than its place in FAULTS. The rest as in
`records.ImageAudit`."""

FAULTS = tuple(Fault)
"""Kept by their places: a new one comes last."""

CODES: dict[Fault | None, int] = {None: 0} | {fault: number for number, fault in enumerate(FAULTS, start=1)}


def pack_answers(images: Sequence[int], answers: Iterable[Prediction]) -> bytes:
    """images: the numbers of the answers' images."""
    labels = [-1 - CODES[one.fault] if one.label is None else one.label for one in answers]
    rows = np.empty(len(images), dtype=ANSWER)
    rows["image"], rows["label"] = images, labels
    return rows.tobytes()


def unpack_answers(blobs: Iterable[bytes]) -> tuple[Numbers, Labels]:
    """The answers of several calls, one after the other. Raises: ValueError where these are no answers."""
    rows = np.frombuffer(b"".join(blobs), dtype=ANSWER)
    return rows["image"].astype(np.uint32), np.maximum(rows["label"], NO_ANSWER).astype(np.int32)


def unpack_numbers(blobs: Iterable[bytes]) -> Numbers:
    """Of the answers' images alone; a view of what was read. Raises: ValueError where these are no answers."""
    return np.frombuffer(b"".join(blobs), dtype=ANSWER)["image"]


def pack_audits(names: Sequence[int], images: Sequence[int], audits: Iterable[ImageAudit]) -> bytes:
    """names, images: the numbers of the audits' pictures and images."""
    rows = [
        (name, image, CODES[one.fault], one.raw_linf, one.clipped, one.linf, one.l2, one.mean_abs)
        for name, image, one in zip(names, images, audits, strict=True)
    ]
    return np.array(rows, dtype=AUDIT).tobytes()


def unpack_audits(blob: bytes) -> Audits:
    """Raises: ValueError where these are no audits."""
    rows = np.frombuffer(blob, dtype=AUDIT)
    if rows["fault"].max(initial=0) > len(FAULTS):
        raise ValueError("a fault that there is not")
    return rows


def fault_of(code: int) -> Fault | None:
    return FAULTS[code - 1] if code else None
