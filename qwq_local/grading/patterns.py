"""A regular expression that is found in an answer; one that takes exponential time ends with the process it is searched in."""

from __future__ import annotations

import re

from qwq_local.errors import SettingsError
from qwq_local.grading.apart import compare_apart
from qwq_local.grading.wanted import Given, Grade, WantsPattern


def grade_pattern(wanted: WantsPattern, given: Given) -> Grade:
    """Whether the pattern is found; what is found is the text that it matched. It may be called in any thread."""
    return compare_apart("pattern", given.content, pattern=wanted.pattern)


def check_pattern(pattern: str) -> None:
    """Whoever reads questions calls it. Raises SettingsError where Python cannot compile it."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(
            f"{pattern!r} is no regular expression: {error}.", hint="Write it as Python's `re` has it: docs.python.org/3/library/re.html"
        ) from error


def search(given: str, pattern: str) -> Grade:
    """The same, in this process and without limits."""
    if match := re.search(pattern, given):
        return Grade(True, match.group())
    return Grade(False, "", f"nothing in the answer matches {pattern}")
