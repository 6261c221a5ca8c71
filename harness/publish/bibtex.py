"""A bibliography of the methods that played: one BibTeX entry for each submission, of what its metadata says."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from harness.publish.latex import latex_text
from harness.publish.slugs import slug

NOTES = {"attack": "Attack", "targeted_attack": "Targeted attack", "defense": "Defense"}

YEAR = re.compile(r"\d{4}")


def bibtex(tournament: str, provenance: Mapping[str, Any]) -> str:
    """Entries in the order of the provenance, each under a key that no other has.

    tournament: its slug, which begins each key. provenance: as `harness.publish.provenance` has it.
    """
    year = provenance["began"][:4]
    taken: set[str] = set()
    entries = []
    for one in provenance["submissions"]:
        entries.append(_entry(_free(f"{tournament}-{slug(one['name'])}", taken), one, year))
    return "\n".join(entries)


def _free(wanted: str, taken: set[str]) -> str:
    key, number = wanted, 1
    while key in taken:
        number += 1
        key = f"{wanted}-{number}"
    taken.add(key)
    return key


def _entry(key: str, one: Mapping[str, Any], year: str) -> str:
    lines = (f"  {name} = {{{value}}}," for name, value in _fields(one, year))
    return "\n".join([f"@misc{{{key},", *lines, "}", ""])


def _fields(one: Mapping[str, Any], year: str) -> Iterator[tuple[str, str]]:
    """Authors and titles in braces of their own: BibTeX is not to turn names round, nor to make letters small."""
    if one["authors"]:
        yield "author", " and ".join(f"{{{_line(author)}}}" for author in one["authors"])
    yield "title", f"{{{_line(one['name'])}}}"
    if YEAR.fullmatch(year):
        yield "year", year
    about = _line(one["description"])
    yield "note", f"{NOTES[one['type']]}{'. ' if about else ''}{about}"
    if one["url"]:
        yield "howpublished", rf"\url{{{quote(one['url'], safe=SAFE)}}}"


SAFE = ":/?@!$&'()*+,;=-._~%#"
"""What may stand in an address, less the characters that could end the argument of a command."""


def _line(text: str) -> str:
    """Descriptions may go over several lines."""
    return latex_text(" ".join(text.split()))
