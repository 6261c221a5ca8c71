"""A download goes on where it was stopped, is never taken for whole when it is not, nor read before it is known."""

import fcntl
import hashlib
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import yaml
from rich.console import Console
from weights_files import port_layers, tf_variables, write_port
from weights_server import Behaviour, serving

from advkit.errors import KitError
from advkit.weights.__main__ import main
from advkit.weights.fetch import Download, Patience, SilentError, UnavailableError
from advkit.weights.files import read_metadata, state_of
from advkit.weights.obtaining import Choice, Fetcher
from advkit.weights.progress import shown
from advkit.weights.registry import Model, Registry, Source, read_registry

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
AT_ONCE = Patience(timeout=5, retries=2, pause=0.0)
NAME = "ens3_adv_inception_v3"


def get(folder, url, patience=AT_ONCE, report=lambda done, total: None, **source):
    """The content of a download, after its check."""
    download = Download(folder, "some", Source("npy_port", url, "MIT", **source), patience)
    with download.locked():
        download.run(report)
        download.check(None)
        return download.part.read_bytes()


def leave_part(folder, url, content, validator='"one"', total=300_000):
    """What a download leaves that was stopped."""
    (folder / "some.part").write_bytes(content)
    (folder / "some.part.json").write_text(json.dumps({"url": url, "validator": validator, "total": total}))


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "README")


@pytest.mark.parametrize("has_length", [True, False])
def test_a_whole_file(tmp_path, has_length):
    with serving(Behaviour(CONTENT, has_length=has_length)) as url:
        assert get(tmp_path, url, sha256=DIGEST, size=len(CONTENT)) == CONTENT


def test_it_goes_on_after_every_cut(tmp_path):
    """Bytes that came are asked for no more, on condition that the file is still the same."""
    behaviour = Behaviour(CONTENT, cut=70_000)
    with serving(behaviour) as url:
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT
    starts = [0, *(int(given.removeprefix("bytes=").removesuffix("-")) for given, _ in behaviour.requests[1:])]
    assert len(starts) == 5
    assert all(0 < later - earlier <= 70_000 for earlier, later in pairwise(starts))
    assert {condition for _, condition in behaviour.requests[1:]} == {'"one"'}


def test_it_goes_on_in_another_process(tmp_path):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        leave_part(tmp_path, url, CONTENT[:123_456])
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT
    assert behaviour.requests == [("bytes=123456-", '"one"')]


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(CONTENT, has_ranges=False),
        Behaviour(CONTENT, tag='"two"'),
        Behaviour(CONTENT, has_length=False, tag='"two"'),
    ],
    ids=["no ranges", "another file since", "another file of unknown length"],
)
def test_it_starts_again_where_the_server_does(tmp_path, behaviour):
    with serving(behaviour) as url:
        leave_part(tmp_path, url, bytes(1000))
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT


def test_a_server_without_ranges_that_cuts_every_time_is_given_up(tmp_path):
    with serving(Behaviour(CONTENT, has_ranges=False, cut=70_000)) as url, pytest.raises(SilentError):
        get(tmp_path, url, sha256=DIGEST)


@pytest.mark.parametrize("case", ["another source", "notes are lost", "notes are no notes"])
def test_a_part_of_something_else_is_not_continued(tmp_path, case):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        leave_part(tmp_path, url, bytes(1000))
        notes = tmp_path / "some.part.json"
        changes = {"another source": '{"url": "http://example.org"}', "notes are no notes": "[3"}
        notes.write_text(changes[case]) if case in changes else notes.unlink()
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT
    assert behaviour.requests == [(None, None)]


def test_without_a_tag_the_length_must_be_the_same(tmp_path):
    behaviour = Behaviour(CONTENT, tag=None)
    with serving(behaviour) as url:
        leave_part(tmp_path, url, CONTENT[:1000], validator=None, total=1001)
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT
    assert behaviour.requests == [("bytes=1000-", None), (None, None)]


def test_a_whole_part_is_not_asked_for_again(tmp_path):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        leave_part(tmp_path, url, CONTENT)
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT
    assert behaviour.requests == []


def test_a_part_that_is_longer_than_the_file_is_dropped(tmp_path):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        leave_part(tmp_path, url, CONTENT + b"more", total=None)
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT
    assert behaviour.requests == [(f"bytes={len(CONTENT) + 4}-", '"one"'), (None, None)]


