"""Pictures of a publication are those of the round, in few bytes: a tile shows the picture that its place says, and
a round of any size stays within the budget."""

import io

import numpy as np
import pytest
from helpers import random_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from publishing import made_up

from harness.images import encode_picture, fit_square
from harness.publish import gallery as module
from harness.publish.gallery import COLUMNS, EMPTY, Form, Gallery, make_thumbnails
from harness.publish.slugs import anchor, file_stem
from harness.store import Store

ANY_NAME = st.text(max_size=80)


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


def cut(folder, tile):
    """The pixels of a tile, as a browser shows them."""
    sheet = np.asarray(Image.open(folder / tile.path).convert("RGB"))
    assert sheet.shape == (tile.rows * tile.edge, tile.columns * tile.edge, 3)
    top, left = tile.row * tile.edge, tile.column * tile.edge
    return sheet[top : top + tile.edge, left : left + tile.edge].astype(int)


def pixels_of(evidence, store, digest):
    return np.asarray(Image.open(io.BytesIO(store.objects.read(digest)))).astype(int)


def test_small_pictures_are_shown_pixel_by_pixel(tmp_path, store):
    evidence = made_up(store, size=(8, 8))
    gallery = make_thumbnails(evidence, store, tmp_path / "t")
    assert (gallery.images, gallery.form, gallery.pixelated) == (evidence.table.images, Form(8, None), True)
    for number, name in enumerate(gallery.images):
        clean = pixels_of(evidence, store, evidence.round.images[number].clean)
        assert (cut(tmp_path / "t", gallery.clean(name)) == clean).all()
        for attack, epsilon in np.ndindex(3, 2):
            adversarial = pixels_of(evidence, store, evidence.audits.digests[attack, epsilon, number])
            assert (cut(tmp_path / "t", gallery.adversarial(name, attack, epsilon)) == adversarial).all()


def test_a_difference_is_grey_where_nothing_changed_and_full_at_the_budget(tmp_path, store):
    evidence = made_up(store, size=(8, 8))
    gallery = make_thumbnails(evidence, store, tmp_path / "t")
    for number, name in enumerate(gallery.images):
        clean = pixels_of(evidence, store, evidence.round.images[number].clean)
        change = pixels_of(evidence, store, evidence.audits.digests[0, 0, number]) - clean
        shown = cut(tmp_path / "t", gallery.difference(name, 0, 0))
        budget = int(evidence.round.epsilons[0])
        assert (shown[change == 0] == 128).all()
        assert (shown[change == budget] == 255).all()
        assert (shown[change == -budget] == 1).all()
        assert (np.sign(shown - 128) == np.sign(change)).all()


def test_the_overview_has_every_clean_image_once(tmp_path, store):
    evidence = made_up(store, attacks=1, epsilons=1, defenses=1, images=520, size=(4, 4))
    gallery = make_thumbnails(evidence, store, tmp_path / "t")
    tiles = list(gallery.overview())
    assert [name for name, _ in tiles] == list(evidence.table.images)
    assert {tile.path for _, tile in tiles} == {"images/clean-0.webp", "images/clean-1.webp"}
    for number in (0, 511, 512, 519):
        clean = pixels_of(evidence, store, evidence.round.images[number].clean)
        assert (cut(tmp_path / "t", tiles[number][1]) == clean).all()


def test_large_pictures_become_tiles(tmp_path, store):
    evidence = made_up(store, images=3, size=(299, 200))
    gallery = make_thumbnails(evidence, store, tmp_path / "t")
    assert gallery.form == Form(208, 75)
    assert not gallery.pixelated
    mean = pixels_of(evidence, store, evidence.round.images[0].clean).mean()
    tile = cut(tmp_path / "t", gallery.clean("i0"))
    assert abs(tile[40:160].mean() - mean) < 4
    assert abs(tile[:20].mean() - 128) < 4, "what a picture does not fill is grey"


