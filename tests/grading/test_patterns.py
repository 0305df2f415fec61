"""Patterns, and questions whose pattern is none."""

from __future__ import annotations

import pytest

from qwq_local.errors import SettingsError
from qwq_local.grading import Given, Grade, WantsPattern
from qwq_local.grading.patterns import check_pattern, grade_pattern


@pytest.mark.slow
def test_what_matched_is_what_was_found() -> None:
    assert grade_pattern(WantsPattern(r"\d+"), Given("It is 42, not 43.")) == Grade(True, "42")
    assert grade_pattern(WantsPattern(r"\d+"), Given("It is odd.")) == Grade(False, "", r"nothing in the answer matches \d+")


@pytest.mark.parametrize("pattern", ["(", "[a", "a{99999999999}", "(?P<a>x)(?P<a>y)", r"\p", "*"])
def test_a_pattern_that_python_cannot_compile_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(SettingsError, match="is no regular expression"):
        check_pattern(pattern)


def test_a_pattern_that_python_compiles_is_let_through() -> None:
    check_pattern(r"^(?i:answer): (\d+)$")
