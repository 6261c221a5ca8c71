"""The site as a visitor sees it: opened from a file in Chromium, sorted, filtered and followed with mouse and keyboard,
in both themes and on a phone; it asks nothing of any other place, runs nothing that a stranger wrote, and is readable
without scripts."""

import re
from contextlib import closing
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from browser import MARK, chromium, visiting
from helpers import ROOT
from publishing import hostile_evidence, play_tiny, publication_of, publish_evidence

from harness.publish.plots import draw
from harness.publish.site import render
from harness.store import Store

__all__ = ["chromium"]

KINDS = ("index.html", "tiny/index.html", "tiny/submissions.html", "tiny/figures.html", "tiny/gallery.html")
KINDS += ("tiny/method.html", "tiny/gallery/img1-*.html", "tiny/gallery/attack-noise-*.html")
THEMES = ("light", "dark")
RANKING = "section[aria-labelledby=ranking-defense] table"
NAMES = f"{RANKING} tbody tr:not([hidden]) th a:first-child"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The site of a tournament that was really played, with figures, beside one where every word is hostile."""
    folder = tmp_path_factory.mktemp("tiny")
    site = folder / "site"
    publication = publication_of(play_tiny(folder), site, class_names={1: "one", 2: "two"})
    figures = draw(publication.evidence, publication.board, publication.report, site / "tiny" / "figures")
    with closing(Store(folder / "hostile")) as store:
        hostile = publish_evidence(hostile_evidence(store), store, site, "hostile")
    render([replace(publication, figures=figures), hostile], site)
    return site


def pages_of(site, pattern="**/*.html"):
    return sorted(path.relative_to(site).as_posix() for path in site.glob(pattern))


def first(site, pattern):
    return pages_of(site, pattern)[0]


def column(page, number):
    return page.locator(f"{RANKING} tbody tr td:nth-child({number})").all_inner_texts()


# --- what a visitor does


def test_sorting_by_a_click_and_back(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("tiny/index.html")
        given = page.locator(NAMES).all_inner_texts()
        header = page.locator(f"{RANKING} th", has_text="Clean accuracy")
        values = f"{RANKING} tbody tr td:nth-child(7)"
        read = "cells => cells.map(cell => Number(cell.dataset.value))"
        header.get_by_role("button").click()
        down = page.locator(values).evaluate_all(read)
        assert header.get_attribute("aria-sort") == "descending"
        assert down == sorted(down, reverse=True)
        header.get_by_role("button").click()
        up = page.locator(values).evaluate_all(read)
        assert header.get_attribute("aria-sort") == "ascending"
        assert up == sorted(up)
        assert up != down
        assert page.locator(f"{RANKING} th[aria-sort]").count() == 1
        page.locator(f"{RANKING} th", has_text="Name").get_by_role("button").click()
        assert page.locator(NAMES).all_inner_texts() == sorted(given)
        page.locator(f"{RANKING} thead th").first.get_by_role("button").click()
        assert page.locator(NAMES).all_inner_texts() == given
        assert visitor.troubles == []


def test_filtering_announces_how_many_are_left(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("tiny/index.html")
        field = page.get_by_role("searchbox", name="Filter defenses")
        field.fill("ALWAYS")
        assert sorted(page.locator(NAMES).all_inner_texts()) == ["always 1", "always 2", "always 3"]
        status = page.locator("output[aria-live=polite]").first
        assert status.inner_text() == "3 of 6"
        field.fill("always 2")
        assert page.locator(NAMES).all_inner_texts() == ["always 2"]
        field.fill("nobody at all")
        assert status.inner_text() == "0 of 6"
        field.fill("")
        assert page.locator(NAMES).count() == 6
        assert status.inner_text() == ""
        assert visitor.troubles == []


def test_a_link_to_a_row_that_is_filtered_away_shows_it(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("tiny/index.html")
        page.get_by_role("searchbox", name="Filter defenses").fill("always")
        page.locator("table.heat thead a", has_text=re.compile("brightest")).first.click()
        assert visitor.path == "tiny/index.html#defense-brightest"
        assert page.locator("tr#defense-brightest").is_visible()


def test_from_a_cell_to_its_images_to_one_of_them(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("tiny/index.html")
        page.get_by_role("link", name=re.compile(r"^noise against rounded_pixel: \d+ of 24, see images$")).click()
        assert page.locator("h1").inner_text() == "noise against rounded_pixel"
        assert "of 24 images of the attack noise correctly" in page.locator("main").inner_text()
        assert page.get_by_role("heading", name=re.compile("Epsilon 16: Wrong")).count() == 1
        card = page.locator(".card").first
        assert card.locator(".tile img").count() == 3
        assert card.locator("img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8 * 16
        name = card.locator("h3").inner_text()
        card.locator("h3 a").click()
        assert page.locator("h1").inner_text() == name
        assert re.search(r"#attack-noise-(4|16)$", visitor.path)
        assert page.locator("tr:target").count() == 1
        assert visitor.troubles == []


def test_the_same_with_nothing_but_the_keyboard(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("tiny/index.html")

        def tab_to(selector):
            for _ in range(400):
                page.keyboard.press("Tab")
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                    assert outline != "none", "where the focus is can be seen"
                    return
            raise AssertionError(f"{selector} cannot be reached")

        tab_to(".skip")
        tab_to(f".filter input, {RANKING} input")
        page.keyboard.type("always")
        assert page.locator(NAMES).count() == 3
        tab_to(".scroll")
        tab_to(f"{RANKING} th:nth-child(3) .sort")
        page.keyboard.press("Enter")
        assert page.locator(f"{RANKING} th:nth-child(3)").get_attribute("aria-sort") == "descending"
        page.keyboard.press("Space")
        assert page.locator(f"{RANKING} th:nth-child(3)").get_attribute("aria-sort") == "ascending"
        tab_to('a[aria-label^="noise against rounded_pixel"]')
        page.keyboard.press("Enter")
        page.wait_for_url("**/gallery/*")
        tab_to(".card h3 a")
        page.keyboard.press("Enter")
        page.wait_for_url("**/gallery/img*")
        assert page.locator("h1").inner_text().startswith("img")
        assert visitor.troubles == []


def test_a_theme_is_the_systems_until_it_is_chosen_and_then_remembered(chromium, tiny):
    ground = "getComputedStyle(document.body).backgroundColor"
    with visiting(chromium, tiny, theme="dark") as visitor:
        page = visitor.open("tiny/index.html")
        dark = page.evaluate(ground)
        button = page.get_by_role("button", name="Dark theme")
        assert button.get_attribute("aria-pressed") == "true"
        button.click()
        light = page.evaluate(ground)
        assert button.get_attribute("aria-pressed") == "false"
        assert sum(map(int, re.findall(r"\d+", light)[:3])) > 700 > 150 > sum(map(int, re.findall(r"\d+", dark)[:3]))
        visitor.open("tiny/figures.html")
        assert page.evaluate(ground) == light
        assert page.locator("img.on-light").first.is_visible()
        assert not page.locator("img.on-dark").first.is_visible()
        page.get_by_role("button", name="Dark theme").click()
        assert page.locator("img.on-dark").first.is_visible()
        assert visitor.troubles == []


def test_the_hardest_images_first(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("tiny/gallery.html")
        values = "items => items.map(item => Number(item.dataset.value))"
        given = page.locator(".tiles li").evaluate_all(values)
        page.get_by_role("button", name="Hardest first").click()
        assert page.locator(".tiles li").evaluate_all(values) == sorted(given, reverse=True)
        page.get_by_role("button", name="Hardest first").click()
        assert page.locator(".tiles li").evaluate_all(values) == given
        page.get_by_role("searchbox").fill("img12")
        assert page.locator(".tiles li:visible").count() == 1


def test_what_failed_is_told_with_its_log(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("tiny/submissions.html#attack-crash")
        crash = page.locator("#attack-crash")
        assert "failed calls" in crash.inner_text()
        crash.locator("summary").first.click()
        assert f"<script>window.{MARK}=1</script>" in crash.locator("pre").first.inner_text()
        noise = page.locator("#attack-noise")
        assert "Adds noise." in noise.inner_text()
        link = noise.locator("a[rel]")
        assert link.get_attribute("href") == "https://example.org/noise"
        assert link.get_attribute("rel") == "nofollow noopener noreferrer"


# --- what holds on every kind of page


@pytest.mark.parametrize("pattern", KINDS)
def test_no_page_is_wider_than_a_phone(chromium, tiny, pattern):
    with visiting(chromium, tiny, width=360, height=740) as visitor:
        visitor.open(first(tiny, pattern))
        assert visitor.overflow() <= 0
        assert visitor.troubles == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("pattern", KINDS)
def test_nothing_serious_for_those_who_cannot_see_or_use_a_mouse(chromium, tiny, pattern, theme):
    with visiting(chromium, tiny, theme=theme) as visitor:
        visitor.open(first(tiny, pattern))
        assert visitor.violations() == []
        assert visitor.troubles == []


def test_nothing_that_a_stranger_wrote_runs(chromium, tiny):
    """Every page of the hostile tournament, with all that is folded on it opened; nor is any request made for it."""
    with visiting(chromium, tiny, width=360) as visitor:
        for path in ["index.html", *pages_of(tiny, "hostile/**/*.html")]:
            page = visitor.open(path)
            page.locator("details").evaluate_all("folds => folds.forEach(fold => { fold.open = true; })")
            assert page.evaluate(f"window.{MARK}") is None, path
            assert visitor.overflow() <= 0, path
        assert visitor.troubles == []
        own = re.compile(r"[a-z0-9./-]+(#[\w.~-]+)?")
        assert all(own.fullmatch(url.removeprefix(visitor.base)) for url in visitor.visited)


def test_filter_and_sort_do_not_wake_it_either(chromium, tiny):
    with visiting(chromium, tiny) as visitor:
        page = visitor.open("hostile/index.html#%")
        for button in page.locator(".sort").all():
            button.click()
        visitor.open("hostile/gallery.html")
        page.get_by_role("searchbox").fill("<script>")
        assert page.locator(".tiles li:visible").count() == 7
        assert page.evaluate(f"window.{MARK}") is None
        assert visitor.troubles == []


def test_the_browser_itself_would_stop_an_inline_script(chromium, tiny, tmp_path):
    """The policy is a second lock: it holds where the first, escaping, is broken on purpose."""
    (tmp_path / "tiny").mkdir()
    text = (tiny / "tiny" / "method.html").read_text()
    for inline in (f"<script>window.{MARK}=1</script>", f"<img src=nowhere onerror=window.{MARK}=1>"):
        (tmp_path / "tiny" / "method.html").write_text(text.replace("<h1>", inline + "<h1>"))
        with visiting(chromium, tmp_path) as visitor:
            page = visitor.open("tiny/method.html")
            assert page.evaluate(f"window.{MARK}") is None
            assert any("Content Security Policy" in trouble for trouble in visitor.troubles)


def test_everything_can_be_read_without_scripts(chromium, tiny):
    with visiting(chromium, tiny, java_script_enabled=False) as visitor:
        page = visitor.open("tiny/index.html")
        assert page.locator(f"{RANKING} tbody tr").count() == 6
        assert page.get_by_role("button").count() == 0
        assert page.get_by_role("searchbox").count() == 0
        page.get_by_role("link", name=re.compile(r"^noise against rounded_pixel")).click()
        assert page.locator("h1").inner_text() == "noise against rounded_pixel"
        page.locator(".card h3 a").first.click()
        assert page.locator("h1").inner_text().startswith("img")
        assert visitor.troubles == []


def test_every_tile_shows_a_picture(chromium, tiny):
    with visiting(chromium, tiny, height=4000) as visitor:
        for pattern in ("tiny/gallery.html", "tiny/gallery/img1-*.html", "tiny/gallery/attack-noise-*.html"):
            page = visitor.open(first(tiny, pattern))
            loaded = "images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
            widths = page.locator(".tile:visible img").evaluate_all(loaded)
            assert len(widths) >= 12
            assert set(widths) == {8 * 16}
            outside = """images => images.filter(image => {
                const box = image.getBoundingClientRect(), tile = image.parentNode.getBoundingClientRect();
                return box.left > tile.left + .5 || box.top > tile.top + .5
                    || box.right < tile.right - .5 || box.bottom < tile.bottom - .5;
            }).length"""
            assert page.locator(".tile:visible img").evaluate_all(outside) == 0
        assert visitor.troubles == []


def test_paper_has_no_buttons_and_a_light_ground(chromium, tiny):
    with visiting(chromium, tiny, theme="dark") as visitor:
        page = visitor.open("tiny/index.html")
        page.emulate_media(media="print", color_scheme="dark")
        assert not page.get_by_role("button", name="Dark theme").is_visible()
        assert not page.locator(".filter").first.is_visible()
        assert page.locator(RANKING).is_visible()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tiny):
    """The address of the site below a web server's root."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tiny.parent)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{tiny.name}"
        server.shutdown()
        thread.join()


