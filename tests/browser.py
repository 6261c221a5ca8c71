"""A browser for tests: Debian's Chromium, and a page that keeps everything that went wrong on it.

A test that needs it skips where there is none, and fails there with HARNESS_REQUIRE_BROWSER=1.
"""

import os
import shutil
from contextlib import contextmanager
from functools import cache

import pytest

NO_BROWSER = "no browser: install chromium and the dev dependencies (playwright, axe-playwright-python)"
MARK = "__ran"
"""What every hostile script of the tests sets on its window."""


@cache
def chromium_path():
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests of a session."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if sync_playwright is None or chromium_path() is None:
        if os.environ.get("HARNESS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{NO_BROWSER} (HARNESS_REQUIRE_BROWSER=1)", pytrace=False)
        pytest.skip(NO_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """A page of the site at the address `base`. troubles: what no visitor should meet; visited: every request."""

    def __init__(self, page, base):
        self.page, self.base, self.troubles, self.visited = page, f"{base.rstrip('/')}/", [], []
        page.on("console", lambda message: self._console(message))
        page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: (self.troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        page.on("popup", lambda popup: self.troubles.append(f"popup: {popup.url}"))

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text}")

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # the visitor went on to another page before it came
            self.troubles.append(f"failed: {request.url}: {request.failure}")

    def _request(self, request):
        self.visited.append(request.url)
        if not request.url.startswith(self.base):
            self.troubles.append(f"left the folder: {request.url}")

    def open(self, path):
        self.page.goto(self.base + path)
        return self.page

    @property
    def path(self):
        """Where the page is now, with its fragment."""
        return self.page.url.removeprefix(self.base)

    def overflow(self):
        """How many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def violations(self):
        """What axe-core calls serious or critical, as `rule: element`."""
        from axe_playwright_python.sync_playwright import Axe

        options = {
            "resultTypes": ["violations"],
            "preload": False,
        }  # it would fetch style sheets, which the policy forbids
        found = Axe().run(self.page, options=options).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


@contextmanager
def visiting(browser, site, width=1280, height=900, theme="light", **options):
    """A visitor with a window of that size and no memory of other visits. site: a folder, or an address."""
    base = site if isinstance(site, str) else site.resolve().as_uri()
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, **options)
    context.set_default_timeout(10_000)
    try:
        yield Visitor(context.new_page(), base)
    finally:
        context.close()
