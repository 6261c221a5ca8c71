"""Docker is what keeps a stranger's program from the host, the network, the store and its rivals.

Every promise is tried from inside a container. What both sandboxes promise is held by tests/contract.
"""

import contextlib
import json
import os
import secrets
import shutil
import threading
from dataclasses import replace

import docker
import pytest
from builders import (
    NUMPY_IMAGE,
    PYTHON_IMAGE,
    first_pixel,
    first_pixel_dataset,
    harness_process,
    living,
    play_file,
    read_board,
    read_index,
    rule_defense,
    store_identity,
    write_attack,
    write_submission,
    write_tournament,
)
from engine import LIMITS, assert_gone, containers, forwarded_engine, limits, open_stage, wait_until

from harness.digest import digest_file
from harness.errors import EngineUnavailableError, InfrastructureError, UserError
from harness.records import Verdict
from harness.sandbox import Setting, open_sandbox, read_profile
from harness.sandbox.docker import describe_engine
from harness.submission import load_submission

pytestmark = pytest.mark.docker

LOOK_AROUND = """
#!/usr/bin/env python3
import json, os, pathlib, socket, sys

def refused(path):
    try:
        pathlib.Path(path).write_text("mine")
    except OSError:
        return True
    return False

def reaches(address):
    try:
        socket.create_connection(address, timeout=3)
    except OSError:
        return False
    return True

lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t") for line in lines if ":\\t" in line)
pathlib.Path(sys.argv[2], "facts.json").write_text(json.dumps({
    "user": [os.getuid(), os.getgid(), os.getgroups()],
    "capabilities": {name: int(value, 16) for name, value in status.items() if name.startswith("Cap")},
    "no_new_privileges": status["NoNewPrivs"],
    "seccomp": status["Seccomp"],
    "interfaces": os.listdir("/sys/class/net"),
    "reaches": [reaches(("1.1.1.1", 53)), reaches(("172.17.0.1", 22))],
    "refused": {path: refused(path) for path in (
        "/new", "/etc/passwd", "/usr/bin/new", "/var/tmp/new", "/input_images/new", "/input_images/a.png",
        "/proc/sys/kernel/core_pattern", "/sys/fs/cgroup/new", "/code/kept",
    )},
    "allowed": [path for path in ("/tmp/new", "/dev/shm/new", "/code/new", "/output_images/new") if not refused(path)],
    "writable": [place for place, _, _ in os.walk("/") if os.access(place, os.W_OK)],
    "sockets": [str(path) for path in pathlib.Path("/").glob("*/docker.sock")],
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "devices": sorted(os.listdir("/dev")),
    "environment": sorted(os.environ),
    "times": sorted({int(os.stat(f"/input_images/{name}").st_mtime) for name in os.listdir("/input_images")}),
}))
"""


@pytest.fixture
def stage(tmp_path):
    with open_stage("docker", tmp_path) as stage:
        yield stage


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """What one submission sees of the world."""
    with open_stage("docker", tmp_path_factory.mktemp("facts")) as stage:
        ending, job = stage.run(LOOK_AROUND, inputs={"a.png": "one", "b.png": "two"}, files={"kept": "kept"})
        assert ending.verdict is Verdict.OK, ending.log
        return json.loads((job.output / "facts.json").read_text())


# --- what it cannot do


def test_it_is_nobody(facts):
    expected = [65534, 65534] if os.geteuid() == 0 else [os.geteuid(), os.getegid()]
    assert facts["user"][:2] == expected
    assert 0 not in facts["user"][2]


def test_it_has_no_capabilities_and_gets_none(facts):
    assert set(facts["capabilities"].values()) == {0}
    assert facts["no_new_privileges"] == "1"


def test_system_calls_are_filtered(facts, docker_engine):
    if "seccomp" not in str(docker_engine.info()["SecurityOptions"]):
        pytest.skip("this engine was built without seccomp")
    assert facts["seccomp"] == "2"


def test_it_has_no_network(facts):
    assert facts["interfaces"] == ["lo"]
    assert facts["reaches"] == [False, False]


