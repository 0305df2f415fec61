"""Sets of questions with options: GPQA, MMLU and MMLU-Pro.

Keys: Idavidrein/gpqa has Question, Correct Answer, Incorrect Answer 1 to 3, Record ID, High-level domain; cais/mmlu has question, subject,
choices, answer as an index; TIGER-Lab/MMLU-Pro has question_id, question, options, answer as a letter, answer_index, category.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from qwq_local.evaluation.formats.asking import asked, check_options, choice_prompt
from qwq_local.evaluation.formats.fields import LETTERS, Fields, LineError, answer_of, group_of, has, list_of, name_of, text_of
from qwq_local.evaluation.question import Question
from qwq_local.grading import WantsChoice

_WRONG: Final = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def read_gpqa(fields: Fields) -> Question:
    """GPQA, which has the right answer first: its options are shuffled, a question's always in the same way. Raises LineError."""
    question = text_of(fields, "Question")
    right = answer_of(fields, "Correct Answer")
    options = check_options([right, *(answer_of(fields, key) for key in _WRONG)], "options")
    if right in options[1:]:
        raise LineError("its right answer is also among the wrong ones")
    order = shuffled(question, options)
    letter = LETTERS[order.index(right)]
    return Question(
        name_of(fields, "Record ID", "id"),
        asked(choice_prompt(question, order)),
        WantsChoice(letter, LETTERS[: len(order)]),
        group_of(fields, "High-level domain", "Subdomain"),
    )


def shuffled(question: str, options: Sequence[str]) -> list[str]:
    """The options in an order that depends on the question and on them alone, whatever order they come in: that of their hashes."""
    return sorted(options, key=lambda option: hashlib.sha256(f"{question}\0{option}".encode()).digest())


def read_mmlu(fields: Fields) -> Question:
    """MMLU, MMLU-Pro, and whatever has their keys. Raises LineError."""
    question = text_of(fields, "question", "Question")
    key = next((key for key in ("options", "choices") if has(fields, key)), "choices")
    options = check_options(list_of(fields, key), key)
    letters = LETTERS[: len(options)]
    letter = choice_letter(answer_of(fields, "answer", "answer_index"), letters)
    if has(fields, "answer") and has(fields, "answer_index"):
        other = choice_letter(answer_of(fields, "answer_index"), letters)
        if other != letter:
            raise LineError(f"'answer' says {letter}, and 'answer_index' says {other}")
    return Question(
        name_of(fields, "question_id", "id"),
        asked(choice_prompt(question, options)),
        WantsChoice(letter, letters),
        group_of(fields, "category", "subject"),
    )


def choice_letter(answer: str, letters: str) -> str:
    """The letter that an answer means: itself, or its place counted from 0. Raises LineError."""
    if answer.isdecimal() and answer.isascii():
        if len(answer) > 2 or int(answer) >= len(letters):
            raise LineError(f"its answer is option {answer}, and there are {len(letters)}, counted from 0")
        return letters[int(answer)]
    letter = answer.upper()
    if len(letter) != 1 or letter not in letters:
        raise LineError(f"its answer must be one of the letters {letters}, not {answer[:60]!r}")
    return letter
