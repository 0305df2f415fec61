"""How questions are put: with the standard instructions of QwQ's model card, lettered options, and a block for code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qwq_local import card
from qwq_local.evaluation.formats.fields import LETTERS, LineError, check_text

Messages = tuple[dict[str, Any], ...]

CODE_INSTRUCTION: Final = "Put the whole program in one block of code, between ```python and ```."


def asked(text: str) -> Messages:
    """One message of a user."""
    return ({"role": "user", "content": text},)


def maths_prompt(problem: str) -> str:
    """A problem with the instruction that asks for a box."""
    return f"{problem.rstrip()}\n{card.MATH_INSTRUCTION}"


def choice_prompt(question: str, options: Sequence[str]) -> str:
    """A question with its options, a letter before each, and the instruction that asks for the `answer` field."""
    lettered = "\n".join(f"{letter}) {option.strip()}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{question.rstrip()}\n{lettered}\n{card.CHOICE_INSTRUCTION}"


def check_options(options: Sequence[object], name: str) -> list[str]:
    """Two to 26 texts, none of them blank; numbers are taken as they are written. Raises LineError."""
    if not 2 <= len(options) <= len(LETTERS):
        raise LineError(f"{name} must have 2 to {len(LETTERS)} options, not {len(options)}")
    plain = [str(option) if isinstance(option, int | float) and not isinstance(option, bool) else option for option in options]
    return [check_text(option, f"{name}[{place}]").strip() for place, option in enumerate(plain)]