def test_it_writes_only_where_it_was_told_to(facts):
    refused = {path for path, was in facts["refused"].items() if was}
    kept = {"/code/kept"} if os.geteuid() == 0 else set()
    assert refused >= facts["refused"].keys() - {"/code/kept"} | kept
    assert facts["allowed"] == ["/tmp/new", "/dev/shm/new", "/code/new", "/output_images/new"]
    places = {"/code", "/dev/mqueue", "/dev/shm", "/output_images", "/tmp"}
    assert {place for place in facts["writable"] if not place.startswith("/proc/")} <= places


def test_it_sees_no_other_process_no_engine_and_no_device(facts):
    assert facts["processes"] == 2  # an init that buries its dead, and itself
    assert facts["sockets"] == []
    assert not {"sda", "vda", "nvme0n1", "kmsg", "mem", "fuse", "kvm"} & set(facts["devices"])


def test_its_environment_is_the_images_and_ours(facts):
    ours = {"HARNESS_SEED", "PYTHONDONTWRITEBYTECODE", "LANG", "HOME", "PATH", "HOSTNAME"}
    assert {name for name in facts["environment"] if name.startswith(("HARNESS", "DOCKER"))} <= ours


def test_a_file_may_not_outgrow_the_quota(stage):
    ending, job = stage.run('head -c 100000000 /dev/zero > "$2/flood"')
    assert ending.verdict is Verdict.BAD_OUTPUT
    assert (job.output / "flood").stat().st_size <= job.largest_file


def test_memory_is_cut_by_the_kernel_and_reported(stage):
    ending, _ = stage.run("#!/usr/bin/env python3\nbytearray(b'x') * (1 << 30)")
    assert (ending.verdict, ending.exit_code, ending.peak_memory) == (Verdict.OUT_OF_MEMORY, 137, LIMITS.memory)


def test_files_in_memory_count_as_memory(stage):
    ending, _ = stage.run("head -c 2000000000 /dev/zero > /dev/shm/flood; exit 1")
    assert ending.verdict in (Verdict.OUT_OF_MEMORY, Verdict.EXIT)
    assert ending.peak_memory <= LIMITS.memory


def test_processes_are_cut_by_the_kernel(stage):
    program = """
        #!/usr/bin/env python3
        import os, time
        number = 0
        try:
            while number < 300:
                if os.fork() == 0:
                    time.sleep(600)
                number += 1
        except BlockingIOError:
            print(number)
    """
    ending, _ = stage.run(program, limits=limits(pids=20))
    assert 10 <= int(ending.log) <= 20


def test_the_root_of_the_image_cannot_be_taken(stage):
    ending, _ = stage.run("su -c id; mount -t tmpfs none /mnt; unshare -r id; chown 0 run; kill -9 1; echo still here")
    assert "still here\n" in ending.log
    assert "uid=0" not in ending.log


def test_a_volume_of_the_image_is_no_way_to_the_disk(stage, docker_engine, tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "image/Dockerfile").write_text(
        f"FROM {PYTHON_IMAGE}\nRUN mkdir /big && chmod 777 /big\nVOLUME /big\nVOLUME /code\nLABEL try={tmp_path}\n"
    )
    before = {volume.id for volume in docker_engine.volumes.list()}
    stage.backend = stage.open(**{"harness-test/volume:1": tmp_path / "image"})
    try:
        ending, _ = stage.run("grep -w /big /proc/mounts; ls run", image="harness-test/volume:1")
    finally:
        docker_engine.images.remove("harness-test/volume:1", force=True)
    assert ending.log.split()[:2] == ["tmpfs", "/big"]
    assert ending.log.split()[-1] == "run"
    assert {volume.id for volume in docker_engine.volumes.list()} <= before


# --- what is staged for it


