"""Input transformations of defenses: uint8 pixels N x height x width x 3 to the same shape and type."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from advkit.config import check_arguments, parameters_of, pick
from advkit.images import Pixels

Transform = Callable[[Pixels], Pixels]


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Encode each image as JPEG (quality 1..95) and decode it again.

    Source: Dziugaite, Ghahramani, Roy, A study of the effect of JPG compression on adversarial images,
    arXiv:1608.00853.
    """
    return np.stack([_jpeg_image(image, quality) for image in pixels])


TRANSFORMS: Mapping[str, Callable[..., Pixels]] = {"jpeg": jpeg}


def make_transforms(descriptions: Sequence[Mapping[str, Any]]) -> list[Transform]:
    """Transforms from a configuration: mappings that hold the `name` of a transform and its parameters.

    Raises KitError for an unknown name, and for parameters that are not those of the transform.
    """
    return [_make(dict(description)) for description in descriptions]


def _make(arguments: dict[str, Any]) -> Transform:
    name = str(arguments.pop("name", ""))
    transform = pick(TRANSFORMS, name, "transform")
    parameters = parameters_of(transform)
    del parameters["pixels"]
    check_arguments(f"transform {name}", arguments, parameters)
    return partial(transform, **arguments)


def _jpeg_image(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
