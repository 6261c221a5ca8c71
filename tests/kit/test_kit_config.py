"""Every fault of a config.yaml is one line that names file and key; nothing is guessed and nothing ignored."""

from dataclasses import dataclass

import numpy as np
import pytest

from advkit.config import read_config
from advkit.errors import KitError
from advkit.transforms import make_transforms


@dataclass(frozen=True)
class Config:
    surrogates: list[str]
    steps: int
    relative_step_size: float = 0.5
    random_start: bool = False


def read(folder, text):
    (folder / "config.yaml").write_text(text)
    return read_config(folder / "config.yaml", Config)


def test_defaults_fill_what_is_absent(tmp_path):
    assert read(tmp_path, "surrogates: [a, b]\nsteps: 3") == Config(["a", "b"], 3, 0.5, False)


def test_an_integer_is_a_number(tmp_path):
    assert read(tmp_path, "{surrogates: [a], steps: 3, relative_step_size: 1}").relative_step_size == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{surrogates: [a], step: 3}", "key 'step' is unknown: did you mean steps"),
        ("{surrogates: [a]}", "missing: steps"),
        ("{surrogates: [a], steps: ten}", "steps: expected a positive integer, found 'ten'"),
        ("{surrogates: [a], steps: true}", "steps: expected a positive integer, found True"),
        ("{surrogates: [a], steps: 0}", "steps: expected a positive integer, found 0"),
        ("{surrogates: [a], steps: 1.5}", "steps: expected a positive integer, found 1.5"),
        ("{surrogates: [], steps: 1}", "surrogates: expected a list of names"),
        ("{surrogates: a, steps: 1}", "surrogates: expected a list of names, found 'a'"),
        ("{surrogates: [a], steps: 1, random_start: 1}", "random_start: expected true or false, found 1"),
        ("{surrogates: [a], steps: 1, relative_step_size: -1}", "expected a positive number, found -1"),
        ("surrogates: [a", "not YAML"),
        ("", "expected lines KEY: VALUE"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path, text, message):
    with pytest.raises(KitError, match=rf"config\.yaml: .*{message}") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KitError, match=r"config\.yaml: cannot be read"):
        read_config(tmp_path / "config.yaml", Config)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "jepg", "quality": 75}, "transform 'jepg' is unknown: did you mean jpeg"),
        ({"quality": 75}, "transform '' is unknown: there is jpeg"),
        ({"name": "jpeg"}, "transform jpeg: missing: quality"),
        ({"name": "jpeg", "quality": "high"}, "transform jpeg: quality: expected a positive integer"),
        ({"name": "jpeg", "quality": 75, "pixels": 1}, "transform jpeg: key 'pixels' is unknown"),
    ],
)
def test_a_fault_of_a_transform_names_it(description, message):
    with pytest.raises(KitError, match=message):
        make_transforms([description])


def test_jpeg_keeps_shape_and_loses_noise_but_not_the_picture():
    smooth = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], (2, 32, 1, 3))
    noisy = smooth ^ np.random.default_rng(0).integers(0, 16, smooth.shape, dtype=np.uint8)
    (jpeg,) = make_transforms([{"name": "jpeg", "quality": 50}])
    compressed = jpeg(noisy)
    assert (compressed.shape, compressed.dtype) == (smooth.shape, np.uint8)
    errors = [np.abs(image.astype(int) - smooth).mean() for image in (compressed, noisy)]
    assert errors[0] < errors[1]