def test_inputs_and_store_are_what_they_were_before(tmp_path):
    first_pixel_dataset(tmp_path / "dataset")
    vandal = """
        import os
        for name in names:
            for spoil in (os.unlink, lambda path: os.chmod(path, 0o666), lambda path: open(path, "w").close()):
                try:
                    spoil(f"/input_images/{name}")
                except OSError:
                    continue
                write(name, read(name) * 0)
        os.unlink("run")
        os.mkdir("run")
        os.rename("metadata.json", "gone")
    """
    write_attack(tmp_path / "submissions/vandal", vandal)
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    play_file(write_tournament(tmp_path / "tiny.yaml", sandbox="docker"))
    store = tmp_path / "out/store"
    for path in store.glob("objects/*/*"):
        assert digest_file(path) == path.parent.name + path.name
    before = sorted(path.read_bytes() for path in (tmp_path / "submissions").glob("*/*"))
    assert sorted(path.read_bytes() for path in store.glob("code/*/*")) == before
    assert read_board(tmp_path / "out")["attacks"][0]["faults"] == {"missing": 4}


def test_its_files_do_not_tell_when_they_were_made(tmp_path):
    """Clean images are older than adversarial ones, and every attack has its hour."""
    first_pixel_dataset(tmp_path / "dataset")
    write_attack(tmp_path / "submissions/shift", "for name in names: write(name, read(name) + 1)")
    spy = "#!/bin/bash\nstat --format '%X %Y %s %a %U' /input_images/*\nexit 1\n"
    write_submission(tmp_path / "submissions/spy", spy, "defense")
    play_file(write_tournament(tmp_path / "tiny.yaml", sandbox="docker"))
    logs = [log for (log,) in read_index(tmp_path / "out/store", "SELECT log FROM calls WHERE role = 'defense'")]
    assert len(logs) == 2
    assert len({line for log in logs for line in log.splitlines()}) == 1


def test_a_careful_umask_keeps_nobody_from_reading(tmp_path):
    before = os.umask(0o077)
    try:
        first_pixel_dataset(tmp_path / "dataset")
        body = "for name in names: write(name, read(name) + (int(wanted[name]) > 0))"
        write_attack(tmp_path / "submissions/shift", body, "targeted_attack")
        rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
        play_file(write_tournament(tmp_path / "tiny.yaml", sandbox="docker"))
    finally:
        os.umask(before)
    board = read_board(tmp_path / "out")
    assert board["defenses"][0]["clean_accuracy"]["normalised"] == 1.0
    assert board["targeted_attacks"][0]["perturbation"]["mean_linf"] == 1.0


# --- images


def test_an_image_that_is_not_to_be_had_is_named(stage):
    name = "harness-test/no-such-image:1"
    with pytest.raises(UserError, match=name):
        stage.stage("exit 0", image=name)


def docker_submission(folder, *lines, container="built-by-its-dockerfile"):
    write_submission(folder, "#!/bin/sh\ncat /built\n", container=container)
    (folder / "Dockerfile").write_text("\n".join([f"FROM {PYTHON_IMAGE}", *lines, ""]))
    (folder / "built").write_text(secrets.token_hex(8))
    return load_submission(folder)


def test_a_dockerfile_is_built_once_and_found_again(stage, docker_engine, tmp_path):
    submission = docker_submission(tmp_path / "own", "COPY built /built")
    try:
        image = stage.backend.prepare(submission, use_gpu=False)
        (line,) = stage.lines
        assert str(submission.folder) in line
        assert stage.open().prepare(submission, use_gpu=False) == image
        assert stage.lines == [line]
        docker_engine.images.remove(image, force=True)
        stage.open().prepare(submission, use_gpu=False)
        assert stage.lines == [line, line]
        (tmp_path / "own/built").write_text("something else")
        assert stage.open().prepare(load_submission(tmp_path / "own"), use_gpu=False) != image
    finally:
        remove_images(docker_engine, stage.built.values())


def test_a_rivals_image_cannot_be_named(stage, docker_engine, tmp_path):
    rival = docker_submission(tmp_path / "rival", "COPY built /weights")
    try:
        image = stage.backend.prepare(rival, use_gpu=False)
        assert docker_engine.images.get(image).tags == []
        for reference in (image, image.removeprefix("sha256:"), image.removeprefix("sha256:")[:12]):
            write_submission(tmp_path / "thief", "#!/bin/sh\ncat /weights\n", container=reference)
            with pytest.raises(UserError, match="is the id of an image, not a name"):
                stage.backend.prepare(load_submission(tmp_path / "thief"), use_gpu=False)
            shutil.rmtree(tmp_path / "thief")
    finally:
        remove_images(docker_engine, stage.built.values())


