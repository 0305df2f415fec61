"""An answer's grade, by the kind of answer that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

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

GRADERS: Final[Mapping[type[Wanted], Callable[[Any, Given], Grade]]] = {
    WantsMaths: grade_maths,
    WantsChoice: grade_choice,
    WantsText: grade_text,
    WantsPattern: grade_pattern,
    WantsCode: grade_code,
    WantsInstructions: grade_instructions,
    WantsCalls: grade_calls,
}


def grade(wanted: Wanted, given: Given) -> Grade:
    """Whether an answer is right. Raises SettingsError where this machine lacks what grading such a question needs."""
    return GRADERS[type(wanted)](wanted, given)
