"""docs/security.md says what the hostile suite found: every case is there, and one that got through would show."""

import importlib.util
import re

import pytest
from helpers import ROOT

from harness.sandbox.rules import ATTEMPTS

SPEC = importlib.util.spec_from_file_location("security_page", ROOT / "docs/security.py")
PAGE = (ROOT / "docs/security.md").read_text()

REPORT = """<testsuites><testsuite>
<testcase name="a"><properties>{}</properties></testcase>
<testcase name="b"><properties>{}</properties><failure message="x"/></testcase>
<testcase name="c"><properties>{}</properties><skipped message="x"/></testcase>
<testcase name="d"><properties>{}</properties></testcase>
<testcase name="an honest one"/>
</testsuite></testsuites>"""


@pytest.fixture(scope="module")
def page():
    module = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(module)
    return module


def noted(**said):
    return "".join(f'<property name="{name}" value="{value}"/>' for name, value in said.items())


@pytest.fixture
def cases(page, tmp_path):
    bomb = {"group": "resources", "attempt": "a bomb", "rule": "none"}
    text = {"group": "metadata", "attempt": "a | and a &lt;b&gt;", "rule": "shown as it is", "sandbox": "-"}
    report = tmp_path / "report.xml"
    report.write_text(
        REPORT.format(
            noted(**bomb, sandbox="docker"),
            noted(**bomb, sandbox="process"),
            noted(group="resources", attempt="sleep", rule="time", sandbox="docker"),
            noted(**text),
        )
    )
    return page.read_cases(report)


def test_tables_of_a_report(page, cases):
    lines = list(page.tables(cases))
    assert lines[2:5] == [
        "| resources | 2 | 1 of 1 contained | 0 of 1 contained | - |",
        "| metadata | 1 | - | - | 1 of 1 contained |",
        "| all | 3 | 1 of 1 contained | 0 of 1 contained | 1 of 1 contained |",
    ]
    assert "| a bomb | none | `docker`: contained, `process`: **not contained** |" in lines
    assert "| sleep | time | `docker`: not tried |" in lines
    assert "| a \\| and a &lt;b> | shown as it is | contained |" in lines


def test_what_is_between_the_marks_is_written_anew(page, cases, tmp_path, monkeypatch):
    written = tmp_path / "page.md"
    written.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    monkeypatch.setattr(page, "PAGE", written)
    monkeypatch.setattr(page, "read_cases", lambda report: cases)
    page.main(tmp_path)
    assert written.read_text().startswith(f"before\n{page.BEGIN}\n| group |")
    assert written.read_text().endswith(f"\n{page.END}\nafter\n")
    assert "old" not in written.read_text()


@pytest.mark.parametrize("folder", sorted((ROOT / "tests/submissions").iterdir()), ids=lambda path: path.name)
def test_every_hostile_submission_is_on_the_page(folder):
    if folder.name.startswith(("resource_", "reach_")):
        program = next(path for path in folder.iterdir() if path.name != "metadata.json").read_text()
        said = re.search(r'(?:"""|^# )(.+?)(?:"""|$)', program, re.MULTILINE)[1].strip()
    else:
        said = f"{folder.name}: "
    assert said.replace("|", "\\|") in PAGE


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_every_escape_is_on_the_page(attempt):
    assert f"| {attempt.description()} |" in PAGE


def test_the_page_has_nothing_that_got_through():
    assert "**not contained**" not in PAGE
