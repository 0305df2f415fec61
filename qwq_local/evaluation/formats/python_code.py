"""Whether a text is Python that can be read; it is parsed, and never run."""

from __future__ import annotations

import ast
import warnings

from qwq_local.evaluation.formats.fields import LineError


def is_python(code: str) -> bool:
    """Whether Python's parser takes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on escapes that a later Python may refuse
        try:
            ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last is what the parser raises at its limit of nesting
            return False
    return True


def check_python(code: str, name: str) -> str:
    """The code itself. Raises LineError."""
    if not is_python(code):
        raise LineError(f"{name} is not Python that can be read")
    return code


def check_identifier(name: str, key: str) -> str:
    """The name itself, one that a function can have. Raises LineError."""
    if not name.isidentifier():
        raise LineError(f"{key} must be a function's name, not {name[:60]!r}")
    return name
