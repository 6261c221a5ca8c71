"""The images of the competition come from hosts that lose photographs, stall, and send a picture that says 'gone' with
status 200: whatever a host does, an image of the set is the cut that the competition made or it is named as missing,
and a build that was killed goes on with the rest."""

import csv
import io
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from helpers import ROOT, data_folder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.commands.dataset import build_if_missing
from harness.config import DatasetConfig
from harness.dataset import load_dataset
from harness.errors import UserError

FOLDER = ROOT / "dataset" / "nips2017_dev"
HEADER = "ImageId,URL,x1,y1,x2,y2,TrueLabel,TargetClass,OriginalLandingURL,License,Author,AuthorProfileURL"
WHOLE = (0, 0, 1, 1)
RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 200, 20), (20, 20, 230), (250, 250, 250)

sys.path.append(str(FOLDER))
import dev_list  # noqa: E402 - the folder is no package: it is copied to wherever the images shall lie
import photo  # noqa: E402


def jpeg(pixels, **options):
    data = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(data, "JPEG", quality=95, subsampling=0, **options)
    return data.getvalue()


def noise(seed=0, size=(400, 400)):
    width, height = size
    return jpeg(np.random.default_rng(seed).integers(0, 256, (height, width, 3)))


def quarters(side=400):
    """Red, green / blue, white."""
    pixels = np.zeros((side, side, 3))
    half = side // 2
    pixels[:half, :half], pixels[:half, half:], pixels[half:, :half], pixels[half:, half:] = RED, GREEN, BLUE, WHITE
    return jpeg(pixels)


class Photographs:
    """A host on this machine. `pages` maps a path to what is answered, one after another, the last for ever:
    bytes of a JPEG, a status, a (status, headers, body), or a function of the request's handler."""

    def __init__(self):
        self.pages, self.asked = {}, Counter()
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                host.asked[self.path] += 1
                answers = host.pages.get(self.path, [404])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if callable(answer):
                    answer(self)
                else:
                    send(self, *host.full(answer))

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @staticmethod
    def full(answer):
        if isinstance(answer, bytes):
            return 200, {"Content-Type": "image/jpeg"}, answer
        return (answer, {}, b"") if isinstance(answer, int) else answer

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def send(handler, status, headers, body, announced=None):
    handler.send_response(status)
    for name, value in ({"Content-Length": str(announced or len(body))} | headers).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def host():
    with closing(Photographs()) as found:
        yield found


@pytest.fixture
def serve(host, tmp_path):
    """Puts photographs on the host and makes the list of them: name -> answer or answers, box."""

    def serve(boxes=None, **answers):
        rows = []
        for label, (name, answer) in enumerate(answers.items(), start=1):
            host.pages[f"/{name}_o.jpg"] = answer if isinstance(answer, list) else [answer]
            box = ",".join(map(str, (boxes or {}).get(name, WHOLE)))
            rows.append(f'{name},{host.url}/{name}_o.jpg,{box},{label},{label + 1},https://x,CC BY,"Doe, J.",https://y')
        (tmp_path / "list.csv").write_text("\n".join([HEADER, *rows]) + "\n")
        return tmp_path / "list.csv"

    return serve


@pytest.fixture
def build(tmp_path):
    """Runs build.py as a user does; (exit code, what it said) is returned."""

    def build(*arguments, output=tmp_path / "set"):
        ended = subprocess.run(
            command(*arguments, output=output), capture_output=True, text=True, timeout=60, check=False
        )
        return ended.returncode, ended.stdout + ended.stderr

    return build


def command(*arguments, output):
    quick = ["--output", output, "--timeout", "20", "--backoff", "0.01"]
    return [sys.executable, *map(str, [FOLDER / "build.py", *quick, *arguments])]


def missing(folder):
    """ImageId -> (reason, detail) of missing.csv."""
    with (folder / "missing.csv").open(newline="") as file:
        return {row["ImageId"]: (row["Reason"], row["Detail"]) for row in csv.DictReader(file)}


def images(folder):
    return sorted(path.name for path in (folder / "images").iterdir())


