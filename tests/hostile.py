"""What docs/security.md is made of: each hostile case says what it attempts, which rule stands against it, what came.

`pytest --junitxml=FILE` keeps that beside the verdict of the test; docs/security.py reads it there.
"""

GROUPS = ("resources", "reaching out", "output of attacks", "answers of defenses", "archive", "metadata", "cheating")
"""The sections of the table."""


def note(record_property, group, attempt, rule, sandbox):
    """Called by the test of a hostile case, before it looks for the result.

    attempt, rule: a line each. sandbox: docker, process, or `-` where nothing of the submission is run.
    """
    assert group in GROUPS
    for key, value in {"group": group, "attempt": attempt, "rule": rule, "sandbox": sandbox}.items():
        record_property(key, value)
