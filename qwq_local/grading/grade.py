"""An answer's grade, by the kind of answer that is wanted."""

from __future__ import annotations

from typing import assert_never

from qwq_local.grading.calls import grade_calls
from qwq_local.grading.choice import grade_choice
from qwq_local.grading.code import grade_code
from qwq_local.grading.instructions import grade_instructions
from qwq_local.grading.maths import grade_maths
from qwq_local.grading.patterns import grade_pattern
from qwq_local.grading.texts import grade_text
from qwq_local.grading.wanted import (
    Given,
    Grade,
    Wanted,
    WantsCalls,
    WantsChoice,
    WantsCode,
    WantsInstructions,
    WantsMaths,
    WantsPattern,
    WantsText,
)


def grade(wanted: Wanted, given: Given) -> Grade:
    """Whether an answer is right. Raises SettingsError where this machine lacks what grading such a question needs."""
    match wanted:
        case WantsMaths():
            return grade_maths(wanted, given)
        case WantsChoice():
            return grade_choice(wanted, given)
        case WantsText():
            return grade_text(wanted, given)
        case WantsPattern():
            return grade_pattern(wanted, given)
        case WantsCode():
            return grade_code(wanted, given)
        case WantsInstructions():
            return grade_instructions(wanted, given)
        case WantsCalls():
            return grade_calls(wanted, given)
        case _:
            assert_never(wanted)