def test_another_part_than_asked_for_is_dropped(tmp_path):
    behaviour = Behaviour(CONTENT, shift=7)
    with serving(behaviour) as url:
        leave_part(tmp_path, url, CONTENT[:1000])
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT
    assert [given for given, _ in behaviour.requests] == ["bytes=1000-", None]


def test_a_busy_server_is_asked_again(tmp_path):
    with serving(Behaviour(CONTENT, statuses=[503, 429])) as url:
        assert get(tmp_path, url, sha256=DIGEST) == CONTENT


def test_other_bytes_are_removed_and_both_digests_said(tmp_path):
    other = bytes(len(CONTENT))
    with serving(Behaviour(other)) as url, pytest.raises(KitError) as caught:
        get(tmp_path, url, sha256=DIGEST, size=len(CONTENT))
    assert DIGEST in str(caught.value)
    assert hashlib.sha256(other).hexdigest() in str(caught.value)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_size_than_the_registry_s_is_refused(tmp_path, size, has_length):
    with serving(Behaviour(CONTENT, has_length=has_length)) as url, pytest.raises(KitError, match=str(size)):
        get(tmp_path, url, sha256=DIGEST, size=size)
    if has_length:
        assert left_in(tmp_path) == []


def test_a_file_that_is_said_to_be_huge_is_not_begun(tmp_path):
    with serving(Behaviour(CONTENT, says=1 << 40)) as url, pytest.raises(KitError, match="4 GiB"):
        get(tmp_path, url, sha256=DIGEST)
    assert left_in(tmp_path) == []


def assert_next_action(error, url, reason):
    host = url.split("/")[2]
    for part in (host, reason, url, "harness weights import some FILE"):
        assert part in str(error)
    assert "\n" not in str(error)


def test_a_server_that_hangs_is_given_up_and_what_came_is_kept(tmp_path):
    patience = replace(AT_ONCE, timeout=0.2, retries=1)
    with serving(Behaviour(CONTENT, hang=100_000, has_ranges=False)) as url:
        with pytest.raises(SilentError) as caught:
            get(tmp_path, url, patience)
        assert_next_action(caught.value, url, "it does not answer in time")
    assert left_in(tmp_path) == ["some.part", "some.part.json"]
    assert CONTENT.startswith((tmp_path / "some.part").read_bytes())


def test_a_server_that_hangs_once_is_asked_for_the_rest(tmp_path):
    behaviour = Behaviour(CONTENT, hang=100_000, times=1)
    with serving(behaviour) as url:
        assert get(tmp_path, url, replace(AT_ONCE, timeout=0.2), sha256=DIGEST) == CONTENT
    assert len(behaviour.requests) == 2


def test_a_server_that_says_nothing_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(SilentError) as caught:
            get(tmp_path, url, replace(AT_ONCE, timeout=0.2, retries=0))
    assert_next_action(caught.value, url, "it does not answer in time")
    assert left_in(tmp_path) == []


def test_a_port_where_nobody_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
    with pytest.raises(SilentError) as caught:
        get(tmp_path, url)
    assert_next_action(caught.value, url, "Connection refused")


def test_a_host_that_does_not_exist(tmp_path):
    url = "http://weights.invalid/file"
    with pytest.raises(SilentError) as caught:
        get(tmp_path, url)
    assert_next_action(caught.value, url, "nothing from")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_not_there_is_not_asked_for_again(tmp_path, status):
    behaviour = Behaviour(CONTENT, statuses=[status])
    with serving(behaviour) as url:
        with pytest.raises(UnavailableError) as caught:
            get(tmp_path, url)
        assert_next_action(caught.value, url, f"it answers {status}")
    assert len(behaviour.requests) == 1
    assert left_in(tmp_path) == []


def test_a_redirection_is_followed(tmp_path):
    with serving(Behaviour(CONTENT)) as url, serving(Behaviour(b"", redirect=url)) as first:
        assert get(tmp_path, first, sha256=DIGEST) == CONTENT


def test_two_processes_do_not_write_one_part(tmp_path):
    with serving(Behaviour(CONTENT)) as url:
        download = Download(tmp_path, "some", Source("npy_port", url, "MIT"), AT_ONCE)
        with download.locked():
            code = (
                "import sys; from pathlib import Path; from advkit.weights.fetch import Download, Patience\n"
                "from advkit.weights.registry import Source\n"
                "with Download(Path(sys.argv[1]), 'some', Source('npy_port', sys.argv[2], 'MIT')).locked(): pass"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, tmp_path, url], capture_output=True, text=True, check=False
            )
    assert "is being fetched by another process" in done.stderr


