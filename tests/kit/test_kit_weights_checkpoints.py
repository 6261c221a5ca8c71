"""Of an archive only the wanted checkpoint is taken, wherever its members point and however far it unpacks; and what
TensorFlow reads from a checkpoint is what it wrote.

Without TensorFlow the latter is skipped; with HARNESS_REQUIRE_TENSORFLOW=1 it fails instead."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from weights_files import port_layers, tf_variables, write_archive, write_port

from advkit.errors import KitError
from advkit.weights.checkpoints import NO_TENSORFLOW, Checkpoint, checkpoint_files, prefix_of, unpacked
from advkit.weights.files import read_metadata
from advkit.weights.importing import import_file, recognise
from advkit.weights.registry import read_registry

NAME, MEMBER = "ens3_adv_inception_v3", "ens3_adv_inception_v3.ckpt"
REGISTRY = read_registry()
ROOT = Path(__file__).resolve().parents[2]
INDEX, DATA = f"{MEMBER}.index", f"{MEMBER}.data-00000-of-00001"
NOISE = np.random.default_rng(0).bytes(3000)


def require_tensorflow():
    """Skips without TensorFlow; fails instead where HARNESS_REQUIRE_TENSORFLOW=1 says that it has to be there."""
    if find_spec("tensorflow"):
        return
    if os.environ.get("HARNESS_REQUIRE_TENSORFLOW") == "1":
        pytest.fail(f"{NO_TENSORFLOW} (HARNESS_REQUIRE_TENSORFLOW=1)", pytrace=False)
    pytest.skip(NO_TENSORFLOW)


@pytest.fixture(scope="module")
def tensorflow():
    require_tensorflow()


needs_tensorflow = pytest.mark.usefixtures("tensorflow")


def content_of(prefix):
    return {path.name.removeprefix("checkpoint"): path.read_bytes() for path in checkpoint_files(prefix)}


def link(kind):
    info = tarfile.TarInfo(INDEX)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def device():
    info = tarfile.TarInfo(INDEX)
    info.type = tarfile.CHRTYPE
    return info


@pytest.mark.parametrize("start", ["", "./"])
def test_the_wanted_files_come_out_under_names_of_our_own(tmp_path, start):
    members = [
        (f"{start}README", b"x"),
        (f"{start}{DATA}", NOISE),
        (f"{start}{INDEX}", b"index"),
        (f"{start}{MEMBER}.meta", b"m"),
    ]
    with unpacked(write_archive(tmp_path / "a.tar.gz", members), MEMBER) as prefix:
        assert content_of(prefix) == {".index": b"index", ".data-00000-of-00001": NOISE}
        assert sorted(path.name for path in prefix.parent.iterdir()) == [
            "checkpoint.data-00000-of-00001",
            "checkpoint.index",
        ]
    assert not prefix.parent.exists()


def test_an_older_checkpoint_is_one_file(tmp_path):
    with unpacked(write_archive(tmp_path / "a.tar.gz", [("inception_v3.ckpt", NOISE)]), "inception_v3.ckpt") as prefix:
        assert content_of(prefix) == {"": NOISE}


REFUSED = {
    "a way out": ([(f"../{INDEX}", b"i"), (f"../{DATA}", b"d")], "no checkpoint"),
    "an absolute path": ([(f"/{INDEX}", b"i"), (f"/{DATA}", b"d")], "no checkpoint"),
    "another folder": ([(f"a/{INDEX}", b"i"), (f"a/{DATA}", b"d")], "no checkpoint"),
    "another checkpoint": ([("other.ckpt.index", b"i"), ("other.ckpt.data-00000-of-00001", b"d")], "no checkpoint"),
    "half a checkpoint": ([(INDEX, b"i")], "no checkpoint"),
    "nothing": ([], "no checkpoint"),
    "a symbolic link": ([(link(tarfile.SYMTYPE), b""), (DATA, b"d")], "no regular file"),
    "a hard link": ([(link(tarfile.LNKTYPE), b""), (DATA, b"d")], "no regular file"),
    "a device": ([(device(), b""), (DATA, b"d")], "no regular file"),
    "many files": ([(f"{number}", b"") for number in range(101)], "more than 100 files"),
    "a bomb": ([(INDEX, b"i"), (DATA, bytes(30 << 20))], "unpacks to far more than its size"),
    "a bomb beside it": ([("zeros", bytes(30 << 20)), (INDEX, b"i"), (DATA, b"d")], "unpacks to far more"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_archive_of_anything_else_is_refused(tmp_path, name):
    members, said = REFUSED[name]
    path = write_archive(tmp_path / "a.tar.gz", members)
    with pytest.raises(KitError, match=said):
        import_file(REGISTRY, REGISTRY.model(NAME), path, tmp_path / "weights", accept_unknown=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz"]


def test_a_header_that_lies_about_a_size_is_refused(tmp_path):
    info = tarfile.TarInfo("long/name")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(512))
    subprocess.run(["gzip", tmp_path / "a.tar"], check=True)
    with pytest.raises(KitError, match=r"not a whole \.tar\.gz"), unpacked(tmp_path / "a.tar.gz", MEMBER):
        pass


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "a.tar.gz"
    content = write_archive(path, [(INDEX, NOISE[:700]), (DATA, NOISE)]).read_bytes()
    return path, content


@given(data=st.data())
def test_an_archive_that_ends_early_is_refused(archive, data):
    path, content = archive
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(KitError), unpacked(path, MEMBER):
        pass


@given(data=st.data())
def test_a_changed_archive_gives_the_checkpoint_or_one_line(archive, data):
    path, content = archive
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(damaged))
    try:
        with unpacked(path, MEMBER) as prefix:
            found = content_of(prefix)
    except KitError:
        return
    assert found == {".index": NOISE[:700], ".data-00000-of-00001": NOISE}


def test_a_checkpoint_is_named_by_any_of_its_files(tmp_path):
    for name in (INDEX, DATA, f"{MEMBER}.meta"):
        (tmp_path / name).write_bytes(b"x")
    for name in (MEMBER, INDEX, DATA, f"{MEMBER}.meta"):
        assert checkpoint_files(tmp_path / name) == [tmp_path / INDEX, tmp_path / DATA]
        assert prefix_of(tmp_path / name) == tmp_path / MEMBER
    (tmp_path / DATA).unlink()
    with pytest.raises(KitError, match=r"\.data-00000-of-00001"):
        prefix_of(tmp_path / INDEX)


@pytest.fixture
def no_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)


INSTALL = "pip install --editable 'submissions/kit[tensorflow]' --constraint constraints.txt"
"""Without --editable a copy would take the place of the kit that is worked on, without the constraints any version."""


def test_without_tensorflow_the_line_says_what_to_install(tmp_path, no_tensorflow):
    path = write_archive(tmp_path / "a.tar.gz", [(INDEX, NOISE), (DATA, NOISE)])
    with pytest.raises(KitError, match=re.escape(INSTALL)):
        import_file(REGISTRY, REGISTRY.model(NAME), path, tmp_path / "weights", accept_unknown=True)


def test_what_the_line_says_to_install_is_pinned():
    """The extra and the constraints name one version, or pip would refuse."""
    extras = tomllib.loads((ROOT / "submissions/kit/pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["tensorflow"][0] in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize(("required", "ended"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_test_that_needs_tensorflow_is_skipped_or_fails(monkeypatch, no_tensorflow, required, ended):
    monkeypatch.setenv("HARNESS_REQUIRE_TENSORFLOW", required)
    with pytest.raises(ended, match="TensorFlow"):
        require_tensorflow()


# With TensorFlow


def save(prefix, variables, version=2):
    import tensorflow as tf

    names, tensors = list(variables), [tf.constant(array) for array in variables.values()]
    if version == 1:
        tf.raw_ops.Save(filename=str(prefix), tensor_names=names, data=tensors)
    else:
        tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return prefix


SMALL = {"layer/weights": np.arange(6, dtype=np.float32).reshape(2, 3), "layer/biases": np.ones(3, np.float32)}


@needs_tensorflow
@pytest.mark.parametrize("version", [1, 2])
def test_what_was_saved_is_read(tmp_path, version):
    prefix = save(tmp_path / "a.ckpt", SMALL | {"global_step": np.int64(7)}, version)
    checkpoint = Checkpoint(prefix)
    assert list(checkpoint) == sorted(SMALL)
    assert len(checkpoint) == 2
    for name, array in SMALL.items():
        np.testing.assert_array_equal(checkpoint[name], array, strict=True)
    with pytest.raises(KeyError):
        checkpoint["global_step"]
    assert recognise(prefix) == "tf_checkpoint"


@needs_tensorflow
@pytest.mark.parametrize("version", [1, 2])
def test_a_checkpoint_that_ends_early_is_refused(tmp_path, version):
    save(tmp_path / "a.ckpt", SMALL, version)
    files = checkpoint_files(tmp_path / "a.ckpt")
    contents = [path.read_bytes() for path in files]
    for path, content in zip(files, contents, strict=True):
        for length in range(len(content)):
            path.write_bytes(content[:length])
            with pytest.raises(KitError, match="not a whole checkpoint"):
                dict(Checkpoint(tmp_path / "a.ckpt"))
        path.write_bytes(content)
    assert dict(Checkpoint(tmp_path / "a.ckpt")).keys() == SMALL.keys()


@needs_tensorflow
@pytest.mark.parametrize("version", [1, 2])
def test_a_flipped_bit_is_found(tmp_path, version):
    """The table of a checkpoint and, since 2017, each of its arrays have checksums."""
    save(tmp_path / "a.ckpt", SMALL, version)
    for path in checkpoint_files(tmp_path / "a.ckpt"):
        content = path.read_bytes()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            try:
                found = dict(Checkpoint(tmp_path / "a.ckpt"))
            except KitError:
                continue
            assert found.keys() <= SMALL.keys()
            assert all(np.array_equal(array, SMALL[name]) for name, array in found.items())
        path.write_bytes(content)


@pytest.fixture(scope="module")
def variables():
    return tf_variables("inception_v3")


@pytest.fixture(scope="module")
def published(tensorflow, variables, tmp_path_factory):
    """An archive as TF-slim's, with what training leaves in a checkpoint."""
    folder = tmp_path_factory.mktemp("published")
    some = {name: array for name, array in variables.items() if "Conv2d_1a_3x3" in name}
    slots = {
        f"{name}/{slot}": array for name, array in some.items() for slot in ("ExponentialMovingAverage", "RMSProp")
    }
    save(folder / MEMBER, variables | slots | {"global_step": np.int64(157585)})
    subprocess.run(
        ["tar", "-czf", folder / "a.tar.gz", INDEX, DATA], cwd=folder, check=True, env=os.environ | {"GZIP": "-1"}
    )
    return folder / "a.tar.gz"