def test_a_web_server_may_have_it_anywhere(chromium, served):
    with visiting(chromium, served) as visitor:
        page = visitor.open("index.html")
        page.locator("#tournament-tiny h2 a").click()
        page.get_by_role("link", name=re.compile(r"^noise against rounded_pixel")).click()
        assert page.locator(".card .tile img").first.evaluate("image => image.decode().then(() => true)")
        page.locator(".card h3 a").first.click()
        page.get_by_role("link", name="Tournaments").click()
        assert visitor.path == "index.html"
        assert visitor.troubles == []


@pytest.mark.parametrize("name", ["photos", "digits"])
def test_the_embedded_tournament(chromium, tmp_path, monkeypatch, name):
    """The site of `make run`, of fewer images; skipped where that was not run, as in a clean clone."""
    monkeypatch.setattr("harness.publish.gallery.MAX_ANSWERS", 1500)
    output = ROOT / "runs" / name
    if not (output / "provenance.json").exists() or not (output / "store" / "index.sqlite").exists():
        pytest.skip(f"{output} was not played: make run")
    publication = publication_of(output, tmp_path, name)
    render([publication], tmp_path)
    with visiting(chromium, tmp_path, width=360, theme="dark") as visitor:
        for pattern in ("index.html", f"{name}/*.html", f"{name}/gallery/attack-noop-*.html"):
            visitor.open(first(tmp_path, pattern))
            assert visitor.overflow() <= 0
        page = visitor.open(f"{name}/index.html")
        page.get_by_role("link", name=re.compile("^noop against .*, see images$")).first.click()
        assert page.locator(".card .tile img").first.evaluate("image => image.decode().then(() => true)")
        assert visitor.troubles == []