def remove_images(engine, images):
    for image in images:
        with contextlib.suppress(docker.errors.NotFound):
            engine.images.remove(image, force=True)


def test_a_run_finds_the_image_of_an_earlier_one(docker_engine, tmp_path, run_main, capsys):
    first_pixel_dataset(tmp_path / "dataset")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    own = write_submission(tmp_path / "submissions/own", "#!/bin/sh\ncat /built\n", container="built-by-its-dockerfile")
    (own / "Dockerfile").write_text(f"FROM {PYTHON_IMAGE}\nCOPY run /built\nLABEL try={secrets.token_hex(8)}\n")
    path = write_tournament(tmp_path / "tiny.yaml", sandbox="docker")
    try:
        assert run_main("run", path) == 0
        assert "building" in capsys.readouterr().out
        assert run_main("run", path) == 0
        again = capsys.readouterr().out
        assert "building" not in again
        assert "nothing was left to call" in again
    finally:
        provenance = json.loads((tmp_path / "out/provenance.json").read_text())
        (one,) = (one["container"] for one in provenance["submissions"] if one["name"] == "own")
        remove_images(docker_engine, [one])


def test_a_dockerfile_that_does_not_build_says_why(stage, tmp_path):
    with pytest.raises(UserError, match=r"(?s)does not build.*no-such-file"):
        stage.backend.prepare(docker_submission(tmp_path / "own", "COPY no-such-file /"), use_gpu=False)


def test_images_of_the_tournament_are_built_from_their_folder(docker_engine, tmp_path):
    name = f"harness-test/{secrets.token_hex(4)}:1"
    (tmp_path / "image").mkdir()
    (tmp_path / "image/Dockerfile").write_text(f"FROM {NUMPY_IMAGE}\nENV ADDED=7\nLABEL try={name}\n")
    first_pixel_dataset(tmp_path / "dataset")
    body = "import os\nfor name in names: write(name, read(name) + int(os.environ['ADDED']))"
    write_attack(tmp_path / "submissions/shift", body, container=name)
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    path = write_tournament(tmp_path / "tiny.yaml", sandbox="docker", images={name: "image"})
    try:
        play_file(path)
    finally:
        docker_engine.images.remove(name, force=True)
    assert read_board(tmp_path / "out")["attacks"][0]["perturbation"]["max_raw_linf"] == 7


@pytest.mark.parametrize("own", [False, True], ids=["another-folder", "its-own-folder"])
def test_the_organisers_image_stands_over_a_dockerfile(stage, docker_engine, tmp_path, own):
    """Also where it is made of the submission's own folder: as an image of the organiser it may ask for a network."""
    name = f"harness-test/{secrets.token_hex(4)}:1"
    submission = docker_submission(tmp_path / "sub", "RUN echo its own >/which", container=name)
    (tmp_path / "image").mkdir()
    lines = [f"FROM {PYTHON_IMAGE}", "RUN echo the organisers >/which", f"LABEL try={name}", ""]
    (tmp_path / "image/Dockerfile").write_text("\n".join(lines))
    backend = stage.open(**{name: submission.folder if own else tmp_path / "image"})
    try:
        image = backend.prepare(submission, use_gpu=False)
        assert docker_engine.images.get(name).id == image, "only the organiser's images have a name"
        said = docker_engine.containers.run(image, ["cat", "/which"], remove=True, network_mode="none")
        assert said.decode() == ("its own\n" if own else "the organisers\n")
    finally:
        docker_engine.images.remove(name, force=True)