def test_tiles_get_smaller_and_then_fewer_until_they_fit(tmp_path, store, monkeypatch):
    evidence = made_up(store, attacks=1, images=8, size=(210, 210))
    seen = []
    for budget in (1 << 24, 1 << 19, 1 << 16, 1 << 13):
        monkeypatch.setattr(module, "MAX_BYTES", budget)
        gallery = make_thumbnails(evidence, store, tmp_path / str(budget))
        sheets = [(tmp_path / str(budget) / gallery.sheet(image)).stat().st_size for image in gallery.images]
        assert sum(sheets) <= 1.25 * budget
        seen.append((gallery.form.edge, len(gallery.images)))
    assert [edge for edge, _ in seen] == sorted((edge for edge, _ in seen), reverse=True)
    assert seen[0] == (208, 8)
    assert seen[-1][0] == 48
    assert 0 < seen[-1][1] < 8


def test_of_very_many_answers_only_some_images_are_shown(tmp_path, store, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWERS", 3 * 2 * 3 * 4)
    gallery = make_thumbnails(made_up(store), store, tmp_path / "t")
    assert gallery.images == ("i0", "i1", "i3", "i5")


def test_images_that_the_store_lost_are_left_out(tmp_path, store):
    evidence = made_up(store)
    store.objects.remove([evidence.round.images[2].clean, evidence.audits.digests[0, 0, 4]])
    gallery = make_thumbnails(evidence, store, tmp_path / "t")
    assert gallery.images == ("i0", "i1", "i3", "i5", "i6")


def test_without_a_store_there_is_no_gallery(tmp_path, store):
    evidence = made_up(store)
    assert make_thumbnails(evidence, None, tmp_path / "t") == EMPTY
    assert not (tmp_path / "t").exists()


def test_the_same_pixels_give_the_same_bytes(tmp_path, store):
    evidence = made_up(store)
    for name in "ab":
        make_thumbnails(evidence, store, tmp_path / name)
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in "ab")
    assert one == other
    assert len(one) == 7 + 2


@given(attacks=st.integers(1, 400), epsilons=st.integers(1, 4))
def test_every_tile_has_a_rule_of_the_style_sheet(attacks, epsilons):
    gallery = Gallery(Form(48, 50), False, attacks, epsilons, ("i0",))
    tiles = [
        pick("i0", attack, epsilon)
        for attack in range(attacks)
        for epsilon in range(epsilons)
        for pick in (gallery.adversarial, gallery.difference)
    ]
    places = [(tile.row, tile.column) for tile in tiles if tile is not None]
    assert len({*places, (0, 0)}) == len(places) + 1 == gallery.tiles
    assert all(row < module.ROWS and column < COLUMNS for row, column in places)
    assert (None in tiles) == (2 * attacks * epsilons + 1 > COLUMNS * module.ROWS)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64))
def test_any_picture_fits_a_square(width, height, edge):
    square = fit_square(random_pixels(size=(width, height)), edge)
    assert square.shape == (edge, edge, 3)
    assert square.dtype == np.uint8


@pytest.mark.parametrize(("quality", "kind"), [(None, "WEBP"), (75, "JPEG")])
def test_pictures_are_what_browsers_read(quality, kind):
    pixels = random_pixels(size=(40, 30))
    image = Image.open(io.BytesIO(encode_picture(pixels, quality)))
    assert (image.format, image.size) == (kind, (40, 30))
    assert quality is not None or (np.asarray(image) == pixels).all()


@given(st.lists(ANY_NAME, min_size=1, max_size=3))
def test_file_names_say_nothing_but_letters_digits_and_hyphens(names):
    stem = file_stem(*names)
    assert set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not stem.startswith("-")
    assert len(stem) < 150


@given(ANY_NAME, ANY_NAME)
def test_other_names_have_other_files_and_anchors(one, other):
    assert (file_stem(one) == file_stem(other)) == (one == other)
    assert (anchor("defense", one) == anchor("defense", other)) == (one == other)
    assert not set(anchor("defense", one)) & set(" \t\n\"'<>&#%?/")


def test_the_parts_of_a_stem_do_not_run_into_each_other():
    assert file_stem("a-b", "c") != file_stem("a", "b-c")
    assert anchor("defense", "lite0") == "defense-lite0"
    assert file_stem("con") != "con", "a name that no file may have on some systems"
