"""Programs graded by running them: each test in a sandbox of its own.

What a program can still cheat with: one that searches its own process, not only prints or ends, finds the token by which a check that has
run to its end is told, and one that returns objects equal to everything passes a check that compares them. Results of stdin and call tests
are compared out of its reach.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from qwq_local.errors import SettingsError
from qwq_local.grading.fences import program_in
from qwq_local.grading.wanted import CallTest, Given, Grade, StdinTest, WantsCode
from qwq_local.sandbox import Limits, Outcome, run_program

_ASKER: Final = Path(__file__).with_name("code_asker.py")
_PARSER: Final = "import sys; compile(sys.stdin.read(), 'answer', 'exec')"
_FUTURE: Final = re.compile(r"^from __future__ import .*$", re.MULTILINE)
_TOLERANCE: Final = 1e-6
"""Of floats, relative and absolute: rounding depends on the order of sums."""
_LONGEST_SHOWN: Final = 80
_BRIEF: Final = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = _LONGEST_SHOWN
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 20
_LONGEST_INT: Final = 4300


@dataclass(frozen=True)
class _Failure:
    """Its kind, in a word or two, and what happened."""

    kind: str
    why: str


_Verdict: TypeAlias = _Failure | None


def grade_code(wanted: WantsCode, given: Given) -> Grade:
    """Run the answer's program through the tests, up to the first that fails.

    The program is the last fenced block of Python, or the last of no language, or the whole text where it is Python. Each test may take
    `wanted.seconds` of CPU time and twice as many by the clock. `found` is "passed" or the kind of failure. Raises SettingsError where
    programs cannot be confined, and for a question without tests.
    """
    if not (wanted.stdin_tests or wanted.call_tests or wanted.check):
        raise SettingsError("A question asks for a program and has no test for it.", hint="Give it tests: stdin, calls, or a check.")
    program = _program(given.content)
    if program is None:
        return Grade(False, why="no program in the answer")
    failure = next((verdict for verdict in _verdicts(wanted, program) if verdict), None)
    return Grade(False, failure.kind, failure.why) if failure else Grade(True, "passed")


def _program(content: str) -> str | None:
    fenced = program_in(content)
    if fenced is not None:
        return fenced if fenced.strip() else None
    # Python's own parser can be crashed by its text, so that too happens in the sandbox.
    return content if content.strip() and run_program(_PARSER, content).is_done else None


def _verdicts(wanted: WantsCode, program: str) -> Iterator[_Verdict]:
    limits = Limits(seconds=2 * wanted.seconds, cpu_seconds=wanted.seconds)
    if wanted.check:
        yield _checked(wanted, program, limits)
    script = _script(wanted.prelude, program)
    for number, stdin_test in enumerate(wanted.stdin_tests, 1):
        yield _printed(f"test {number}", run_program(script, stdin_test.stdin, limits), stdin_test, limits)
    for number, call_test in enumerate(wanted.call_tests, 1):
        yield _called(f"test {number}", wanted, program, call_test, limits)


def _script(prelude: str, program: str) -> str:
    """Both in one; what must stand first in a file stays there."""
    if not prelude:
        return program
    return "\n".join([*_FUTURE.findall(program), prelude, _FUTURE.sub("", program)])


def _ask(wanted: WantsCode, program: str, question: dict[str, Any], limits: Limits) -> Outcome:
    job = {"prelude": wanted.prelude, "program": program, **question}
    return run_program(_ASKER.read_text("utf-8"), json.dumps(job), limits)


def _checked(wanted: WantsCode, program: str, limits: Limits) -> _Verdict:
    token = secrets.token_hex()
    outcome = _ask(wanted, program, {"check": wanted.check, "token": token}, limits)
    if outcome.code == 1 and outcome.last_words.startswith("AssertionError"):
        return _Failure("wrong", f"the check failed: {_plain(outcome.last_words)}")
    if failure := _badly_ended("the check", outcome, limits):
        return failure
    return None if _said(outcome).get("token") == token else _Failure("ended early", "it ended before its check had run to the end")


def _printed(name: str, outcome: Outcome, test: StdinTest, limits: Limits) -> _Verdict:
    if failure := _badly_ended(name, outcome, limits):
        return failure
    found, wanted = _lines(outcome.stdout), _lines(test.stdout)
    if found == wanted:
        return None
    if len(wanted) == len(found) == 1:
        return _Failure("wrong", f"{name}: printed {_shown(found[0])}, wanted {_shown(wanted[0])}")
    for number, (one, other) in enumerate(zip(found, wanted, strict=False), 1):
        if one != other:
            return _Failure("wrong", f"{name}: line {number} is {_shown(one)}, wanted {_shown(other)}")
    return _Failure("wrong", f"{name}: printed {len(found)} lines, wanted {len(wanted)}")


def _lines(text: str) -> list[str]:
    """Its lines without the space at their ends and at the text's."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _called(name: str, wanted: WantsCode, program: str, test: CallTest, limits: Limits) -> _Verdict:
    outcome = _ask(wanted, program, {"function": wanted.function, "arguments": test.arguments}, limits)
    if failure := _badly_ended(name, outcome, limits):
        return failure
    said = _said(outcome)
    if "odd" in said:
        return _Failure("wrong", f"{name}: returned a value of type {_shown(said['odd'])}, wanted {_shown(test.result)}")
    if "result" not in said:
        return _Failure("ended early", f"{name}: it ended before it returned")
    if _is_same(said["result"], test.result):
        return None
    return _Failure("wrong", f"{name}: returned {_shown(said['result'])}, wanted {_shown(test.result)}")


def _is_same(one: object, other: object) -> bool:
    """Whether two JSON values are equal, floats but for rounding."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, int | float) and isinstance(other, int | float) and float in {type(one), type(other)}:
        return one == other or _is_close(one, other)
    return bool(one == other)


def _is_close(one: float, other: float) -> bool:
    try:
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    except OverflowError:  # an integer beyond all floats
        return False


def _badly_ended(name: str, outcome: Outcome, limits: Limits) -> _Verdict:
    match outcome.end:
        case "too slow":
            return _Failure("too slow", f"{name} took longer than {limits.cpu_seconds:g} s")
        case "too much memory":
            return _Failure("too much memory", f"{name} took more than {limits.memory_bytes / (1 << 30):g} GiB of memory")
        case "too much output":
            return _Failure("too much output", f"{name} printed more than {limits.output_bytes / (1 << 20):g} MiB")
        case "signal":
            return _Failure("crash", f"{name} ended by the signal {_signal_name(-outcome.code)}")
    if outcome.code:
        return _Failure("error", f"{name} ended with {_plain(outcome.last_words) or f'the exit code {outcome.code}'}")
    return None


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)


def _said(outcome: Outcome) -> dict[str, Any]:
    """What the asker said; nothing where it, or whoever spoke for it, said something else."""
    try:
        said = json.loads(outcome.stdout, parse_int=lambda digits: int(digits) if len(digits) <= _LONGEST_INT else digits)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _shown(value: object) -> str:
    text = _BRIEF.repr(value)  # a few levels of it, since a program can nest its lists as deep as it likes
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _plain(text: str) -> str:
    """Without what would move a terminal's cursor, and not too long."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return shown if len(shown) <= 2 * _LONGEST_SHOWN else f"{shown[: 2 * _LONGEST_SHOWN]}…"
