"""Our own format's `code`: the tests that a program must pass."""

from __future__ import annotations

from typing import Any, Final

from qwq_local.evaluation.formats.fields import LineError, check_keys, check_object, check_text, kind
from qwq_local.evaluation.formats.python_code import check_identifier, check_python
from qwq_local.grading import CallTest, StdinTest, WantsCode

_KEYS: Final = ("stdin_tests", "function", "call_tests", "check", "prelude", "seconds")
_MOST_SECONDS: Final = 600.0


def read_code(value: object) -> WantsCode:
    """`{"stdin_tests", "function", "call_tests", "check", "prelude", "seconds"}`, with at least one kind of test. Raises LineError."""
    code = check_object(value, "'code'")
    check_keys(code, "'code'", _KEYS)
    if not any(key in code for key in ("stdin_tests", "call_tests", "check")):
        raise LineError("'code' has no tests: neither stdin_tests, nor call_tests, nor check")
    if ("call_tests" in code) != ("function" in code):
        raise LineError("'code' needs both 'function' and 'call_tests', or neither")
    return WantsCode(
        stdin_tests=tuple(_stdin_test(each, f"stdin_tests[{place}]") for place, each in enumerate(_listed(code, "stdin_tests"))),
        function=check_identifier(check_text(code["function"], "'function'"), "'function'") if "function" in code else "",
        call_tests=tuple(_call_test(each, f"call_tests[{place}]") for place, each in enumerate(_listed(code, "call_tests"))),
        check=_python(code, "check"),
        prelude=_python(code, "prelude"),
        seconds=_seconds(code.get("seconds", 10.0)),
    )


def _listed(code: dict[str, Any], key: str) -> list[Any]:
    value = code.get(key, [])
    if not isinstance(value, list) or (key in code and not value):
        raise LineError(f"{key!r} must be a list of tests")
    return value


def _stdin_test(value: object, name: str) -> StdinTest:
    test = check_object(value, name)
    check_keys(test, name, ("stdin", "stdout"))
    for key in ("stdin", "stdout"):
        if not isinstance(test.get(key), str):
            raise LineError(f"{name} must have {key!r}, a text, not {kind(test.get(key))}")
    return StdinTest(test["stdin"], test["stdout"])


def _call_test(value: object, name: str) -> CallTest:
    test = check_object(value, name)
    check_keys(test, name, ("arguments", "result"))
    if "result" not in test or not isinstance(test.get("arguments"), list):
        raise LineError(f"{name} must have 'arguments', a list, and 'result'")
    return CallTest(tuple(test["arguments"]), test["result"])


def _python(code: dict[str, Any], key: str) -> str:
    return check_python(check_text(code[key], repr(key)), repr(key)) if key in code else ""


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= _MOST_SECONDS:
        raise LineError(f"'seconds' must be a number above 0, and at most {_MOST_SECONDS:g}")
    return float(value)
