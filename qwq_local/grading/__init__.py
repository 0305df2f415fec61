"""Is an answer right? One way of grading for each kind of question."""

from qwq_local.grading.grade import grade
from qwq_local.grading.wanted import (
    CallTest,
    Given,
    Grade,
    Instruction,
    StdinTest,
    Wanted,
    WantsCalls,
    WantsChoice,
    WantsCode,
    WantsInstructions,
    WantsMaths,
    WantsPattern,
    WantsText,
)

__all__ = [
    "CallTest",
    "Given",
    "Grade",
    "Instruction",
    "StdinTest",
    "Wanted",
    "WantsCalls",
    "WantsChoice",
    "WantsCode",
    "WantsInstructions",
    "WantsMaths",
    "WantsPattern",
    "WantsText",
    "grade",
]
