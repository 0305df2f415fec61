"""Texts that go round in circles (pure)."""

from __future__ import annotations

from typing import Final

LEAST_RUN: Final = 96
LONGEST_PERIOD: Final = 2048


class RepetitionDetector:
    """Tells when the last tokens are one cycle, four times over and at least LEAST_RUN tokens long."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._runs: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def push(self, token: int) -> bool:
        """Take one token more."""
        tokens, i = self._tokens, len(self._tokens)
        runs = {period: run + 1 for period, run in self._runs.items() if tokens[i - period] == token}
        last = self._last.get(token)
        if last is not None and i - last <= LONGEST_PERIOD:
            runs.setdefault(i - last, 1)
        tokens.append(token)
        self._last[token] = i
        self._runs = runs
        return any(run >= max(LEAST_RUN, 3 * period) for period, run in runs.items())