def pixels_of(folder, name):
    with Image.open(folder / "images" / f"{name}.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (299, 299))
        return np.asarray(image)


# --- the cut


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ((0, 0, 1, 1), (RED, GREEN, BLUE, WHITE)),
        ((0.5, 0.5, 1, 1), (WHITE, WHITE, WHITE, WHITE)),
        ((0.25, 0.5, 0.75, 1), (BLUE, WHITE, BLUE, WHITE)),
        ((0.5, 0.25, 1, 0.75), (GREEN, GREEN, WHITE, WHITE)),
    ],
    ids=["whole", "corner", "bottom", "right"],
)
def test_the_box_is_cut_out_and_made_299_pixels_wide(serve, build, tmp_path, box, corners):
    list_ = serve({"a": box}, a=quarters())
    code, said = build("--list", list_)
    assert (code, said.splitlines()[-1]) == (0, f"{tmp_path / 'set'}: all 1 images are there")
    pixels = pixels_of(tmp_path / "set", "a").astype(int)
    found = [pixels[y, x] for y in (20, 278) for x in (20, 278)]
    assert np.abs(np.array(found) - np.array(corners)).max() <= 3
    assert (tmp_path / "set" / "dev_dataset.csv").read_bytes() == list_.read_bytes()
    assert not (tmp_path / "set" / "missing.csv").exists()