def test_a_part_that_was_removed_while_it_was_waited_for_is_not_locked(tmp_path, monkeypatch):
    """Another process may end, and remove the part, between our opening and our locking it."""
    download = Download(tmp_path, "some", Source("npy_port", "http://example.org/a", "MIT"), AT_ONCE)
    removed = []

    def flock(file, operation, flock=fcntl.flock):
        if not removed:
            removed.append(download.part.unlink())
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with download.locked(), pytest.raises(KitError, match="is being fetched by another process"), download.locked():
        pass
    assert removed == [None]
    assert left_in(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match="cannot be written"):
        get(tmp_path / "file", "http://example.org/file")


# What a person sees


def test_progress_is_told_from_where_it_goes_on(tmp_path):
    told = []
    with serving(Behaviour(CONTENT)) as url:
        leave_part(tmp_path, url, CONTENT[:100_000])
        get(tmp_path, url, report=lambda done, total: told.append((done, total)))
    assert told[0] == (100_000, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_elsewhere_than_in_a_terminal_lines_are_plain(capsys):
    console = Console(file=sys.stdout, width=200)
    with shown("some", console) as report:
        for done in range(1001):
            report(done << 20, 1000 << 20)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "some: 0 % of 1000.0 MiB"
    assert lines[-1] == "some: 100 % of 1000.0 MiB"
    assert len(lines) == 11
    assert "\x1b" not in "".join(lines)


def test_of_an_unknown_length_the_bytes_are_said(capsys):
    with shown("some", Console(file=sys.stdout)) as report:
        report(3 << 20, None)
    assert capsys.readouterr().out == "some: 3.0 MiB\n"


def test_in_a_terminal_there_is_a_bar(capsys):
    with shown("some", Console(file=sys.stdout, force_terminal=True, width=100)) as report:
        report(1 << 20, 2 << 20)
    shown_text = capsys.readouterr().out
    assert "1.0/2.0 MiB" in shown_text
    assert "━" in shown_text


# From the registry to the stored file


def model(*sources):
    return Model(NAME, "inception_v3", "", "", "", tuple(sources))


KNOWN = Source("npy_port", "http://example.org/a", "MIT", sha256="0" * 64)
UNKNOWN = Source("timm_safetensors", "http://example.org/b", "MIT")


def test_only_a_source_with_a_known_digest_is_taken_unless_told_otherwise():
    both = model(UNKNOWN, KNOWN)
    assert Choice().sources(both) == (KNOWN,)
    assert Choice(accept_unknown=True).sources(both) == (UNKNOWN, KNOWN)
    assert Choice(kind="npy_port").sources(both) == (KNOWN,)
    for choice in (Choice(), Choice(kind="timm_safetensors")):
        assert choice.sources(model(UNKNOWN)) == ()


def test_a_digest_says_which_source_is_meant():
    other = replace(UNKNOWN, url="http://example.org/c")
    three = model(UNKNOWN, KNOWN, other)
    assert Choice(sha256=KNOWN.sha256).sources(three) == (KNOWN,)
    assert Choice(sha256="1" * 64).sources(three) == (UNKNOWN, other)
    assert Choice(sha256="1" * 64).sources(model(KNOWN)) == ()


@pytest.mark.parametrize(
    ("choice", "sources", "said"),
    [
        (
            Choice(kind="tf_checkpoint"),
            (UNKNOWN, KNOWN),
            "no source tf_checkpoint; there is timm_safetensors, npy_port",
        ),
        (Choice(sha256="1" * 64), (KNOWN,), "other digests than 1.*leave out --sha256"),
        (Choice(), (UNKNOWN,), f"no sha256 .*: harness weights fetch {NAME} --accept-unknown-checksum$"),
    ],
    ids=["no such kind", "another digest", "no digest"],
)
def test_without_a_source_the_line_says_why(tmp_path, choice, sources, said):
    with pytest.raises(KitError, match=said):
        Fetcher(Registry({}, {}), tmp_path, AT_ONCE).fetch(model(*sources), choice)


def test_of_sources_without_digest_the_one_is_found_that_has_the_given_one(tmp_path):
    fetcher = Fetcher(Registry({}, {}), tmp_path, AT_ONCE, say=lambda text: None)
    with serving(Behaviour(bytes(10))) as first, serving(Behaviour(CONTENT)) as second:
        sources = [replace(UNKNOWN, url=url) for url in (first, second)]
        with pytest.raises(KitError, match="neither a checkpoint"):  # which is what CONTENT is: the second was read
            fetcher.fetch(model(*sources), Choice(sha256=DIGEST))
        with pytest.raises(KitError) as caught:
            fetcher.fetch(model(*sources), Choice(sha256="1" * 64))
    assert [f"instead of {'1' * 64}" in line for line in str(caught.value).splitlines()] == [True, True]


def test_without_tensorflow_the_other_sources_are_still_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    checkpoint = Source("tf_checkpoint", "http://example.org/c", "MIT", member="c.ckpt")
    fetcher = Fetcher(Registry({}, {}), tmp_path, replace(AT_ONCE, retries=0), say=lambda text: None)
    with pytest.raises(KitError) as caught:
        fetcher.fetch(model(replace(UNKNOWN, url="http://weights.invalid/a"), checkpoint), Choice(accept_unknown=True))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1].split()[0] for line in lines] == ["nothing", "TensorFlow,"]
    assert lines[0].endswith(f"harness weights import {NAME} FILE --accept-unknown-checksum")


