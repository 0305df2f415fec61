"""A text that goes round in circles, told by its tokens. Pure."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from typing import Final

RUN_SHARE, MOST_RUN = 16, 256
"""Tokens that must have come a second time, and that many times over for short cycles: this part of the context, and not more."""
LEAST_COPIES: Final = 4
LONGEST_PERIOD: Final = 2048
WINDOW_SHARE, LEAST_WINDOW, MOST_WINDOW = 4, 128, 4096
"""Tokens that have nothing new among them: this part of the context, within these bounds."""
FEW_TOKENS: Final = 12
_GRAM: Final = 32
"""A cycle is followed once so many tokens of it have come again; few texts get so far."""


class RepetitionDetector:
    """Tells whether a text goes round: in a cycle, or without one but with the same few tokens only.

    How much must have come scales with the context, `n_ctx` tokens: where there is room for thousands, a table with some like rows is no
    repetition yet, and a loop costs seconds before it is seen.
    """

    def __init__(self, n_ctx: int) -> None:
        self._cycles = CycleDetector(min(MOST_RUN, max(_GRAM, n_ctx // RUN_SHARE)))
        self._monotony = MonotonyDetector(min(MOST_WINDOW, max(LEAST_WINDOW, n_ctx // WINDOW_SHARE)))

    def push(self, token: int) -> bool:
        """Take the next token; true where it ends a repetition."""
        is_cycle, is_monotony = self._cycles.push(token), self._monotony.push(token)
        return is_cycle or is_monotony


class MonotonyDetector:
    """Tells whether the last `n_window` tokens are FEW_TOKENS different ones at most."""

    def __init__(self, n_window: int) -> None:
        self._window: deque[int] = deque()
        self._n_window = n_window
        self._counts: Counter[int] = Counter()

    def push(self, token: int) -> bool:
        """Take the next token; true while it is so."""
        self._window.append(token)
        self._counts[token] += 1
        if len(self._window) > self._n_window:
            oldest = self._window.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        return len(self._window) == self._n_window and len(self._counts) <= FEW_TOKENS


class CycleDetector:
    """Tells whether the last tokens are one cycle over and over: LEAST_COPIES of it, and `least_run` tokens beyond the first, 32 at least.

    Cycles up to LONGEST_PERIOD tokens are found, each at the token that completes it. It keeps, for every distance at which the last _GRAM
    tokens or more have come before, how many they are.
    """

    def __init__(self, least_run: int) -> None:
        self._least_run = least_run
        self._tokens = array("i")
        self._places: dict[bytes, list[int]] = {}
        self._runs: dict[int, int] = {}

    def push(self, token: int) -> bool:
        """Take the next token; true where it ends a repetition."""
        tokens, here = self._tokens, len(self._tokens)
        tokens.append(token)
        if self._runs:
            self._runs = {period: run + 1 for period, run in self._runs.items() if tokens[here - period] == token}
        if here >= _GRAM - 1:
            self._follow_new(here)
        if here >= LONGEST_PERIOD + _GRAM - 1:
            self._forget(here - LONGEST_PERIOD)
        return any(run >= max(self._least_run, (LEAST_COPIES - 1) * period) for period, run in self._runs.items())

    def _follow_new(self, here: int) -> None:
        places = self._places.setdefault(self._gram(here), [])
        for place in places:
            self._runs.setdefault(here - place, _GRAM)
        places.append(here)

    def _forget(self, place: int) -> None:
        gram = self._gram(place)
        places = self._places[gram]
        del places[0]
        if not places:
            del self._places[gram]

    def _gram(self, place: int) -> bytes:
        return self._tokens[place - _GRAM + 1 : place + 1].tobytes()
