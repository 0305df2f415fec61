"""What an instruction's arguments may be, and how what was seen is compared with them (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

RELATIONS: Final = ("less than", "at least")


@dataclass(frozen=True)
class Argument:
    """`wanted` completes "… is wanted"; an optional argument may be left out."""

    wanted: str
    is_fit: Callable[[Any], bool]
    is_optional: bool = False


def compared(n_seen: int, relation: str, n_wanted: int, what: str) -> str:
    """What is wrong with so many of these; empty where nothing is."""
    is_right = n_seen < n_wanted if relation == "less than" else n_seen >= n_wanted
    return "" if is_right else f"{n_seen} {what}, {relation} {n_wanted} wanted"


def quoted(texts: Iterable[str]) -> str:
    """Some texts, for a message."""
    return ", ".join(f"“{text}”" for text in texts)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


COUNT: Final = Argument("a whole number of at least 0", _is_count)
ORDINAL: Final = Argument("a whole number of at least 1", lambda value: _is_count(value) and value >= 1)
RELATION: Final = Argument(" or ".join(f'"{relation}"' for relation in RELATIONS), lambda value: value in RELATIONS)
TEXT: Final = Argument("a text", _is_text)
OPTIONAL_TEXT: Final = Argument("a text", _is_text, is_optional=True)
TEXTS: Final = Argument("a list of texts", lambda value: isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value)))
CHARACTER: Final = Argument("one character", lambda value: _is_text(value) and len(value.strip()) == 1)