def test_the_next_source_is_tried_and_a_silent_host_not_again(tmp_path):
    behaviour = Behaviour(CONTENT, statuses=[404] * 9)
    with serving(behaviour) as url:
        host = url.removeprefix("http://")
        faults = model(replace(KNOWN, url="http://weights.invalid/a"), replace(KNOWN, url=f"http://{host}"))
        fetcher = Fetcher(Registry({}, {}), tmp_path, replace(AT_ONCE, retries=0), say=lambda text: None)
        for _ in range(2):
            with pytest.raises(KitError) as caught:
                fetcher.fetch(faults, Choice())
            assert [host in line for line in str(caught.value).splitlines()] == [False, True]
    assert "it did not answer before" in str(caught.value)
    assert len(behaviour.requests) == 2


def test_bytes_of_an_unknown_digest_are_not_parsed_before_they_are_accepted(tmp_path):
    """What does not fit its digest never reaches a reader, however it would end there."""
    fetcher = Fetcher(Registry({}, {}), tmp_path, AT_ONCE, say=lambda text: None)
    with serving(Behaviour(CONTENT)) as url, pytest.raises(KitError, match="instead of"):
        fetcher.fetch(model(replace(KNOWN, url=url)), Choice())
    assert left_in(tmp_path) == []


def test_what_cannot_be_imported_is_removed(tmp_path):
    fetcher = Fetcher(Registry({}, {}), tmp_path, AT_ONCE, say=lambda text: None)
    with serving(Behaviour(CONTENT)) as url, pytest.raises(KitError, match="neither a checkpoint"):
        fetcher.fetch(model(replace(KNOWN, url=url, sha256=DIGEST)), Choice())
    assert left_in(tmp_path) == []


def write_registry(path, url, name=NAME, **source):
    """The registry with one model, whose one source is that."""
    path.write_text(yaml.safe_dump({"models": {name: entry(url, **source)}}))
    return path


