"""How far two texts are alike, in tokens (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

COMPARED_AT_ONCE: Final = 256


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    shorter = min(len(a), len(b))
    for start in range(0, shorter, COMPARED_AT_ONCE):
        end = min(start + COMPARED_AT_ONCE, shorter)
        if list(a[start:end]) != list(b[start:end]):
            return next(i for i in range(start, end) if a[i] != b[i])
    return shorter


def n_alike_before(source: Sequence[int], place: int, tokens: Sequence[int], most: int) -> int:
    """How many tokens before `place` are those at the end of `tokens`, up to `most`."""
    most = min(place, len(tokens), most)
    return next((n for n in range(most) if source[place - 1 - n] != tokens[-1 - n]), most)
