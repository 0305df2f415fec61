"""How long a model is to stay loaded, as Ollama's clients say it: seconds, or text such as Go's time.ParseDuration reads (pure)."""

from __future__ import annotations

import re
from typing import Final

FOREVER_SECONDS: Final = 1e9
"""Longer than that is for ever."""
_UNIT_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
MAX_CHARACTERS: Final = 64
DURATION: Final = rf"[+-]?(0|({_PART.pattern})+)"
"""What such a text looks like, as a pattern."""


def stay_seconds(told: float | str) -> float | None:
    """How long that is; None for ever, which is what a negative number says. Raises ValueError for a text that is no duration."""
    seconds = _parsed(told) if isinstance(told, str) else told
    return seconds if 0 <= seconds < FOREVER_SECONDS else None


def _parsed(text: str) -> float:
    if not re.fullmatch(DURATION, text):
        raise ValueError('say seconds as a number, or a duration such as "5m" or "1h30m"')
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
    return -seconds if text.startswith("-") else seconds
