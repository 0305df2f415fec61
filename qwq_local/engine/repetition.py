"""A text that goes round in circles, told by its tokens. Pure."""

from __future__ import annotations

from array import array
from typing import Final

LEAST_RUN: Final = 96
"""Tokens that must have come a second time, and that many times over for short cycles."""
LEAST_COPIES: Final = 4
LONGEST_PERIOD: Final = 2048
_GRAM: Final = 32
"""A cycle is followed once so many tokens of it have come again; few texts get so far."""


class RepetitionDetector:
    """Tells whether the last tokens are one cycle over and over: LEAST_COPIES of it, and LEAST_RUN tokens beyond the first.

    Cycles up to LONGEST_PERIOD tokens are found, each at the token that completes it. It keeps, for every distance at which the last _GRAM
    tokens or more have come before, how many they are.
    """

    def __init__(self) -> None:
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
        return any(run >= max(LEAST_RUN, (LEAST_COPIES - 1) * period) for period, run in self._runs.items())

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
