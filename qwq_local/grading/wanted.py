"""What a right answer is (data): one class for each way of grading, and the verdict that all of them give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class WantsMaths:
    r"""A value in the last `\boxed{}`, equal in value to `answer` (LaTeX or plain)."""

    answer: str


@dataclass(frozen=True)
class WantsChoice:
    """A letter, in a JSON object's `answer` field, as QwQ's authors ask for it, or said in another plain way."""

    letter: str
    letters: str = "ABCD"


@dataclass(frozen=True)
class WantsText:
    """One of these texts, but for space around it and, unless `is_exact`, case, and a full stop or a box around it."""

    texts: tuple[str, ...]
    is_exact: bool = False


@dataclass(frozen=True)
class WantsPattern:
    """A regular expression (Python's) that is found somewhere in the answer."""

    pattern: str


@dataclass(frozen=True)
class StdinTest:
    """A program is given this on stdin and must print that, but for space at the end of lines and of the text."""

    stdin: str
    stdout: str


@dataclass(frozen=True)
class CallTest:
    """A function is called with these arguments and must return that (all of them JSON values)."""

    arguments: tuple[Any, ...]
    result: Any


@dataclass(frozen=True)
class WantsCode:
    """A Python program, in the answer's last fenced block, that passes all tests.

    `stdin_tests` run it as a script. `call_tests` call its function `function` (or the method of a class `Solution`, as LeetCode has it).
    `check` is Python that follows it in one script, as HumanEval's tests do; it passes if it runs to its end. `prelude` comes before it.
    """

    stdin_tests: tuple[StdinTest, ...] = ()
    function: str = ""
    call_tests: tuple[CallTest, ...] = ()
    check: str = ""
    prelude: str = ""
    seconds: float = 10.0
    """For each test."""


@dataclass(frozen=True)
class Instruction:
    """An instruction that a program can check, by its name in IFEval, with its arguments."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class WantsInstructions:
    """Every instruction followed."""

    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class WantsCalls:
    """Calls of functions, as BFCL grades them: of each argument, any of the values listed; `""` among them makes it optional.

    `calls` holds, in order, a function's name and its arguments' possible values. `is_ordered` is for answers whose order matters. With no
    calls none may be made, which is what BFCL calls irrelevance.
    """

    calls: tuple[tuple[str, Mapping[str, tuple[Any, ...]]], ...]
    is_ordered: bool = False


Wanted: TypeAlias = WantsMaths | WantsChoice | WantsText | WantsPattern | WantsCode | WantsInstructions | WantsCalls


@dataclass(frozen=True)
class Given:
    """What a model answered: its text after the thought, and its calls as names with arguments (JSON text, as the model wrote it)."""

    content: str
    calls: tuple[tuple[str, str], ...] = ()
    prompt: str = ""
    """The question's text, for instructions that speak of it."""


@dataclass(frozen=True)
class Grade:
    """`found` is what was taken for the answer, alike for equal answers and empty where there was none; `why` says what is wrong."""

    is_right: bool
    found: str = ""
    why: str = ""
