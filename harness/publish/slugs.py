"""Names that strangers chose as names of files and as anchors of pages."""

import re

from harness.digest import digest_bytes

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_SLUG = 40


def slug(text: str) -> str:
    """Small letters, digits and single hyphens; what other names may have in common. Never empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:MAX_SLUG].strip("-") or "x"


def file_stem(*names: str) -> str:
    """A file name that no other `names` have, whatever characters are in them."""
    digest = digest_bytes("\0".join(names).encode("utf-8", "surrogatepass"))[:8]
    return "-".join([*map(slug, names), digest])


def anchor(role: str, name: str) -> str:
    """The id of a submission on a page: `defense-NAME` where the name is plain; no name can be another's slug."""
    return f"{role}-{name if PLAIN.fullmatch(name) else file_stem(name).replace('-', '~')}"
