"""Write the tables of docs/security.md from what pytest recorded of the hostile cases.

pytest --junitxml=FILE HOSTILE_TESTS; python docs/security.py FILE      # or both: make security
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).resolve().with_name("security.md")
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
SANDBOXES = ("docker", "process")
NOTHING_RUNS = "-"
"""The sandbox of cases in which nothing of the submission is run."""

CONTAINED, NOT_CONTAINED, SKIPPED = "contained", "**not contained**", "not tried"


@dataclass(frozen=True)
class Case:
    """What one test noted (tests/hostile.py), and how it ended."""

    group: str
    attempt: str
    rule: str
    sandbox: str
    result: str


def read_cases(report: Path) -> list[Case]:
    """Every test of the report that noted a hostile case."""
    cases = []
    for test in ElementTree.parse(report).iter("testcase"):
        noted = {one.get("name", ""): one.get("value", "") for one in test.iter("property")}
        if "attempt" in noted:
            cases.append(Case(noted["group"], noted["attempt"], noted["rule"], noted["sandbox"], _result(test)))
    return cases


def _result(test: ElementTree.Element) -> str:
    if test.find("failure") is not None or test.find("error") is not None:
        return NOT_CONTAINED
    return SKIPPED if test.find("skipped") is not None else CONTAINED


def tables(cases: Iterable[Case]) -> Iterator[str]:
    """Counts, then for each group its attempts with rule and result."""
    cases = list(cases)
    groups = list(dict.fromkeys(case.group for case in cases))
    yield "| group | attempts | under `docker` | under `process` | nothing is run |"
    yield "|---|---:|---:|---:|---:|"
    for group in groups:
        yield _counts(group, [case for case in cases if case.group == group])
    yield _counts("all", cases)
    for group in groups:
        yield ""
        yield f"### {group[0].upper()}{group[1:]}"
        yield ""
        yield "| attempt | rule | result |"
        yield "|---|---|---|"
        yield from _rows(case for case in cases if case.group == group)


def _counts(name: str, cases: list[Case]) -> str:
    attempts = {(case.group, case.attempt) for case in cases}
    counts = [_count([case for case in cases if case.sandbox == sandbox]) for sandbox in (*SANDBOXES, NOTHING_RUNS)]
    return f"| {name} | {len(attempts)} | {' | '.join(counts)} |"


def _count(cases: list[Case]) -> str:
    """`40 of 40 contained`, of those that were tried."""
    found = Counter(case.result for case in cases)
    tried = len(cases) - found[SKIPPED]
    return f"{found[CONTAINED]} of {tried} contained" if tried else "-"


def _rows(cases: Iterable[Case]) -> Iterator[str]:
    """One row for each attempt and rule, with what came of it in each sandbox."""
    rows: dict[tuple[str, str], dict[str, set[str]]] = {}
    for case in cases:
        rows.setdefault((case.attempt, case.rule), {}).setdefault(case.sandbox, set()).add(case.result)
    for (attempt, rule), results in rows.items():
        yield f"| {_cell(attempt)} | {_cell(rule)} | {_together(results)} |"


def _together(results: dict[str, set[str]]) -> str:
    worst = {sandbox: min(found, key=(NOT_CONTAINED, SKIPPED, CONTAINED).index) for sandbox, found in results.items()}
    if len(set(worst.values())) == 1 and (len(worst) > 1 or NOTHING_RUNS in worst):
        return next(iter(worst.values()))
    return ", ".join(f"`{sandbox}`: {result}" for sandbox, result in worst.items())


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def main(report: Path) -> None:
    """Everything between the two marks of the page is written anew."""
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    body = "\n".join(tables(read_cases(report)))
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
