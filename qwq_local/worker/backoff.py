"""How long to wait before something that died is started again. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class Backoff:
    """After the n-th death in a row the next start waits the n-th of `wait_seconds`, and after more deaths the last of them."""

    def __init__(self, wait_seconds: Sequence[float]) -> None:
        self._wait_seconds = wait_seconds
        self._in_row = 0
        self.deaths = 0

    def note_death(self) -> float:
        """It died again; returns the seconds to wait."""
        self.deaths += 1
        self._in_row += 1
        return self._wait_seconds[min(self._in_row, len(self._wait_seconds)) - 1]

    def note_success(self) -> None:
        """It does what it should."""
        self._in_row = 0