def test_an_image_that_stands_on_the_organisers_follows_it(stage, docker_engine, tmp_path):
    """The one below is built first, whichever is asked for, and the one above again when that has changed."""
    below, above = (f"harness-test/{secrets.token_hex(4)}:1" for _ in range(2))
    for name, lines in (
        (below, f"FROM {PYTHON_IMAGE}\nRUN echo one >/which\n"),
        (above, f"ARG BASE={below}\nFROM ${{BASE}}\n"),
    ):
        (tmp_path / name[-6:-2]).mkdir()
        (tmp_path / name[-6:-2] / "Dockerfile").write_text(lines + f"LABEL try={name}\n")
    folders = {name: tmp_path / name[-6:-2] for name in (below, above)}
    submission = docker_submission(tmp_path / "sub", "RUN false", container=above)
    try:
        said = []
        for word in ("one", "two"):
            dockerfile = folders[below] / "Dockerfile"
            dockerfile.write_text(dockerfile.read_text().replace("echo one", f"echo {word}"))
            image = stage.open(**folders).prepare(submission, use_gpu=False)
            said.append(
                docker_engine.containers.run(image, ["cat", "/which"], remove=True, network_mode="none").decode()
            )
        assert said == ["one\n", "two\n"]
    finally:
        for name in (above, below):
            docker_engine.images.remove(name, force=True)


@pytest.fixture
def write_image(docker_engine, tmp_path):
    """`write(name, *lines)` makes a folder with a Dockerfile, which is returned; the images are removed at the end."""
    written = []

    def write(name, *lines):
        written.append(name)
        folder = tmp_path / f"image-{len(written)}"
        folder.mkdir()
        (folder / "Dockerfile").write_text("\n".join([*lines, f"LABEL try={name}", ""]))
        return folder

    yield write
    remove_images(docker_engine, reversed(written))


def random_name():
    return f"harness-test/{secrets.token_hex(4)}:1"


def test_a_comment_names_nothing_that_is_built_first(stage, docker_engine, tmp_path, write_image):
    """The Dockerfile of the one below tells of the one above."""
    below, above = random_name(), random_name()
    base = [f"# {above} stands on this.", f"from {PYTHON_IMAGE}", f"# FROM {above}", f"RUN echo {above} >/which"]
    folders = {below: write_image(below, *base), above: write_image(above, f'ARG BASE="{below}"', "FROM \\", "${BASE}")}
    submission = docker_submission(tmp_path / "sub", container=above)
    image = stage.open(**folders).prepare(submission, use_gpu=False)
    assert docker_engine.images.get(above).id == image != docker_engine.images.get(below).id
    assert [line.split()[4] for line in stage.lines] == [below, above]


def test_images_that_stand_on_each_other_are_named(stage, tmp_path, write_image):
    one, other, itself = random_name(), random_name(), random_name()
    folders = {one: write_image(one, f"FROM {other}"), other: write_image(other, f"FROM {one}")}
    folders[itself] = write_image(itself, f"FROM {itself}")
    for name, chain in ((one, f"{one} > {other} > {one}"), (itself, f"{itself} > {itself}")):
        submission = docker_submission(tmp_path / name[-6:-2], container=name)
        with pytest.raises(UserError, match=f"the images {chain} stand on each other; mend FROM and ARG"):
            stage.open(**folders).prepare(submission, use_gpu=False)
    assert stage.lines == []


def test_a_name_that_leads_elsewhere_by_now_is_set_right(stage, docker_engine, tmp_path, write_image):
    """Somebody built another image under it; the one that stands on it must not follow that one."""
    below, above = random_name(), random_name()
    folders = {below: write_image(below, f"FROM {PYTHON_IMAGE}", "RUN echo ours >/which")}
    folders[above] = write_image(above, f"FROM {below}")
    ours = stage.open(**folders).prepare(docker_submission(tmp_path / "one", container=below), use_gpu=False)
    docker_engine.images.get(PYTHON_IMAGE).tag(below)
    image = stage.open(**folders).prepare(docker_submission(tmp_path / "two", container=above), use_gpu=False)
    assert docker_engine.images.get(below).id == ours
    said = docker_engine.containers.run(image, ["cat", "/which"], remove=True, network_mode="none")
    assert said == b"ours\n"


def test_one_folder_serves_with_and_without_a_gpu(stage, docker_engine, tmp_path, write_image):
    name, for_gpus = random_name(), random_name()
    folder = write_image(name, f"FROM {PYTHON_IMAGE}")
    (tmp_path / "sub").mkdir()
    submission = load_submission(write_submission(tmp_path / "sub/x", "", container=name, container_gpu=for_gpus))
    backend = stage.open(**{name: folder, for_gpus: folder})
    try:
        images = {backend.prepare(submission, use_gpu=use_gpu) for use_gpu in (False, True)}
        assert images == {docker_engine.images.get(name).id, docker_engine.images.get(for_gpus).id}
        assert len(images) == len(stage.lines) == 1
    finally:
        remove_images(docker_engine, [for_gpus])