@needs_tensorflow
def test_checkpoint_archive_and_port_give_the_same_weights(variables, published, tmp_path):
    sources = {
        "port": write_port(tmp_path / "port.npy", port_layers(variables, "Ens3Adv")),
        "archive": published,
        "files": published.with_name(MEMBER),
        "one file": save(tmp_path / "inception_v3.ckpt", variables, version=1),
    }
    found = {}
    for kind, path in sources.items():
        stored = import_file(REGISTRY, REGISTRY.model(NAME), path, tmp_path / kind, accept_unknown=True)
        found[kind] = load_file(stored)
        assert read_metadata(stored)["classes"] == "1001"
        for name, array in found["port"].items():
            np.testing.assert_array_equal(found[kind][name], array, strict=True)


@needs_tensorflow
def test_tensorflow_is_silent(published, tmp_path):
    command = [sys.executable, "-m", "advkit.weights", "import", NAME, published, "--folder", tmp_path]
    command += ["--accept-unknown-checksum"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


@needs_tensorflow
def test_renamed_variables_are_named(variables, tmp_path):
    renamed = {name.replace("Conv2d_1a_3x3", "Conv2d_1a"): array for name, array in variables.items()}
    prefix = save(tmp_path / "a.ckpt", renamed)
    with pytest.raises(
        KitError, match=r"missing: InceptionV3/Conv2d_1a_3x3/.*unexpected: InceptionV3/Conv2d_1a/"
    ) as caught:
        import_file(REGISTRY, REGISTRY.model(NAME), prefix, tmp_path / "weights", accept_unknown=True)
    assert str(caught.value).startswith(str(prefix))
    assert not (tmp_path / "weights").exists()


@needs_tensorflow
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_published_checkpoint_cut_short_leaves_nothing(published, tmp_path, share):
    for name in (INDEX, DATA):
        shutil.copy(published.with_name(name), tmp_path)
    os.truncate(tmp_path / DATA, int(share * (tmp_path / DATA).stat().st_size))
    with pytest.raises(KitError, match="not a whole checkpoint"):
        import_file(REGISTRY, REGISTRY.model(NAME), tmp_path / MEMBER, tmp_path / "weights", accept_unknown=True)
    assert not (tmp_path / "weights").exists()
