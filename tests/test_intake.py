"""A picture that is wrong, gone or changed is named before or after the calls and never scored: every bad one at once,
each by its own fault, and the ones that are in order by none."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from helpers import open_field, random_pixels, write_dataset, write_players, write_submission
from PIL import Image

from harness import intake
from harness.config import DatasetConfig
from harness.dataset import MAX_FAULTS, load_dataset
from harness.digest import digest_bytes, digest_file
from harness.errors import UserError
from harness.images import write_png
from harness.intake import check_pictures, check_untouched, size_of, take_in_images
from harness.round import FILE_NAME, write_round
from harness.store import Store

CONVERT = "every image of a dataset is an RGB PNG of one size, so convert it"

CHANGED = "this image of the dataset changed since the run began; restore it, or begin a new run with another output"


@pytest.fixture
def folder(tmp_path):
    """Five pictures img0.. and players for them."""
    write_dataset(tmp_path / "dataset", 5)
    write_players(tmp_path / "players")
    return tmp_path


@pytest.fixture
def images(folder):
    return folder / "dataset" / "images"


@pytest.fixture
def store(tmp_path):
    with closing(Store(tmp_path / "store")) as store:
        yield store


def load(folder):
    return load_dataset(DatasetConfig(path=folder / "dataset"))


def take_in(folder, store):
    with ThreadPoolExecutor(2) as pixels:
        return take_in_images(load(folder), store, pixels)


def check(folder, store=None):
    """What `harness dataset check` does."""
    with ThreadPoolExecutor(2) as pixels:
        check_pictures(load(folder), pixels)


@pytest.fixture(params=[take_in, check], ids=["take-in", "check"])
def faults(request, folder, store):
    """The lines of the error of either way to look at every picture, from the folder of the pictures on."""

    def faults(dataset=None):
        with pytest.raises(UserError) as caught:
            request.param(dataset or folder, store)
        return [line.replace(f"{dataset or folder}/dataset/images/", "") for line in caught.value.faults]

    return faults


def lines_of(error):
    return [line.rsplit("/", 1)[-1] for line in error.value.faults]


# --- taken in


def test_pictures_become_canonical_objects(folder, images, store):
    taken, size = take_in(folder, store)
    assert size == (8, 6)
    for number, image in enumerate(taken):
        path = images / f"img{number}.png"
        assert (image.id, image.true_label, image.target_class) == (f"img{number}", 1 + number, 501 + number)
        assert image.source == digest_file(path)
        assert image.clean == digest_bytes(write_png(np.asarray(Image.open(path))))
    assert set(store.objects.digests()) == {image.clean for image in taken}


def test_equal_pixels_are_one_object_however_they_are_packed(folder, images, store):
    for number in range(5):
        Image.fromarray(random_pixels(7)).save(images / f"img{number}.png", compress_level=number)
    taken, _ = take_in(folder, store)
    assert len({image.source for image in taken}) > 1
    assert len({image.clean for image in taken}) == 1


def test_known_pictures_are_not_decoded_again_but_lost_ones_are(folder, store, monkeypatch):
    taken, _ = take_in(folder, store)
    store.objects.remove([taken[2].clean])
    decoded = []
    read = intake.read_png
    monkeypatch.setattr(intake, "read_png", lambda data, size: decoded.append(digest_bytes(data)) or read(data, size))
    assert take_in(folder, store)[0] == taken
    assert decoded == [taken[2].source]
    assert taken[2].clean in set(store.objects.digests())


class Counted(str):
    """A digest that knows how many there are."""

    alive = most = 0

    def __init__(self, *_):
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self):
        Counted.alive -= 1


def test_the_digests_of_other_objects_are_not_kept(folder, store, monkeypatch):
    """The size of 2017 has 780,000 of them for 5,000 pictures."""
    taken, _ = take_in(folder, store)
    there = [*(image.clean for image in taken), *(digest_bytes(bytes([number])) for number in range(100))]
    monkeypatch.setattr(store.objects, "digests", lambda: map(Counted, there))
    assert take_in(folder, store)[0] == taken
    assert Counted.most < 2 * len(taken)


def test_a_picture_that_is_written_while_it_is_read_is_said_to_be(folder, images, store, monkeypatch):
    """Its digest and its pixels would be of two different files."""
    digest = intake.digest_bytes
    there = {digest((images / f"img{number}.png").read_bytes()) for number in range(5)}

    def change_after(data):
        found = digest(data)
        if found in there and data == (images / "img3.png").read_bytes():
            Image.fromarray(random_pixels(99)).save(images / "img3.png")
        return found

    monkeypatch.setattr(intake, "digest_bytes", change_after)
    with pytest.raises(UserError) as caught:
        take_in(folder, store)
    assert lines_of(caught) == ["img3.png: changed while it was read; see who writes there and run again"]


# --- what is no picture


def test_what_is_in_order_is_taken_and_checked(folder, store):
    take_in(folder, store)
    check(folder)


def test_pictures_that_are_none_are_named_at_once(images, faults):
    Image.fromarray(random_pixels(1, (9, 6))).save(images / "img1.png")
    Image.fromarray(random_pixels(1)).convert("RGBA").save(images / "img2.png")
    (images / "img3.png").write_bytes(b"no image")
    (images / "img4.png").write_bytes((images / "img0.png").read_bytes()[:-20])
    assert faults() == [
        f"img1.png: is 9x6, not 8x6; {CONVERT}",
        f"img2.png: is 8-bit RGBA, not 8-bit RGB; {CONVERT}",
        f"img3.png: is not a PNG file; {CONVERT}",
        f"img4.png: is truncated; {CONVERT}",
    ]


def test_pictures_that_cannot_be_read_are_faults_beside_the_others(images, faults):
    (images / "img1.png").unlink()
    (images / "img1.png").mkdir()
    (images / "img2.png").write_bytes(b"")
    first, *rest = faults()
    assert first == "img1.png: cannot be read (Is a directory); restore the image"
    assert rest in ([], [f"img2.png: is not a PNG file; {CONVERT}"])


def test_a_picture_that_vanishes_after_the_dataset_was_read_is_one_line(folder, images, store):
    dataset = load(folder)
    for name in ("img1.png", "img3.png"):
        (images / name).unlink()
    expected = [f"img{n}.png: cannot be read (No such file or directory); restore the image" for n in (1, 3)]
    with ThreadPoolExecutor(2) as pixels:
        for look in (lambda: take_in_images(dataset, store, pixels), lambda: check_pictures(dataset, pixels)):
            with pytest.raises(UserError) as caught:
                look()
            assert lines_of(caught) == expected


def test_a_first_picture_that_is_none_is_blamed_itself(images, faults):
    """It says what size the others are to have: without one they cannot be wrong."""
    (images / "img0.png").write_bytes(b"GIF89a" + bytes(100))
    assert faults() == [f"img0.png: is not a PNG file; {CONVERT}"]
    (images / "img0.png").unlink()
    (images / "img0.png").mkdir()
    assert faults() == ["img0.png: cannot be read (Is a directory); restore the image"]


def test_a_first_picture_that_is_grey_is_the_only_one_to_blame(images, faults):
    Image.fromarray(random_pixels(1)[:, :, 0].copy()).save(images / "img0.png")
    assert faults() == [f"img0.png: is 8-bit grey, not 8-bit RGB; {CONVERT}"]


def test_very_many_bad_pictures_are_counted(tmp_path, faults):
    write_dataset(tmp_path / "many" / "dataset", 30)
    (tmp_path / "many" / "dataset" / "dataset.yaml").write_text("name: tiny\nimage_size: [8, 6]\n")
    for path in (tmp_path / "many" / "dataset" / "images").iterdir():
        path.write_bytes(b"")
    found = faults(tmp_path / "many")
    assert len(found) == MAX_FAULTS + 1
    assert found[-1] == "... and 10 more faults"


def test_the_size_may_be_stated(folder, faults):
    (folder / "dataset" / "dataset.yaml").write_text("name: tiny\nimage_size: [6, 8]\n")
    assert size_of(load(folder)) == (6, 8)
    assert faults() == [f"img{number}.png: is 8x6, not 6x8; {CONVERT}" for number in range(5)]


def test_the_size_is_the_first_pictures(folder, images):
    Image.fromarray(random_pixels(1, (9, 7))).save(images / "img0.png")
    assert size_of(load(folder)) == (9, 7)


def test_nothing_is_recorded_of_a_dataset_with_a_fault(folder, images, store):
    (images / "img4.png").write_bytes(b"")
    with pytest.raises(UserError):
        take_in(folder, store)
    assert store.index.canonical_of([digest_file(images / f"img{number}.png") for number in range(5)]) == {}


# --- a round that goes on


def begin(folder):
    with open_field(folder) as field:
        write_round(field.prepared.round, folder / "out")


def change(images, *numbers):
    for number in numbers:
        Image.fromarray(random_pixels(99 + number)).save(images / f"img{number}.png")


def test_a_picture_that_changed_since_the_round_began_ends_it(folder, images):
    begin(folder)
    change(images, 3)
    with pytest.raises(UserError) as caught, open_field(folder):
        pass
    assert caught.value.faults == [f"{images}/img3.png: {CHANGED}"]
    with open_field(folder, output="another"):
        pass


def test_of_many_that_changed_the_first_is_named(folder, images):
    begin(folder)
    change(images, 4, 1, 2)
    with pytest.raises(UserError) as caught, open_field(folder):
        pass
    assert caught.value.faults == [f"{images}/img1.png (and 2 more): {CHANGED}"]


def test_another_dataset_or_other_submissions_may_be_played_into_the_same_folder(folder, images):
    begin(folder)
    change(images, 3)
    (folder / "dataset" / "dataset.yaml").write_text("name: another\n")
    write_submission(folder / "players" / "a9", program="#!fake noop")
    with open_field(folder):
        pass


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": 99}', "\x00", '{"schema_version": 1, "images": 7}']
)
def test_a_record_that_is_damaged_or_of_another_version_is_written_anew(folder, images, text):
    """It is there to be written by the very run that it stopped."""
    begin(folder)
    change(images, 3)
    (folder / "out" / FILE_NAME).write_text(text)
    with open_field(folder) as field:
        assert len(field.prepared.round.images) == 5


# --- a picture that is touched while the round is played


def begin_to_watch(folder):
    with open_field(folder) as field:
        return field.prepared.dataset, field.prepared.round.images


@pytest.fixture
def prepared(folder):
    """The dataset and the images of a round."""
    return begin_to_watch(folder)


def touched(prepared):
    """The names that are complained about."""
    dataset, taken = prepared
    try:
        check_untouched(taken, dataset)
    except UserError as error:
        (line,) = error.faults
        assert line.endswith(f": {CHANGED}")
        return line.removesuffix(f": {CHANGED}").rsplit("/", 1)[-1]
    return None


def test_what_was_not_changed_is_no_fault(prepared):
    assert touched(prepared) is None


def test_a_file_with_other_times_and_the_same_bytes_is_no_fault(prepared, images):
    os.utime(images / "img3.png")
    shutil.copy(images / "img2.png", images / "copy")
    os.replace(images / "copy", images / "img2.png")
    assert touched(prepared) is None


def test_a_change_is_found_even_where_the_times_were_set_back(prepared, images):
    """Anybody can set the time of modification of a file; `cp -p` and `rsync -a` do so unasked."""
    change(images, 3)
    os.utime(images / "img3.png", (1, 1))
    assert touched(prepared) == "img3.png"


def test_another_file_of_an_old_time_is_found(prepared, images, tmp_path):
    shutil.copy(images / "img1.png", tmp_path / "old")
    os.utime(tmp_path / "old", (1, 1))
    os.replace(tmp_path / "old", images / "img3.png")
    assert touched(prepared) == "img3.png"


def test_a_link_that_leads_elsewhere_now_is_found(folder, images, tmp_path):
    for number in (1, 2):
        (images / f"img{number}.png").rename(tmp_path / f"elsewhere{number}.png")
        (images / f"img{number}.png").symlink_to(tmp_path / f"elsewhere{number}.png")
    prepared = begin_to_watch(folder)
    assert touched(prepared) is None
    (images / "img1.png").unlink()
    (images / "img1.png").symlink_to(tmp_path / "elsewhere2.png")
    assert touched(prepared) == "img1.png"


def test_a_file_that_is_gone_is_found(prepared, images):
    (images / "img3.png").unlink()
    (images / "img4.png").unlink()
    assert touched(prepared) == "img3.png (and 1 more)"