def test_an_image_is_pinned_by_its_digest(stage, docker_engine):
    assert stage.stage("exit 0").runtime == docker_engine.images.get(PYTHON_IMAGE).id


# --- what the organiser may choose


def inspected(stage, docker_engine, backend, program="exit 0"):
    """What the engine knows of the container of a call."""
    job = stage.stage(program)
    container = backend._create(replace(job, runtime=backend.prepare(load_submission(job.code), use_gpu=False)))
    try:
        return docker_engine.api.inspect_container(container.id)["HostConfig"]
    finally:
        container.remove()


def opened(stage, **fields):
    """One more sandbox of the stage, with a setting of its own."""
    sandbox = open_sandbox("docker", Setting(stage.identity, {}, stage.lines.append, stage.built, **fields))
    stage.opened.append(sandbox)
    return sandbox


def test_the_runtime_is_the_one_that_was_named(stage, docker_engine):
    assert inspected(stage, docker_engine, opened(stage, runtime="io.containerd.runc.v2"))["Runtime"] != "runc"
    backend = opened(stage, runtime="runc")
    assert inspected(stage, docker_engine, backend)["Runtime"] == "runc"
    job = stage.stage("echo it runs")
    job = replace(job, runtime=backend.prepare(load_submission(job.code), use_gpu=False))
    assert backend.run(job, threading.Event()).log == "it runs\n"


def test_a_runtime_that_the_engine_does_not_have_is_one_clear_line(stage, docker_engine):
    with pytest.raises(UserError) as caught:
        opened(stage, runtime="no-such-runtime")
    (line,) = caught.value.faults
    assert "no-such-runtime" in line
    assert all(name in line for name in docker_engine.info()["Runtimes"])


def write_profile(path, *denied):
    """A profile that allows everything but some system calls."""
    rules = [{"names": list(denied), "action": "SCMP_ACT_ERRNO"}]
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}, indent=1))
    return path


@pytest.mark.parametrize(
    ("denied", "made"), [("mkdir mkdirat", "link"), ("symlink symlinkat", "folder"), ("bind", "folder link")]
)
def test_a_seccomp_profile_takes_effect(stage, tmp_path, denied, made):
    profile = read_profile(write_profile(tmp_path / "profile.json", *denied.split()))
    backend = opened(stage, seccomp=profile)
    job = stage.stage("cd /tmp; mkdir folder; ln -s nowhere link; ls")
    job = replace(job, runtime=backend.prepare(load_submission(job.code), use_gpu=False))
    said = backend.run(job, threading.Event()).log.splitlines()
    assert [line for line in said if line in ("folder", "link")] == made.split()
    assert sum("not permitted" in line for line in said) == 2 - len(made.split())


def test_another_runtime_or_profile_is_another_player(stage, tmp_path):
    """What a submission does may depend on them, so nothing that is known is taken from the one for the other."""
    submission = load_submission(stage.stage("exit 0").code)
    profiles = [read_profile(write_profile(tmp_path / f"{name}.json", name)) for name in ("mkdir", "chmod", "mkdir")]
    plain = opened(stage).prepare(submission, use_gpu=False)
    one, other, again = (opened(stage, seccomp=profile).prepare(submission, use_gpu=False) for profile in profiles)
    named = opened(stage, runtime="runc").prepare(submission, use_gpu=False)
    assert one == again
    assert len({plain, one, other, named}) == 4
    assert {text.split()[0] for text in (one, other, named)} == {plain}


def test_a_tournament_names_both(tmp_path, docker_engine):
    first_pixel_dataset(tmp_path / "dataset")
    write_profile(tmp_path / "profile.json", "mkdir", "mkdirat")
    write_attack(tmp_path / "submissions/maker", "import os\nos.mkdir('/tmp/new')")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    path = write_tournament(tmp_path / "tiny.yaml", sandbox="docker", runtime="runc", seccomp="profile.json")
    play_file(path)
    ((verdict, log),) = read_index(tmp_path / "out/store", "SELECT verdict, log FROM calls WHERE role = 'attack'")
    assert verdict == "exit"
    assert "Operation not permitted" in log
    provenance = json.loads((tmp_path / "out/provenance.json").read_text())
    assert all(" runtime=runc seccomp=" in one["container"] for one in provenance["submissions"])


