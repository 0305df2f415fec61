"""The formats of tasks that are read: each turns the fields of a line into a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from qwq_local.evaluation.formats.bfcl import read_bfcl
from qwq_local.evaluation.formats.choices import read_gpqa, read_mmlu
from qwq_local.evaluation.formats.fields import Fields, LineError
from qwq_local.evaluation.formats.functions import read_humaneval, read_mbpp
from qwq_local.evaluation.formats.ifeval import read_ifeval
from qwq_local.evaluation.formats.livecodebench import read_livecodebench
from qwq_local.evaluation.formats.maths import read_gsm8k, read_problem
from qwq_local.evaluation.formats.own import WANTS, read_own
from qwq_local.evaluation.question import Question

__all__ = ["FORMATS", "Fields", "Format", "LineError", "find_format", "format_of"]


@dataclass(frozen=True)
class Format:
    """`about` says what it is in a line. A line is of this format if it has all the keys of one of `keys`.

    `has_answers_apart`: its answers are in a file of their own, and come to a line as its `ground_truth`.
    """

    name: str
    about: str
    keys: tuple[frozenset[str], ...]
    read: Callable[[Fields], Question]
    has_answers_apart: bool = False


def _keys(*alternatives: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(each.split(", ")) for each in alternatives)


_ALL: Final = (
    Format(
        "bfcl",
        "function calls (BFCL 3 and 4): id, question, function; answers in possible_answer/",
        _keys("question, function"),
        read_bfcl,
        has_answers_apart=True,
    ),
    Format(
        "livecodebench",
        "programs (LiveCodeBench): question_content, public_test_cases, private_test_cases, …",
        _keys("question_content, public_test_cases", "question_content, private_test_cases"),
        read_livecodebench,
    ),
    Format("humaneval", "functions (HumanEval): task_id, prompt, entry_point, test", _keys("prompt, entry_point, test"), read_humaneval),
    Format("mbpp", "functions (MBPP): task_id, text or prompt, test_list", _keys("text, test_list", "prompt, test_list"), read_mbpp),
    Format(
        "ifeval",
        "instructions (IFEval): key, prompt, instruction_id_list, kwargs",
        _keys("prompt, instruction_id_list, kwargs"),
        read_ifeval,
    ),
    Format(
        "gpqa",
        "choices (GPQA): Question, Correct Answer, Incorrect Answer 1 to 3",
        _keys("Question, Correct Answer, Incorrect Answer 1, Incorrect Answer 2, Incorrect Answer 3"),
        read_gpqa,
    ),
    Format(
        "mmlu",
        "choices (MMLU, MMLU-Pro): question, choices or options, answer as a letter or counted from 0",
        _keys("question, choices, answer", "question, options, answer", "question, options, answer_index"),
        read_mmlu,
    ),
    Format(
        "aime",
        "maths (AIME, MATH-500): problem, answer or a solution with \\boxed{}",
        _keys("problem, answer", "Problem, Answer", "problem, solution", "Problem, Solution"),
        read_problem,
    ),
    Format("gsm8k", "maths (GSM8K): question, answer after ####", _keys("question, answer"), read_gsm8k),
    Format(
        "qwq",
        f"our own: prompt or messages, and one of {', '.join(WANTS)}",
        _keys(*(f"{asked}, {want}" for asked in ("prompt", "messages") for want in WANTS)),
        read_own,
    ),
)
"""Those with more keys come first, since a line is of the first format that it has the keys of."""

_BY_NAME: Final[Mapping[str, Format]] = {each.name: each for each in _ALL}

FORMATS: Final[Mapping[str, str]] = {each.name: each.about for each in _ALL}
"""What each format is, by its name."""


def find_format(keys: Iterable[str]) -> Format | None:
    """The format of a line with these keys; None where it is of none."""
    there = frozenset(keys)
    return next((each for each in _ALL if any(needed <= there for needed in each.keys)), None)


def format_of(name: str) -> Format | None:
    """The format of that name, in any case of letters; None where there is none."""
    return _BY_NAME.get(name.lower())
