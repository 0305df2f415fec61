"""LiveCodeBench's problems: programs that read stdin, and functions as LeetCode asks for them.

Keys (github.com/LiveCodeBench/LiveCodeBench, lcb_runner/benchmarks/code_generation.py): question_title, question_content, platform,
question_id, starter_code, difficulty, public_test_cases and private_test_cases, metadata with func_name. Tests are JSON text, a list of
input, output and testtype; private ones may be that text pickled, compressed with zlib, in base64. A function's arguments are the lines
of `input`, each a JSON value (lcb_runner/evaluation/testing_util.py).
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib
from collections.abc import Iterator
from typing import Any, Final

from qwq_local.evaluation.formats.asking import asked
from qwq_local.evaluation.formats.fields import (
    Fields,
    LineError,
    check_object,
    check_text,
    group_of,
    has,
    kind,
    name_of,
    parse_json,
    text_of,
)
from qwq_local.evaluation.formats.python_code import check_identifier
from qwq_local.evaluation.question import Question
from qwq_local.grading import CallTest, StdinTest, WantsCode

LONGEST_TESTS_BYTES = 2**28
SECONDS: Final = 6.0
"""For each test, as LiveCodeBench allows by default."""

PRELUDE: Final = """\
import bisect, collections, copy, datetime, functools, heapq, itertools, json, math, operator, random, re, string, sys
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush
from itertools import accumulate, chain, combinations, groupby, pairwise, permutations, product
from math import ceil, comb, floor, gcd, inf, isqrt, lcm, log2, sqrt
from typing import *
"""
"""What contestants' programs take for granted; LeetCode's starters use `List` and `Optional` without importing them."""

_TEXT_OPCODES: Final = frozenset({"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_EMPTY_OPCODES: Final = frozenset({"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"})

_STDIN: Final = "Read the input from stdin and print the answer to stdout."
_STARTER: Final = "Begin with this code:\n\n```python\n{starter}\n```"
_FORMAT: Final = "Write a Python program. {how}\n\nPut the whole program in one block of code, between ```python and ```."


def read_livecodebench(fields: Fields) -> Question:
    """One problem with all its tests, the public ones first. Raises LineError."""
    content = text_of(fields, "question_content")
    starter = check_text(fields["starter_code"], "'starter_code'").rstrip() if has(fields, "starter_code") else ""
    tests = [*_tests(fields, "public_test_cases"), *_tests(fields, "private_test_cases")]
    if not tests:
        raise LineError("it has no tests")
    how = _STARTER.format(starter=starter) if starter else _STDIN
    return Question(
        name_of(fields, "question_id"),
        asked(f"{content.rstrip()}\n\n{_FORMAT.format(how=how)}"),
        _wanted(tests, _function(fields)),
        group_of(fields, "difficulty", "platform"),
    )


def _wanted(tests: list[dict[str, Any]], function: str) -> WantsCode:
    kind_of_tests = _kind(tests, function)
    if kind_of_tests == "stdin":
        cases = tuple(StdinTest(_part(test, "input"), _part(test, "output")) for test in tests)
        return WantsCode(stdin_tests=cases, prelude=PRELUDE, seconds=SECONDS)
    if not function:
        raise LineError("its tests call a function, and 'metadata' has no func_name")
    calls = tuple(CallTest(_arguments(_part(test, "input")), parse_json(_part(test, "output"))) for test in tests)
    return WantsCode(function=function, call_tests=calls, prelude=PRELUDE, seconds=SECONDS)


def _kind(tests: list[dict[str, Any]], function: str) -> str:
    told = [test.get("testtype") for test in tests]
    if told[0] is None and not any(told):
        return "functional" if function else "stdin"
    if told[0] not in ("stdin", "functional") or any(each != told[0] for each in told):
        raise LineError("its tests must all have the testtype 'stdin', or all 'functional'")
    return str(told[0])


def _part(test: dict[str, Any], key: str) -> str:
    value = test.get(key)
    if not isinstance(value, str):
        raise LineError(f"a test's {key!r} must be a text, not {kind(value)}")
    return value


def _arguments(text: str) -> tuple[Any, ...]:
    return tuple(parse_json(line) for line in text.split("\n") if line.strip())


def _function(fields: Fields) -> str:
    """The function that the tests call; nothing where they run a program."""
    metadata = fields.get("metadata")
    if metadata in (None, ""):
        return ""
    told = check_object(parse_json(metadata) if isinstance(metadata, str) else metadata, "'metadata'").get("func_name")
    return check_identifier(check_text(told, "func_name"), "func_name") if told is not None else ""


def _tests(fields: Fields, key: str) -> list[dict[str, Any]]:
    value = fields.get(key)
    if value in (None, ""):
        return []
    if isinstance(value, str):
        text = value if value.lstrip().startswith("[") else unpacked(value)
        value = parse_json(text)
    if not isinstance(value, list):
        raise LineError(f"{key!r} must be a list, not {kind(value)}")
    return [check_object(test, f"{key}[{place}]") for place, test in enumerate(value)]


def unpacked(packed: str) -> str:
    """The text that was pickled, compressed and written in base64. Raises LineError.

    A pickle can run anything, so that it is never loaded: its opcodes are read, and only those of one text are taken.
    """
    try:
        (text,) = list(_texts_in(_uncompressed(packed)))  # all opcodes are looked at before
        text.encode()
    except UnicodeEncodeError as error:
        raise LineError("its private tests hold half of a surrogate pair, which is no character") from error
    except (ValueError, IndexError, OverflowError) as error:
        raise LineError(f"its private tests are no pickle of one text: {error}") from error
    return text


def _uncompressed(packed: str) -> bytes:
    try:
        stream = zlib.decompressobj()
        content = stream.decompress(base64.b64decode(packed, validate=True), LONGEST_TESTS_BYTES)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise LineError(f"its private tests are neither JSON nor compressed: {error}") from error
    if stream.unconsumed_tail:
        raise LineError(f"its private tests are longer than {LONGEST_TESTS_BYTES:,} bytes")
    return content


def _texts_in(pickled: bytes) -> Iterator[str]:
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in _TEXT_OPCODES:
            yield str(argument)
        elif opcode.name not in _EMPTY_OPCODES:
            raise LineError(f"its private tests are a pickle that does more than hold a text ({opcode.name}): it was not loaded")
