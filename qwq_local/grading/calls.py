"""Grade calls of functions as BFCL grades them (pure).

The rules are those of the Berkeley Function Calling Leaderboard's checker (gorilla, bfcl_eval/eval_checker/ast_eval/ast_checker.py, for
Python). It also reads the types of parameters from the functions' descriptions; here they show in the possible values, so whoever loads
BFCL's data makes those of a `float` parameter floats. Other than there, calls are told apart so that no order of them can be unlucky, and
objects within objects are compared by the same rules at any depth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from qwq_local.grading.wanted import Given, Grade, WantsCalls

NO_CALL: Final = "no call"
"""What is found where nothing was called."""

_NO_MATTER: Final = re.compile(r"[ ,./\-_*^]")
_OPTIONAL: Final = ""


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    """Why there are no arguments."""

    def __str__(self) -> str:
        return f"{self.name}({_shown(self.arguments)})"


def grade_calls(wanted: WantsCalls, given: Given) -> Grade:
    """Right where every call wanted was made, and no other.

    Names are equal, but for dots, which OpenAI's names of functions cannot have and become underscores. A string is equal but for case,
    spaces, the marks ,./-_*^ and the kind of quotes; a number is an integer where only integers are possible, and either kind where floats
    are; true is no number. Lists are equal in order. An object has the keys of a possible one, with possible values. An argument, or a key,
    may be left out where `""` is among its possible values.

    `found` is the calls with their keys sorted, one in a line, in the order of the alphabet unless `is_ordered`; nothing where some
    arguments are no JSON object.
    """
    calls = [_read(name, arguments) for name, arguments in given.calls]
    faults = [call.fault for call in calls if call.fault]
    texts = [str(call) for call in calls]
    found = "" if faults else "\n".join(texts if wanted.is_ordered else sorted(texts)) or NO_CALL
    why = "; ".join(faults) or _complaint(wanted, calls)
    return Grade(not why, found, why)


def _read(name: str, arguments: str) -> _Call:
    try:
        values = json.loads(arguments, parse_constant=_refuse)
    except ValueError as error:
        return _Call(name, fault=f"{name}: the arguments are not JSON: {error}")
    except RecursionError:
        return _Call(name, fault=f"{name}: the arguments are nested too deeply")
    if not isinstance(values, dict):
        return _Call(name, fault=f"{name}: the arguments are no JSON object")
    return _Call(name, values)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _complaint(wanted: WantsCalls, calls: Sequence[_Call]) -> str:
    if len(calls) != len(wanted.calls):
        made = ", ".join(call.name for call in calls) or "none"
        return f"{len(calls)} calls ({made}), {len(wanted.calls)} wanted"
    # wrong[i][j] is what is wrong with call j as the i-th wanted.
    wrong = [[_mismatch(name, values, call) for call in calls] for name, values in wanted.calls]
    if wanted.is_ordered:
        return "; ".join(row[place] for place, row in enumerate(wrong) if row[place])
    unmatched = _unmatched([[j for j, fault in enumerate(row) if not fault] for row in wrong])
    return "; ".join(_nearest(wanted.calls[i][0], wrong[i], calls) for i in unmatched)


def _unmatched(fitting: Sequence[Sequence[int]]) -> list[int]:
    """Which are left over when as many as can be get one of those that fit, each another: a matching by augmenting paths (Kuhn 1955)."""
    holders: dict[int, int] = {}

    def is_placed(who: int, tried: set[int]) -> bool:
        for what in fitting[who]:
            if what not in tried:
                tried.add(what)
                if what not in holders or is_placed(holders[what], tried):
                    holders[what] = who
                    return True
        return False

    return [who for who in range(len(fitting)) if not is_placed(who, set())]


def _nearest(name: str, faults: Sequence[str], calls: Sequence[_Call]) -> str:
    """What to say of a call that nobody made: what is wrong with the one call of that function, where there is one."""
    same = [fault for fault, call in zip(faults, calls, strict=True) if _is_name(call.name, name)]
    return same[0] if len(same) == 1 and same[0] else f"{name} not called as wanted"


def _mismatch(name: str, possible: Mapping[str, Sequence[Any]], call: _Call) -> str:
    """What is wrong with a call; empty where nothing is."""
    if not _is_name(call.name, name):
        return f"{call.name} called, {name} wanted"
    for argument, value in call.arguments.items():
        if argument not in possible:
            return f"{name}: there is no argument {argument}"
        if not _is_among(value, possible[argument]):
            options = " or ".join(_shown(option) for option in possible[argument] if option != _OPTIONAL)
            return f"{name}: {argument} is {_shown(value)}, {options or 'nothing'} wanted"
    missing = [argument for argument, values in possible.items() if argument not in call.arguments and _OPTIONAL not in values]
    return f"{name}: {', '.join(missing)} missing" if missing else ""


def _is_name(given: str, wanted: str) -> bool:
    return given in {wanted, wanted.replace(".", "_")}


def _is_among(given: object, possible: Sequence[Any]) -> bool:
    return any(_is_value(given, value) for value in possible)


def _is_value(given: object, possible: object) -> bool:
    match possible:
        case Mapping():
            return isinstance(given, dict) and _is_object(given, possible)
        case list() | tuple():
            return isinstance(given, list) and len(given) == len(possible) and all(map(_is_value, given, possible))
        case str():
            return isinstance(given, str) and _plain(given) == _plain(possible)
        case float():
            return type(given) in {int, float} and given == possible
        case _:
            return type(given) is type(possible) and bool(given == possible)


def _is_object(given: Mapping[str, Any], possible: Mapping[str, Any]) -> bool:
    options = {key: values if isinstance(values, list | tuple) else (values,) for key, values in possible.items()}
    is_whole = all(key in given or _OPTIONAL in values for key, values in options.items())
    return is_whole and all(key in options and _is_among(value, options[key]) for key, value in given.items())


def _plain(text: str) -> str:
    return _NO_MATTER.sub("", text).lower().replace("'", '"')


def _shown(value: object) -> str:
    """As JSON that can be written down: an escape may stand for half a surrogate pair, which UTF-8 cannot say."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=dict)
    return text.encode("utf-8", "backslashreplace").decode()
