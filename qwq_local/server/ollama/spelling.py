"""How Ollama and its clients write names, times, durations and counts (pure)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from qwq_local.server.names import LATEST

FOREVER_SECONDS: Final = 1e9
"""Longer than that is for ever."""
_UNIT_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
MAX_CHARACTERS: Final = 64
DURATION: Final = rf"[+-]?(0|({_PART.pattern})+)"
"""What a duration looks like, as Go's time.ParseDuration reads it."""


def stay_seconds(told: float | str) -> float | None:
    """How long a model is to stay loaded, said in seconds or as a duration; None for ever, which is what a negative number says.

    Raises ValueError for a text that is no duration.
    """
    seconds = _parsed(told) if isinstance(told, str) else told
    return seconds if 0 <= seconds < FOREVER_SECONDS else None


def tagged(name: str) -> str:
    """A model's name with a tag, without which Open WebUI does not find it again."""
    return name if ":" in name else f"{name}{LATEST}"


def rfc3339(seconds: float) -> str:
    """A time, of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def short_count(count: int) -> str:
    """32.8B, as Ollama writes it."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.1f}{letter}"
    return str(count)


def _parsed(text: str) -> float:
    if not re.fullmatch(DURATION, text):
        raise ValueError('say seconds as a number, or a duration such as "5m" or "1h30m"')
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
    return -seconds if text.startswith("-") else seconds