def entry(url, **source):
    source = {"kind": "npy_port", "url": url, "licence": "MIT", **source}
    return {"architecture": "inception_v3", "description": "d", "paper": "p", "licence": "MIT", "sources": [source]}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A port."""
    path = tmp_path_factory.mktemp("port") / "port.npy"
    return write_port(path, port_layers(tf_variables("inception_v3"), "Ens3Adv"), protocol=4).read_bytes()


def test_from_the_host_to_the_stored_file(content, tmp_path, capsys):
    """The whole way, with a connection that breaks: download, check, import, and no second time."""
    digest, folder = hashlib.sha256(content).hexdigest(), tmp_path / "weights"
    with serving(Behaviour(content, cut=60_000_000, times=1)) as url:
        registry = write_registry(tmp_path / "registry.yaml", url, size=len(content), sha256=digest)
        command = ["fetch", NAME, "--folder", str(folder), "--registry", str(registry)]
        assert main(command) == 0
        assert main(command) == 0
    said = capsys.readouterr()
    assert f"{NAME}: {folder / NAME}.safetensors" in said.out
    assert f"{NAME}: is there already" in said.out
    assert f"{NAME}: 100 % of" in said.err
    assert state_of(folder, NAME) == "ready"
    assert left_in(folder) == [f"{NAME}.safetensors", f"{NAME}.safetensors.sha256"]
    metadata = read_metadata(folder / f"{NAME}.safetensors")
    assert (metadata["source"], metadata["source_sha256"]) == (url, digest)


def test_an_unknown_digest_is_refused_then_noted(tmp_path, capsys):
    with serving(Behaviour(CONTENT)) as url:
        registry = write_registry(tmp_path / "registry.yaml", url)
        command = ["fetch", NAME, "--folder", str(tmp_path / "weights"), "--registry", str(registry)]
        assert main(command) == 1
        assert "--accept-unknown-checksum" in capsys.readouterr().err
        assert main([*command, "--accept-unknown-checksum"]) == 1
    said = capsys.readouterr()
    assert DIGEST in said.out
    assert "neither a checkpoint" in said.err


def test_all_is_what_may_be_taken_and_the_rest_is_a_command_away(content, tmp_path, capsys, monkeypatch):
    """What nothing vouches for comes last, whatever the registry's order: a line with the command that gets it."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    folder, registry = tmp_path / "the weights", tmp_path / "registry.yaml"
    options = ["--folder", str(folder), "--registry", str(registry)]
    with serving(Behaviour(content)) as url:
        checkpoint = entry("http://weights.invalid/a.tar.gz", kind="tf_checkpoint", member="a.ckpt")
        vouched = entry(url, sha256=hashlib.sha256(content).hexdigest())
        registry.write_text(yaml.safe_dump({"models": {"a": entry(url), "b": checkpoint, NAME: vouched}}))
        assert main(["fetch", "--all", *options]) == 0
        said = capsys.readouterr().err.splitlines()
        assert [state_of(folder, name) for name in ("a", "b", NAME)] == ["absent", "absent", "ready"]
        assert [line.split(": ")[1] for line in said[-2:]] == ["a", "b"]
        assert said[-3].startswith(f"{NAME}: 100 %")
        assert "pip install --editable 'submissions/kit[tensorflow]' --constraint constraints.txt" in said[-1]
        write_registry(registry, url, name="a")  # or these bytes would be known, as those of another name
        harness, weights, *command = shlex.split(said[-2].rpartition(": ")[2])
        assert (harness, weights) == ("harness", "weights")
        assert main(command) == 0
    assert state_of(folder, "a") == "ready"


@pytest.mark.parametrize("package", ["requests", "rich"])
def test_without_the_extra_one_line_says_what_to_install(package, monkeypatch, capsys):
    for module in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("fetch", "progress", "obtaining"):
        monkeypatch.delitem(sys.modules, f"advkit.weights.{module}")
    assert main(["fetch", NAME]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"harness weights: {package}, which")
    assert "pip install --editable 'submissions/kit[fetch]' --constraint constraints.txt" in said


def test_hosts_that_cannot_be_reached_give_a_line_each(tmp_path, capsys):
    registry = write_registry(tmp_path / "registry.yaml", "http://weights.invalid/port.npy", sha256="0" * 64)
    command = ["fetch", NAME, "--folder", str(tmp_path / "weights"), "--registry", str(registry), "--retries", "0"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"harness weights: {NAME}: nothing from weights.invalid (")
    assert f"harness weights import {NAME} FILE" in said


def test_a_stopped_fetch_goes_on(tmp_path, capsys):
    """Ctrl-C in the middle: no traceback, what came is kept, and the same command asks for the rest only."""
    behaviour = Behaviour(CONTENT, hang=100_000, times=1)
    with serving(behaviour) as url:
        registry = write_registry(tmp_path / "registry.yaml", url, sha256=DIGEST)
        command = ["fetch", NAME, "--folder", str(tmp_path), "--registry", str(registry)]
        child = subprocess.Popen([sys.executable, "-m", "advkit.weights", *command], stderr=subprocess.PIPE, text=True)
        part = tmp_path / f"{NAME}.part"
        while not part.exists() or part.stat().st_size == 0:
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
        assert child.returncode == 130
        assert "Traceback" not in said
        kept = part.stat().st_size
        assert main(command) == 1  # for the content is no weights; it was whole, or its digest would be wrong
    assert "neither a checkpoint" in capsys.readouterr().err
    assert behaviour.requests == [(None, None), (f"bytes={kept}-", '"one"')]


def test_every_registered_source_would_be_chosen():
    for each in read_registry().models.values():
        assert Choice(accept_unknown=True).sources(each) == each.sources
