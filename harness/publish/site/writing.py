"""Pages: the one jinja2 environment, in which everything is escaped and nothing may be undefined."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.atomic import write_atomic
from harness.errors import printable

HERE = Path(__file__).parent
STATIC = ("icon.svg", "site.css", "site.js", "theme.js")
"""The icon is one so that no browser asks the root of a server for another."""
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
"""Nothing but the site's own files; no script or style within a page. `'self'` includes files under file://."""

NOTHING = "\N{EN DASH}"
"""Where there is no number."""

BAR_WIDTH = 96
"""Of the drawing of an interval, in pixels."""


def write_assets(folder: Path) -> None:
    """Writes style sheet, scripts and icon into `folder`."""
    for name in STATIC:
        write_atomic(folder / name, (HERE / "static" / name).read_bytes(), durable=False)


class Writer:
    """Writes the pages below one folder. assets: that folder's path to the assets, such as `../assets/`."""

    def __init__(self, folder: Path, assets: str, common: dict[str, Any]) -> None:
        self._folder, self._assets, self._common = folder, assets, common
        self._environment = _environment()

    def write(self, path: str, template: str, **context: Any) -> None:
        """path: from the folder; templates know as `root` how to get back there."""
        root = "../" * path.count("/")
        places = {"root": root, "assets": root + self._assets, "policy": Markup(POLICY), "path": path}
        page = self._environment.get_template(template).render(self._common | places | context)
        write_atomic(self._folder / path, page, durable=False)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "share": share,
        "soft": soft,
        "percent": percent,
        "link": web_address,
        "memory": memory,
        "seconds": seconds,
        "times": times,
        "beside": beside,
        "x": bar_position,
    }
    return environment


def _visible(value: Any) -> Any:
    """Text without what moves a cursor or turns the direction of letters; markup of our own stays as it is."""
    return printable(value) if type(value) is str else value


def soft(text: str) -> Markup:
    """A name that may be broken after its punctuation, where a column is narrow."""
    return Markup(re.sub(r"([_.+/-])(?=.)", r"\1<wbr>", str(escape(printable(text)))))


def share(value: float | None) -> str:
    """A share of 1 with three digits."""
    return NOTHING if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.0f} %"


def memory(size: float | None) -> str:
    """Bytes in MiB or GiB."""
    if not size:
        return NOTHING
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f} s"


def times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f} \N{MULTIPLICATION SIGN}"


def beside(path: str) -> str:
    """The address of a page from another one in the same folder."""
    return path.rpartition("/")[2]


def bar_position(value: float) -> str:
    """Where a share of 1 lies on the drawing of an interval."""
    return f"{min(max(value, 0.0), 1.0) * BAR_WIDTH:.1f}"


def web_address(text: str | None) -> str | None:
    """An address that may be a link: `http` or `https`, of a host, on one line; else None."""
    if not text or printable(text) != text or any(char.isspace() for char in text):
        return None
    try:
        parts = urlsplit(text)
        return text if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None
