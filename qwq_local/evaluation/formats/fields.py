"""The fields of a line, read with care: whatever is not as it should be is a LineError that says so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

Fields: TypeAlias = Mapping[str, Any]

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LONGEST_NAME: Final = 200


class LineError(Exception):
    """A line that makes no question; the message says what is wrong with it."""


def parse_json(text: str) -> Any:  # noqa: ANN401 # JSON is any of its values
    """JSON as RFC 8259 has it: NaN and infinities are none, and neither are halves of surrogate pairs. Raises LineError."""
    try:
        value = json.loads(text, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise LineError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from error
    except ValueError as error:  # a number of more digits than Python converts
        raise LineError(f"it is not JSON that can be read: {error}") from error
    check_unicode(text, value)
    return value


def check_unicode(text: str, value: object) -> None:
    """Refuse what cannot be written as UTF-8: half of a surrogate pair, which JSON can spell. Raises LineError."""
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise LineError("it holds half of a surrogate pair, which is no character") from error


def kind(value: object) -> str:
    """What a value of JSON is, as a message calls it."""
    names: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def has(fields: Fields, key: str) -> bool:
    """Whether there is something under that key: null and, as CSV writes it, an empty text are nothing."""
    return fields.get(key) not in (None, "")


def first(fields: Fields, keys: Iterable[str]) -> tuple[str, Any]:
    """The first of the keys that has something, with what it has. Raises LineError."""
    names = list(keys)
    for key in names:
        if has(fields, key):
            return key, fields[key]
    raise LineError(f"it has no {' or '.join(map(repr, names))}")


def text_of(fields: Fields, *keys: str) -> str:
    """The text, not blank, under the first of the keys that there is. Raises LineError."""
    key, value = first(fields, keys)
    return check_text(value, repr(key))


def check_text(value: object, name: str) -> str:
    """The value itself, a text that is not blank. Raises LineError."""
    if not isinstance(value, str):
        raise LineError(f"{name} must be a text, not {kind(value)}")
    if not value.strip():
        raise LineError(f"{name} is blank")
    return value


def answer_of(fields: Fields, *keys: str) -> str:
    """A text or a number under the first of the keys that there is, as text without space around it. Raises LineError."""
    key, value = first(fields, keys)
    if isinstance(value, float) and not math.isfinite(value):
        raise LineError(f"{key!r} is too large a number")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return check_text(value, repr(key)).strip()


def name_of(fields: Fields, *keys: str) -> str:
    """What a line calls itself, a text or a whole number; nothing where none of the keys has one. Raises LineError."""
    for key in keys:
        if has(fields, key):
            value = fields[key]
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise LineError(f"{key!r} must be a text or a whole number, not {kind(value)}")
            return _short(str(value).strip(), key)
    return ""


def _short(name: str, key: str) -> str:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise LineError(f"{key!r} must be on one line, and at most {LONGEST_NAME} characters long")
    return name


def group_of(fields: Fields, *keys: str) -> str:
    """What results are reported by, a text or a number; nothing where none of the keys has one."""
    return next((str(fields[key]).strip() for key in keys if isinstance(fields.get(key), str | int) and has(fields, key)), "")


def list_of(fields: Fields, key: str) -> list[Any]:
    """A list that is not empty; also as JSON text, as CSV needs it. Raises LineError."""
    key, value = first(fields, [key])
    if isinstance(value, str):
        value = parse_json(value)
    if not isinstance(value, list):
        raise LineError(f"{key!r} must be a list, not {kind(value)}")
    if not value:
        raise LineError(f"{key!r} is empty")
    return value


def texts_of(fields: Fields, key: str) -> list[str]:
    """A list of texts, none of them blank. Raises LineError."""
    return [check_text(value, f"{key}[{place}]") for place, value in enumerate(list_of(fields, key))]


def check_object(value: object, name: str) -> dict[str, Any]:
    """The value itself, an object. Raises LineError."""
    if not isinstance(value, dict):
        raise LineError(f"{name} must be an object, not {kind(value)}")
    return value


def check_keys(value: Fields, name: str, allowed: Iterable[str]) -> None:
    """No key but those. Raises LineError."""
    known = list(allowed)
    if unknown := [key for key in value if key not in known]:
        raise LineError(f"{name} has {unknown[0]!r}, which is unknown; it may have {', '.join(known)}")


def refuse_constant(name: str) -> NoReturn:
    """What JSON does not have, and Python reads: NaN and infinities. Raises LineError."""
    raise LineError(f"it is not JSON: {name} is no number there")
