"""Our own format: what is asked, and one key that says how its answer is graded (docs/evaluation.md has each with an example)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

from qwq_local import card
from qwq_local.evaluation.formats.asking import Messages, asked, check_options, choice_prompt
from qwq_local.evaluation.formats.chat import check_messages
from qwq_local.evaluation.formats.choices import choice_letter
from qwq_local.evaluation.formats.fields import LETTERS, Fields, LineError, answer_of, group_of, has, kind, list_of, name_of, text_of
from qwq_local.evaluation.formats.own_code import read_code
from qwq_local.evaluation.formats.own_tools import read_calls, read_instructions
from qwq_local.evaluation.formats.tools import check_tools, names_of
from qwq_local.evaluation.question import Question
from qwq_local.grading import Wanted, WantsChoice, WantsMaths, WantsPattern, WantsText

_INSTRUCTIONS: Final = {"maths": card.MATH_INSTRUCTION, "choice": card.CHOICE_INSTRUCTION}
_LONGEST_PATTERN: Final = 10_000


def read_own(fields: Fields) -> Question:
    """One question. Raises LineError."""
    wants = [key for key in WANTS if has(fields, key)]
    if len(wants) != 1:
        raise LineError(f"it must have one of {', '.join(WANTS)}" + (f", and has {' and '.join(wants)}" if wants else ""))
    _check_keys(fields, wants[0])
    tools = check_tools(fields["tools"]) if has(fields, "tools") else ()
    messages = _messages(fields, wants[0])
    return Question(name_of(fields, "id"), messages, WANTS[wants[0]](fields), group_of(fields, "group"), tools)


def _check_keys(fields: Fields, want: str) -> None:
    known = (*_COMMON, want, *_BESIDE.get(want, ()))
    for key in fields:
        if has(fields, key) and key not in known:
            near = get_close_matches(key, known, n=1)
            raise LineError(f"{key!r} is unknown{f'; did you mean {near[0]!r}?' if near else f' beside {want!r}'}")


def _messages(fields: Fields, want: str) -> Messages:
    """The conversation, with options and the standard instruction at the end of what the user says last, where they belong to it."""
    if has(fields, "prompt") == has(fields, "messages"):
        raise LineError("it must have either 'prompt' or 'messages'")
    messages = check_messages(fields["messages"]) if has(fields, "messages") else asked(text_of(fields, "prompt"))
    if has(fields, "system"):
        if messages[0]["role"] == "system":
            raise LineError("it has 'system', and a system's message in 'messages'")
        messages = ({"role": "system", "content": text_of(fields, "system")}, *messages)
    *before, last = messages
    added = _added(fields, want, str(last["content"]))
    if added == last["content"]:
        return messages
    if last["role"] != "user":
        raise LineError("options and instructions can only be added to a message of the user")
    return (*before, {**last, "content": added})


def _added(fields: Fields, want: str, text: str) -> str:
    if want == "choice" and has(fields, "choices"):
        return choice_prompt(text, check_options(list_of(fields, "choices"), "choices"))
    return f"{text.rstrip()}\n{_INSTRUCTIONS[want]}" if want in _INSTRUCTIONS and _flag(fields, "instruct") else text


def _flag(fields: Fields, key: str) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise LineError(f"{key!r} must be true or false, not {kind(value)}")
    return value


def _maths(fields: Fields) -> Wanted:
    return WantsMaths(answer_of(fields, "maths"))


def _choice(fields: Fields) -> Wanted:
    n_options = len(list_of(fields, "choices")) if has(fields, "choices") else 0
    answer = answer_of(fields, "choice").upper()
    letters = LETTERS[: n_options or max(4, LETTERS.find(answer) + 1)]
    if answer.isdecimal():
        raise LineError(f"'choice' must be one of the letters {letters}, not a number")
    return WantsChoice(choice_letter(answer, letters), letters)


def _text(fields: Fields) -> Wanted:
    value = fields["text"]
    texts = [answer_of({"text": each}, "text") for each in (value if isinstance(value, list) else [value])]
    if not texts:
        raise LineError("'text' is empty")
    return WantsText(tuple(texts), _flag(fields, "exact"))


def _pattern(fields: Fields) -> Wanted:
    return WantsPattern(checked_pattern(text_of(fields, "pattern")))


def checked_pattern(pattern: str) -> str:
    """The pattern itself, a regular expression of Python's that compiles. Raises LineError."""
    if len(pattern) > _LONGEST_PATTERN:
        raise LineError(f"'pattern' is longer than {_LONGEST_PATTERN:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on spellings that a later Python may read otherwise
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise LineError(f"'pattern' is no regular expression: {error}") from error
    return pattern


def _calls(fields: Fields) -> Wanted:
    if not has(fields, "tools"):
        raise LineError("it has 'calls', and no 'tools' to call")
    return read_calls(fields["calls"], names_of(check_tools(fields["tools"])), is_ordered=_flag(fields, "ordered"))


def _code(fields: Fields) -> Wanted:
    return read_code(fields["code"])


def _instructions(fields: Fields) -> Wanted:
    return read_instructions(fields["instructions"])


WANTS: Final[dict[str, Callable[[Fields], Wanted]]] = {
    "maths": _maths,
    "choice": _choice,
    "text": _text,
    "pattern": _pattern,
    "code": _code,
    "instructions": _instructions,
    "calls": _calls,
}
"""How an answer is graded, by the key that says so."""

_COMMON: Final = ("id", "prompt", "messages", "system", "tools", "group", "comment")
_BESIDE: Final[dict[str, tuple[str, ...]]] = {
    "maths": ("instruct",),
    "choice": ("choices", "instruct"),
    "text": ("exact",),
    "calls": ("ordered",),
}
"""What may stand beside each."""