@given(width=st.integers(300, 700), height=st.integers(300, 700), data=st.data())
def test_corners_are_truncated_to_whole_pixels(width, height, data):
    """A cut that is 299 pixels wide already is not resized: each pixel then tells where it was."""
    left, top = data.draw(st.integers(0, width - 299)), data.draw(st.integers(0, height - 299))
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    where = np.stack([columns % 256, rows % 256, columns // 256 * 16 + rows // 256], axis=2)
    sixth = data.draw(st.floats(0.05, 0.95))
    box = tuple(
        min(1.0, (edge + sixth) / whole)
        for edge, whole in ((left, width), (top, height), (left + 299, width), (top + 299, height))
    )
    found = np.asarray(photo.cut(Image.fromarray(where.astype(np.uint8)), box))
    assert np.array_equal(found, where[top : top + 299, left : left + 299])


def test_the_orientation_that_a_camera_noted_changes_nothing(serve, build, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = np.zeros((400, 400, 3))
    pixels[:200] = RED
    build("--list", serve(a=jpeg(pixels, exif=exif)))
    assert np.abs(pixels_of(tmp_path / "set", "a")[20, 20].astype(int) - RED).max() <= 3


def test_a_grey_photograph_becomes_rgb(serve, build, tmp_path):
    build("--list", serve(a=jpeg(np.full((400, 400), 77))))
    assert (pixels_of(tmp_path / "set", "a") == 77).all()


# --- what hosts do


def truncated(handler):
    """The whole length is announced and half of it is sent."""
    data = noise()
    send(handler, 200, {"Content-Type": "image/jpeg"}, data[: len(data) // 2], announced=len(data))


def stalling(handler):
    data = noise()
    send(handler, 200, {"Content-Type": "image/jpeg"}, data[:100], announced=len(data))
    handler.wfile.flush()
    threading.Event().wait(5)


def impatient(answer):
    """Options of a build that shall not wait for what never comes."""
    return ("--timeout", "1") if answer is stalling else ()


HALF = noise()[: len(noise()) // 2]
GONE = (302, {"Location": "/pw/photo_unavailable_l.png"}, b"")


@pytest.mark.parametrize(
    ("answer", "reason", "detail", "asked"),
    [
        (404, "http_error", "HTTP 404", 1),
        (410, "http_error", "HTTP 410", 1),
        (500, "http_error", "HTTP 500", 3),
        (429, "http_error", "HTTP 429", 3),
        (GONE, "placeholder", "the host led to {url}/pw/photo_unavailable_l.png", 1),
        ((200, {"Content-Type": "text/html"}, b"<p>gone"), "wrong_type", "the host sent text/html, not a JPEG", 1),
        ((200, {"Content-Type": "image/gif"}, b"GIF89a"), "wrong_type", "the host sent image/gif, not a JPEG", 1),
        (b"no photograph", "wrong_type", "the bytes are no JPEG", 1),
        (b"", "wrong_type", "the bytes are no JPEG", 1),
        (HALF, "truncated", "truncated", 3),
        (truncated, "truncated", "IncompleteRead", 3),
        (stalling, "unreachable", "no answer (", 3),
        (noise(1, (50, 50)), "wrong_size", "the photograph is only 50x50", 1),
        (noise(1, (400, 300)), "wrong_shape", "it is 400x300", 1),
    ],
    ids=[
        "absent", "gone", "broken", "too-many", "placeholder", "page", "gif", "text", "empty", "half", "cut-off",
        "stalling", "thumbnail", "another-photograph",
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_reason(serve, host, build, tmp_path, answer, reason, detail, asked):
    host.pages["/pw/photo_unavailable_l.png"] = [(200, {"Content-Type": "image/png"}, b"\x89PNG")]
    code, said = build("--list", serve(good=quarters(), bad=answer), "--attempts", "3", *impatient(answer))
    folder = tmp_path / "set"
    assert code == 0
    assert said.splitlines()[-1] == (
        f"{folder}: 1 of 2 images are there, 1 are missing (1 {reason}); {folder / 'missing.csv'} says why"
    )
    found = missing(folder)["bad"]
    assert (found[0], detail.format(url=host.url) in found[1]) == (reason, True), found
    assert images(folder) == ["good.png"]
    assert host.asked["/bad_o.jpg"] == asked


@pytest.mark.parametrize("first", [500, 503, (429, {"Retry-After": "0"}, b""), truncated, HALF, stalling])
def test_a_host_in_trouble_is_asked_again(serve, host, build, tmp_path, first):
    code, said = build("--list", serve(a=[first, quarters()]), *impatient(first))
    assert (code, host.asked["/a_o.jpg"]) == (0, 2), said
    assert images(tmp_path / "set") == ["a.png"]


def test_a_host_that_asks_for_time_gets_it(serve, host, monkeypatch):
    waits = []
    serve(a=[(429, {"Retry-After": "7"}, b""), (503, {"Retry-After": "100000"}, b""), 500, quarters()])
    patience = photo.Patience(timeout=1, attempts=4, backoff=2)
    monkeypatch.setattr(patience.stop, "wait", waits.append)
    with photo.Host(patience, 1) as asking:
        asking.png(photo.Row("a", f"{host.url}/a_o.jpg", WHOLE))
    assert waits[:2] == [7, photo.LONGEST_WAIT]
    assert 6 <= waits[2] <= 10


def test_one_picture_sent_for_several_photographs_is_a_placeholder(serve, host, build, tmp_path):
    """Also where the first of them came with an earlier build."""
    gone, boxes = noise(9), {"b": (0, 0, 0.5, 0.5)}
    code, said = build("--list", serve(boxes, a=gone, b=404, c=noise(3)))
    assert images(tmp_path / "set") == ["a.png", "c.png"]
    code, said = build("--list", serve(boxes, a=gone, b=gone, c=noise(3)))
    assert (code, images(tmp_path / "set")) == (0, ["c.png"])
    assert missing(tmp_path / "set") == dict.fromkeys("ab", ("placeholder", "the same bytes for 2 addresses"))
    assert "1 of 3 images are there, 2 are missing (2 placeholder)" in said


def test_two_cuts_of_one_photograph_are_none(serve, build, tmp_path):
    list_ = serve({"b": (0, 0, 0.5, 0.5)}, a=noise(), b=404)
    list_.write_text(list_.read_text().replace("/b_o.jpg", "/a_o.jpg"))
    assert build("--list", list_)[0] == 0
    assert images(tmp_path / "set") == ["a.png", "b.png"]


def test_without_a_network_not_all_are_tried(build, serve, host, tmp_path):
    list_ = serve(**{f"p{number}": 404 for number in range(60)})
    list_.write_text(list_.read_text().replace(host.url, "http://127.0.0.1:1"))
    code, said = build("--list", list_, "--attempts", "1", "--workers", "2")
    reasons = Counter(reason for reason, _ in missing(tmp_path / "set").values())
    assert code == 1
    assert "no answer for 20 photographs in a row; the rest is not tried" in said
    assert reasons == {"unreachable": 20, "not_tried": 40}


# --- going on


def test_a_build_that_was_killed_goes_on_with_the_rest(serve, host, build, tmp_path):
    reached, release = threading.Event(), threading.Event()

    def blocking(handler):
        reached.set()
        release.wait(20)

    list_ = serve(a=noise(1), b=noise(2), c=[blocking, noise(3)], d=noise(4))
    folder = tmp_path / "set"
    started = command("--list", list_, "--workers", "1", output=folder)
    with subprocess.Popen(started, stdout=subprocess.DEVNULL) as process:
        assert reached.wait(20)
        process.kill()
    release.set()
    assert images(folder) == ["a.png", "b.png"]
    (folder / "images" / ".c.png.part").write_bytes(b"half of it")
    code, said = build("--list", list_)
    assert "4 images in the list, 2 of them are there" in said
    assert (code, images(folder)) == (0, ["a.png", "b.png", "c.png", "d.png"])
    assert [host.asked[f"/{name}_o.jpg"] for name in "abcd"] == [1, 1, 2, 1]


def test_a_build_that_is_interrupted_says_what_it_has(serve, tmp_path):
    reached, release = threading.Event(), threading.Event()

    def blocking(handler):
        reached.set()
        release.wait(20)

    list_ = serve(a=noise(1), b=blocking, c=noise(3))
    started = command("--list", list_, "--workers", "1", "--timeout", "3", output=tmp_path / "set")
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as process:
        assert reached.wait(20)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    release.set()
    assert process.returncode == 130, said
    assert images(tmp_path / "set") == ["a.png"]
    assert missing(tmp_path / "set") == dict.fromkeys("bc", ("not_tried", "the build was stopped"))
    assert "stopped; the same command goes on from here" in said


def test_a_download_under_way_ends_with_the_build(serve, tmp_path):
    """A slow host keeps sending, and a photograph may take minutes: who stops the build does not wait for that."""
    reached, release = threading.Event(), threading.Event()

    def trickling(handler):
        send(handler, 200, {"Content-Type": "image/jpeg"}, b"", announced=1 << 30)
        with suppress(OSError):
            while not release.wait(0.02):
                handler.wfile.write(bytes(1 << 13))
                reached.set()

    started = command("--list", serve(a=trickling), "--attempts", "1", output=tmp_path / "set")
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as process:
        assert reached.wait(20)
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=60)[0]
        finally:
            release.set()
    assert process.returncode == 130, said
    assert missing(tmp_path / "set") == {"a": ("not_tried", "the build was stopped")}


def test_nothing_is_asked_of_a_host_once_the_build_was_stopped(serve, host):
    serve(a=[500, noise(1)])
    patience = photo.Patience(timeout=5, attempts=2, backoff=0)
    host.pages["/a_o.jpg"].insert(0, lambda handler: (patience.stop.set(), send(handler, 500, {}, b"")))
    with photo.Host(patience, 1) as asking, pytest.raises(photo.UnusableError) as caught:
        asking.png(photo.Row("a", f"{host.url}/a_o.jpg", WHOLE))
    assert (caught.value.reason, host.asked["/a_o.jpg"]) == ("not_tried", 1)


def test_an_image_that_a_crash_cut_short_is_made_again(serve, host, build, tmp_path):
    list_ = serve(a=noise(1), b=noise(2))
    build("--list", list_)
    path = tmp_path / "set" / "images" / "a.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])
    assert build() == (0, f"{tmp_path / 'set'}: 2 images in the list, 1 of them are there\n1 of 1, 0 missing, "
                          f"about 0:00 to go\n{tmp_path / 'set'}: all 2 images are there\n")  # fmt: skip
    assert path.read_bytes() == whole
    assert [host.asked[f"/{name}_o.jpg"] for name in "ab"] == [2, 1]


@pytest.mark.parametrize("keys", [{"mode": "L"}, {"size": (224, 224)}], ids=["grey", "small"])
def test_an_image_of_somebodys_is_named_and_left_as_it_is(serve, host, build, tmp_path, keys):
    """It was not made here, and nobody knows whether there is another copy of it."""
    made(tmp_path / "set" / "images", "a", **keys)
    before = (tmp_path / "set" / "images" / "a.png").read_bytes()
    code, said = build("--list", serve(a=noise(1), b=noise(2)))
    assert (code, "1 of 2 images are there, 1 are missing (1 wrong_size)" in said) == (0, True), said
    reason, detail = missing(tmp_path / "set")["a"]
    assert (reason, detail.endswith("not RGB 299x299; move it away")) == ("wrong_size", True)
    assert (tmp_path / "set" / "images" / "a.png").read_bytes() == before
    assert host.asked["/a_o.jpg"] == 0
    (tmp_path / "set" / "images" / "a.png").unlink()
    assert "all 2 images are there" in build()[1]


def test_what_was_missing_is_tried_again(serve, build, tmp_path):
    list_ = serve(a=noise(1), b=[404, noise(2)])
    build("--list", list_)
    assert [*missing(tmp_path / "set")] == ["b"]
    assert build("--list", list_)[0] == 0
    assert not (tmp_path / "set" / "missing.csv").exists()


def test_two_builds_do_not_meet_in_one_folder(serve, build, tmp_path):
    reached, release = threading.Event(), threading.Event()

    def blocking(handler):
        reached.set()
        release.wait(20)
        send(handler, 200, {"Content-Type": "image/jpeg"}, noise(1))

    list_ = serve(a=blocking)
    started = command("--list", list_, output=tmp_path / "set")
    with subprocess.Popen(started, stdout=subprocess.DEVNULL) as process:
        assert reached.wait(20)
        code, said = build("--list", list_)
        release.set()
    assert (code, said) == (1, f"error: {tmp_path / 'set'}: another build is at work there; wait for it to end\n")
    assert (process.returncode, images(tmp_path / "set")) == (0, ["a.png"])


# --- the list


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ImageId,URL\na,b\n", "has no column x1, y1, x2, y2, TrueLabel, TargetClass; is it the competition's list?"),
        (f"{HEADER}\n../a,u,0,0,1,1,1,2,,,,\n", ":2: needs an ImageId and a box in 0..1; mend the row"),
        (f"{HEADER}\na,u,0,0,1,1,1,2,,,,\nb,u,0.5,0,0.5,1,1,2,,,,\n", ":3: needs an ImageId and a box in 0..1"),
        (f"{HEADER}\na,u,0,0,1,x,1,2,,,,\n", ":2: needs an ImageId and a box in 0..1"),
        (f"{HEADER}\na,u,0,0,nan,1,1,2,,,,\n", ":2: needs an ImageId and a box in 0..1"),
        (f"{HEADER}\na,u,0\n", ":2: needs an ImageId and a box in 0..1"),
    ],
    ids=["columns", "path", "empty-box", "word", "nan", "short"],
)
def test_a_list_that_is_none_is_refused_before_anything_is_made(build, tmp_path, text, fault):
    (tmp_path / "list.csv").write_text(text)
    code, said = build("--list", tmp_path / "list.csv")
    assert code == 1
    assert said.startswith(f"error: {tmp_path / 'list.csv'}")
    assert fault in said
    assert [*(tmp_path / "set").iterdir()] == []


def test_the_list_may_come_from_a_host(serve, host, build, tmp_path):
    data = serve(a=noise(1)).read_bytes()
    host.pages["/list.csv"] = [500, (200, {"Content-Type": "text/plain"}, data)]
    assert build("--list", f"{host.url}/list.csv")[0] == 0
    assert (tmp_path / "set" / "dev_dataset.csv").read_bytes() == data
    code, said = build("--list", f"{host.url}/other.csv")
    assert (code, "the list cannot be downloaded (HTTP 404); give a copy of it with --list" in said) == (1, True)
    code, said = build("--list", tmp_path / "absent.csv")
    assert (code, "the list cannot be read (No such file or directory); check --list" in said) == (1, True)


def test_the_published_list_is_known_by_its_digest(host, monkeypatch):
    host.pages["/list.csv"] = [(200, {}, b"another list")]
    monkeypatch.setattr(dev_list, "LIST_URL", f"{host.url}/list.csv")
    with photo.Host(photo.Patience(), 1) as asking, pytest.raises(SystemExit, match="is not the published list"):
        dev_list.read_list(dev_list.PUBLISHED, asking)


# --- from a folder


def made(folder, name, mode="RGB", size=(299, 299)):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(folder / f"{name}.png")


@pytest.mark.parametrize("place", ["", "images"])
@pytest.mark.parametrize("link", [(), ("--link",)], ids=["copy", "link"])
def test_pngs_that_are_there_are_taken_over_and_judged(serve, host, build, tmp_path, place, link):
    source = tmp_path / "mine"
    for name, keys in {"a": {}, "b": {"mode": "L"}, "c": {"size": (224, 224)}, "stranger": {}}.items():
        made(source / place, name, **keys)
    made(source / place, "d")
    (source / place / "d.png").write_bytes((source / place / "d.png").read_bytes()[:150])
    list_ = serve(**dict.fromkeys("abcde", 500))
    code, said = build("--list", list_, "--from-folder", source, *link)
    assert code == 0
    assert "1 of 5 images are there, 4 are missing (2 wrong_size, 1 truncated, 1 absent)" in said
    reasons = {name: reason for name, (reason, _) in missing(tmp_path / "set").items()}
    assert reasons == {"b": "wrong_size", "c": "wrong_size", "d": "truncated", "e": "absent"}
    assert images(tmp_path / "set") == ["a.png"]
    assert (tmp_path / "set/images/a.png").samefile(source / place / "a.png") is bool(link)
    assert not host.asked


def test_the_list_beside_the_pngs_is_taken(serve, build, tmp_path):
    made(tmp_path / "mine", "a")
    shutil.copyfile(serve(a=404), tmp_path / "mine" / "dev_dataset.csv")
    assert build("--from-folder", tmp_path / "mine")[0] == 0
    assert load_dataset(DatasetConfig(path=tmp_path / "set")).pictures[0].true_label == 1


def test_a_folder_that_is_not_there(serve, build, tmp_path):
    code, said = build("--list", serve(a=404), "--from-folder", tmp_path / "absent")
    assert (code, "absent: no such folder; check --from-folder" in said) == (1, True)


# --- as a data set of the harness


def test_the_competitions_own_images_are_taken_over(build, tmp_path):
    source = data_folder("nips2017-dev-400")
    code, said = build("--from-folder", source, "--link", output=tmp_path / "set")
    if "Invalid cross-device link" in said:
        code, said = build("--from-folder", source)
    assert (code, "all 400 images are there" in said) == (0, True)
    assert len(load_dataset(DatasetConfig(path=tmp_path / "set")).pictures) == 400


def test_a_part_of_the_set_is_played_and_said_to_be_one(serve, build, tmp_path):
    build("--list", serve(a=noise(1), b=404, c=noise(3)))
    found = load_dataset(DatasetConfig(path=tmp_path / "set"))
    assert [picture.id for picture in found.pictures] == ["a", "c"]
    assert (found.name, found.image_size) == ("nips2017-dev", (299, 299))
    assert found.notices == ("1 of 3 rows of the CSV have no image here and are not played",)


def test_a_tournament_does_not_begin_the_download_by_itself(tmp_path):
    """It asks hosts of others for a thousand photographs: somebody has to want that."""
    folder = tmp_path / "nips2017_dev"
    folder.mkdir()
    for name in ("dataset.yaml", "build.py", "dev_list.py", "photo.py"):
        shutil.copyfile(FOLDER / name, folder / name)
    said = []
    build_if_missing(DatasetConfig(path=folder), said.append)
    assert said == []
    with pytest.raises(UserError, match=f"images are not there; make them with: harness dataset build {folder}$"):
        load_dataset(DatasetConfig(path=folder))
    assert {path.name for path in folder.iterdir()} == {"dataset.yaml", "build.py", "dev_list.py", "photo.py"}
