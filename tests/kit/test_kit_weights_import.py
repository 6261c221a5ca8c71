"""Whatever is stored as weights is complete, finite, of the right network, and the same bytes for the same source; what
is not, leaves one line and nothing in the folder."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from weights_files import port_layers, tf_variables, write_pickle, write_port

from advkit import weights
from advkit.errors import KitError
from advkit.networks.loading import load_weights
from advkit.weights.files import digest_of, digest_path, read_metadata, state_of, store
from advkit.weights.importing import import_file, recognise
from advkit.weights.registry import Registry, Source, read_registry
from advkit.weights.stored import read_tensors
from advkit.weights.tf_slim import convert
from advkit.weights.verifying import verify

NAME = "ens3_adv_inception_v3"
REGISTRY = read_registry()


@pytest.fixture(scope="module")
def variables():
    return tf_variables("inception_v3")


@pytest.fixture(scope="module")
def port(variables, tmp_path_factory):
    return write_port(tmp_path_factory.mktemp("port") / "downloaded.bin", port_layers(variables, "Ens3Adv"), protocol=4)


@pytest.fixture(scope="module")
def stored(port, tmp_path_factory):
    """The weights folder after an import."""
    folder = tmp_path_factory.mktemp("stored") / "weights"
    import_file(REGISTRY, REGISTRY.model(NAME), port, folder, accept_unknown=True)
    return folder


@pytest.fixture
def folder(stored, tmp_path):
    """A copy of it; its large file is a link, which may be renamed, and not be written."""
    return shutil.copytree(stored, tmp_path / "weights", copy_function=os.link)


def importing(path, folder, name=NAME, registry=REGISTRY, **options):
    return import_file(registry, registry.model(name), path, folder, **options)


def with_digest(digest, name=NAME):
    """The registry, as if a port with that digest had been published."""
    source = Source("npy_port", "https://example.org/port.npy", "MIT", sha256=digest)
    return Registry(REGISTRY.models | {name: replace(REGISTRY.model(name), sources=(source,))}, {})


def assert_empty(folder):
    assert not folder.exists() or sorted(path.name for path in folder.iterdir()) in ([], ["README"])


def test_the_stored_tensors_are_the_published_ones(stored, variables):
    expected = convert("inception_v3", variables)
    found = load_file(stored / f"{NAME}.safetensors")
    assert found.keys() == {name for name in expected if not name.endswith(".num_batches_tracked")}
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_stored_file_is_what_the_networks_load(stored):
    network = load_weights("inception_v3", stored / f"{NAME}.safetensors")
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 75, 75)).shape == (1, 1000)


def test_the_provenance_is_inside(stored, port):
    assert read_metadata(stored / f"{NAME}.safetensors") == {
        "name": NAME,
        "architecture": "inception_v3",
        "classes": "1001",
        "source": "downloaded.bin",
        "source_sha256": hashlib.sha256(port.read_bytes()).hexdigest(),
        "source_format": "npy_port",
        "licence": "not stated (converted from Apache-2.0)",
        "importer": "advkit.weights 1",
    }


def test_the_folder_says_whose_it_is_and_sha256sum_checks_it(stored):
    assert "adversarial-harness" in (stored / "README").read_text()
    done = subprocess.run(
        ["sha256sum", "-c", f"{NAME}.safetensors.sha256"], cwd=stored, capture_output=True, check=True
    )
    assert done.stdout.decode() == f"{NAME}.safetensors: OK\n"
    assert sorted(path.name for path in stored.iterdir()) == sorted(
        ["README", f"{NAME}.safetensors", f"{NAME}.safetensors.sha256"]
    )


def test_the_same_source_gives_the_same_bytes_in_every_process(stored, port, tmp_path):
    """Rust and Python both order mappings by a seed of the process, unless told otherwise."""
    command = [sys.executable, "-m", "advkit.weights", "import", NAME, port, "--folder", tmp_path]
    command += ["--accept-unknown-checksum"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert (tmp_path / f"{NAME}.safetensors").read_bytes() == (stored / f"{NAME}.safetensors").read_bytes()
    assert "npy_port" in done.stdout
    assert done.stderr == ""


def test_a_file_that_the_registry_knows_has_the_registry_s_provenance(stored, tmp_path):
    """Whatever it is called, and whatever the format of its source."""
    path = stored / f"{NAME}.safetensors"
    metadata = read_metadata(importing(path, tmp_path, registry=with_digest(digest_of(path))))
    assert (metadata["source"], metadata["licence"]) == ("https://example.org/port.npy", "MIT")


def test_timm_s_file_has_1000_classes_and_counters(stored, tmp_path):
    tensors = load_file(stored / f"{NAME}.safetensors")
    tensors |= {f"fc.{leaf}": tensors[f"fc.{leaf}"][1:].contiguous() for leaf in ("weight", "bias")}
    tensors["Conv2d_1a_3x3.bn.num_batches_tracked"] = torch.tensor(3)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    path = importing(tmp_path / "model.safetensors", tmp_path / "weights", "adv_inception_v3", accept_unknown=True)
    assert read_metadata(path)["classes"] == "1000"
    assert verify(tmp_path / "weights", REGISTRY.model("adv_inception_v3"))["source_format"] == "timm_safetensors"
    del tensors["Conv2d_1a_3x3.bn.num_batches_tracked"]
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(path).items())


# What is not imported


def test_a_published_digest_must_fit(port, tmp_path):
    registry = with_digest("0" * 64)
    with pytest.raises(KitError, match=f"sha256 {digest_of(port)}, but the published file has {'0' * 64}"):
        importing(port, tmp_path / "weights", registry=registry)
    with pytest.raises(KitError, match=f"sha256 {digest_of(port)} instead of {'1' * 64}"):
        importing(port, tmp_path / "weights", sha256="1" * 64)
    assert_empty(tmp_path / "weights")


@pytest.mark.parametrize("name", [NAME, "adv_inception_v3"])
def test_a_file_that_nothing_vouches_for_is_not_taken_silently(stored, tmp_path, name):
    """As it fits another network of the same architecture as well: of this format no digest is known for either."""
    path = stored / f"{NAME}.safetensors"
    with pytest.raises(KitError, match=f"sha256 {digest_of(path)}, but nothing vouches for it") as caught:
        importing(path, tmp_path / "weights", name)
    command = f"harness weights import {name} {path} --accept-unknown-checksum"
    assert str(caught.value).endswith(f": {command}")
    assert_empty(tmp_path / "weights")
    assert read_metadata(importing(path, tmp_path / "weights", name, sha256=digest_of(path)))["name"] == name


def test_weights_of_another_name_are_recognised(port, tmp_path):
    registry = with_digest(digest_of(port), "ens4_adv_inception_v3")
    with pytest.raises(KitError, match=f"the weights ens4_adv_inception_v3, not {NAME}"):
        importing(port, tmp_path / "weights", registry=registry, accept_unknown=True)
    assert_empty(tmp_path / "weights")


def test_weights_of_another_architecture_are_refused(port, stored, tmp_path):
    for path in (port, stored / f"{NAME}.safetensors"):
        with pytest.raises(KitError, match="inception_resnet_v2"):
            importing(path, tmp_path / "weights", "ens_adv_inception_resnet_v2", accept_unknown=True)
    assert_empty(tmp_path / "weights")


def test_another_format_than_said_is_refused(port, tmp_path):
    with pytest.raises(KitError, match="this is npy_port, not tf_checkpoint"):
        importing(port, tmp_path / "weights", kind="tf_checkpoint", accept_unknown=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "neither a checkpoint"),
        (b"<html>not found</html>", "neither a checkpoint"),
        (b"\x1f\x8b\x08\x00garbage", "not a whole .tar.gz"),
        (b"\x93NUMPY", "not a port"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "neither a checkpoint"),
        ((2).to_bytes(8, "little") + b"{}", "missing"),
        ((9).to_bytes(8, "little") + b"{not json}", "not a whole safetensors"),
        ((5 << 20).to_bytes(8, "little") + b"{" + b" " * (5 << 20), "not a whole safetensors"),
    ],
    ids=["empty", "web page", "gzip", "npy", "long header", "no tensors", "no header", "huge header"],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, said):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(KitError, match=said):
        importing(path, tmp_path / "weights", accept_unknown=True)
    assert_empty(tmp_path / "weights")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(KitError, match="no such file"):
        importing(tmp_path / "port.npy", tmp_path / "weights")


def test_a_hostile_port_leaves_nothing(tmp_path):
    marker = tmp_path / "executed"
    path = write_pickle(
        tmp_path / "port.npy",
        "\x80\x02cposix\nsystem\n(X".encode("latin1")
        + len(f"touch {marker}").to_bytes(4, "little")
        + f"touch {marker}".encode()
        + b"tR.",
    )
    with pytest.raises(KitError, match=r"a call of posix\.system"):
        importing(path, tmp_path / "weights", accept_unknown=True)
    assert not marker.exists()
    assert_empty(tmp_path / "weights")


def changed(tensors, change):
    tensors = dict(tensors)
    change(tensors)
    return tensors


WEIGHT = "Mixed_5b.branch1x1.conv.weight"
CHANGES = {
    "renamed": (lambda found: found.update(other=found.pop(WEIGHT)), WEIGHT),
    "missing": (lambda found: found.pop(WEIGHT), WEIGHT),
    "one more": (lambda found: found.update(extra=torch.zeros(1)), "extra"),
    "another shape": (lambda found: found.update({WEIGHT: found[WEIGHT][:1].contiguous()}), WEIGHT),
    "half precision": (lambda found: found.update({WEIGHT: found[WEIGHT].half()}), "is not float32"),
    "not finite": (lambda found: found.update({WEIGHT: found[WEIGHT] / 0}), "no finite numbers"),
    "a name with control characters": (lambda found: found.update({"\x1b[2J": torch.zeros(1)}), r"\?\[2J"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_tensors_that_do_not_fit_are_refused(stored, tmp_path, name):
    change, said = CHANGES[name]
    save_file(changed(load_file(stored / f"{NAME}.safetensors"), change), tmp_path / "changed.safetensors")
    with pytest.raises(KitError, match=said) as caught:
        importing(tmp_path / "changed.safetensors", tmp_path / "weights", accept_unknown=True)
    assert str(caught.value).isprintable()
    assert_empty(tmp_path / "weights")


SMALL_PORT = {"InceptionV3/InceptionV3/Conv2d_1a_3x3/Conv2D": {"weights": np.zeros((1, 1, 1, 1), np.float32)}}


def test_variables_that_do_not_fit_are_refused(tmp_path):
    path = write_port(tmp_path / "port.npy", SMALL_PORT)
    with pytest.raises(KitError, match=r"not the variables of inception_v3: missing: .*; wrong shape: .*1x1") as caught:
        importing(path, tmp_path / "weights", accept_unknown=True)
    assert str(caught.value).startswith(str(path))
    assert_empty(tmp_path / "weights")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_file({"fc.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}, path, {"name": "small"})
    return path, path.read_bytes()


@pytest.mark.parametrize("kind", ["npy_port", "timm_safetensors"])
def test_a_file_that_ends_early_is_refused(small, tmp_path, kind):
    """At whatever byte. The whole ones are refused as well, but for what they hold."""
    path = small[0] if kind == "timm_safetensors" else write_port(tmp_path / "port.npy", SMALL_PORT)
    content, cut = path.read_bytes(), tmp_path / "cut"
    for length in range(len(content) + 1):
        cut.write_bytes(content[:length])
        with pytest.raises(KitError, match="missing: " if length == len(content) else "not a port|whole|cut short"):
            importing(cut, tmp_path / "weights", accept_unknown=True)
    assert_empty(tmp_path / "weights")


@given(data=st.data())
def test_a_changed_safetensors_file_gives_one_line(small, data):
    """Cut at any place, and with any byte another one."""
    path, content = small
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged))
    with pytest.raises(KitError):
        read_tensors(path, "inception_v3")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match="cannot be written"):
        store(tmp_path / "file", NAME, b"")


# What is stored is looked at again


def test_what_was_stored_is_verified(stored):
    assert verify(stored, REGISTRY.model(NAME))["classes"] == "1001"
    assert state_of(stored, NAME) == "ready"
    assert state_of(stored, "inception_v3") == "absent"


def test_a_flipped_bit_is_found(stored, tmp_path):
    folder = shutil.copytree(stored, tmp_path / "weights")
    path = folder / f"{NAME}.safetensors"
    before = digest_of(path)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(KitError, match=f"sha256 {digest_of(path)}, but {before} when it was imported"):
        verify(folder, REGISTRY.model(NAME))


def test_a_file_cut_short_is_damaged(tmp_path):
    path = store(tmp_path, NAME, save({"fc.bias": torch.zeros(2)}, {"name": NAME}))
    assert state_of(tmp_path, NAME) == "ready"
    os.truncate(path, path.stat().st_size - 1)
    assert state_of(tmp_path, NAME) == "damaged"


def test_a_file_without_its_digest_is_damaged(folder):
    digest_path(folder / f"{NAME}.safetensors").unlink()
    assert state_of(folder, NAME) == "damaged"
    with pytest.raises(KitError, match="no digest beside it"):
        verify(folder, REGISTRY.model(NAME))


def test_a_file_under_another_name_is_damaged(folder):
    other = folder / "adv_inception_v3.safetensors"
    (folder / f"{NAME}.safetensors").rename(other)
    digest_path(other).write_text(f"{digest_of(other)}  {other.name}\n")
    assert state_of(folder, "adv_inception_v3") == "damaged"
    with pytest.raises(KitError, match=f"name '{NAME}' instead of 'adv_inception_v3'"):
        verify(folder, REGISTRY.model("adv_inception_v3"))


def test_what_is_absent_says_how_to_get_it(tmp_path):
    with pytest.raises(KitError, match=f"harness weights fetch {NAME}"):
        verify(tmp_path, REGISTRY.model(NAME))


# Where a submission finds them


def test_weights_are_found_beside_the_program_first(monkeypatch, tmp_path):
    program, cache = tmp_path / "submission" / "defense.py", tmp_path / "cache"
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("HARNESS_WEIGHTS", str(cache))
    with pytest.raises(KitError, match="harness weights fetch some_weights") as caught:
        weights.find("some_weights")
    assert all(str(place) in str(caught.value) for place in (cache, program.parent / "weights"))
    for place in (cache, program.parent / "weights"):
        place.mkdir(parents=True)
        (place / "some_weights.safetensors").touch()
        assert weights.find("some_weights") == place / "some_weights.safetensors"


def test_the_folder_is_the_user_s_cache_unless_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARNESS_WEIGHTS", "")
    assert weights.folder() == tmp_path / ".cache/adversarial-harness/weights"
    monkeypatch.setenv("HARNESS_WEIGHTS", "~/elsewhere")
    assert weights.folder() == tmp_path / "elsewhere"


def test_finding_needs_the_standard_library_only():
    """A submission's start must not take seconds, and the harness's image has no kit."""
    code = "import sys; before = set(sys.modules); import advkit.weights; print(*set(sys.modules) - before)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[0] for name in found} - sys.stdlib_module_names == {"advkit"}


def test_formats_are_recognised_by_content(port, stored):
    assert recognise(port) == "npy_port"
    assert recognise(stored / f"{NAME}.safetensors") == "timm_safetensors"


def test_the_header_is_sorted(stored):
    with (stored / f"{NAME}.safetensors").open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    parsed = json.loads(header)
    assert list(parsed) == sorted(parsed)
    with safe_open(stored / f"{NAME}.safetensors", framework="np") as file:
        assert list(parsed["__metadata__"]) == sorted(file.metadata())