def test_an_unknown_runtime_ends_a_run_before_anything_is_called(tmp_path, run_main, capsys):
    first_pixel_dataset(tmp_path / "dataset")
    write_attack(tmp_path / "submissions/noop", "pass")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    path = write_tournament(tmp_path / "tiny.yaml", sandbox="docker")
    assert run_main("run", path, "--runtime", "runsc-of-nobody") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "runsc-of-nobody" in line
    assert "runc" in line
    assert not (tmp_path / "out/round.json").exists()


# --- the engine itself


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_no_engine_is_one_clear_line(address, tmp_path, run_main, capsys, monkeypatch):
    first_pixel_dataset(tmp_path / "dataset")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    path = write_tournament(tmp_path / "tiny.yaml", sandbox="docker")
    monkeypatch.setenv("DOCKER_HOST", address)
    assert run_main("run", path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert address in line
    assert "DOCKER_HOST" in line
    assert "--sandbox process" in line
    assert describe_engine() is None


def test_an_engine_that_goes_away_is_our_failure(request, monkeypatch):
    mark = f"mark-{secrets.token_hex(8)}"
    with forwarded_engine(monkeypatch) as forwarder:
        stage = request.getfixturevalue("stage")
        stage.backend.check()
        job = stage.stage('exec -a "$(cat mark)" sleep 600', files={"mark": mark})
        aside = threading.Thread(target=lambda: (wait_until(lambda: living(mark)), forwarder.cut()))
        aside.start()
        with pytest.raises(EngineUnavailableError):
            stage.backend.run(job, threading.Event())
        aside.join()
        with pytest.raises(EngineUnavailableError):
            stage.backend.check()
    monkeypatch.undo()
    assert living(mark)
    assert stage.open().sweep() == 1
    assert_gone(mark)


def test_a_run_whose_engine_went_away_goes_on_later(tmp_path, monkeypatch, docker_engine):
    first_pixel_dataset(tmp_path / "dataset")
    body = "import time\ntime.sleep(2)\nfor name in names: write(name, read(name) + 1)"
    write_attack(tmp_path / "submissions/slow", body)
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    path = write_tournament(tmp_path / "tiny.yaml", sandbox="docker", slots=2)
    output = tmp_path / "out"
    with forwarded_engine(monkeypatch) as forwarder, harness_process("run", path) as harness:
        wait_until(lambda: containers(docker_engine, store_identity(output)))
        forwarder.cut()
        _, errors = harness.communicate(timeout=120)
    monkeypatch.undo()
    assert harness.returncode == 1
    (line,) = errors.splitlines()
    assert "engine does not answer" in line
    play_file(path)
    assert read_board(output)["complete"]
    assert not containers(docker_engine, store_identity(output))


def test_a_gpu_that_the_engine_cannot_give_is_our_failure(stage):
    if "nvidia" in (describe_engine() or ""):
        pytest.skip("this engine has GPUs to give")
    with pytest.raises(InfrastructureError, match=r"(?i)gpu|device driver"):
        stage.run("exit 0", gpu="0")
    assert stage.open().sweep() == 0


def test_a_store_of_another_harness_is_left_alone(stage, docker_engine):
    job = stage.stage("sleep 600")
    stage.backend._create(job)
    try:
        assert stage.open(identity="another").sweep() == 0
        assert containers(docker_engine, stage.identity)
    finally:
        assert stage.open().sweep() == 1
    assert not containers(docker_engine, stage.identity)


def test_a_sandbox_leaves_no_open_socket(stage):
    job = stage.stage("exit 0")
    stage.backend.close()
    before = sorted(os.listdir("/proc/self/fd"))
    backend = stage.open()
    backend.run(job, threading.Event())
    backend.close()
    assert wait_until(lambda: sorted(os.listdir("/proc/self/fd")) == before)
