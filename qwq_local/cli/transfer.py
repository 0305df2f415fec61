"""One line on a terminal for work that is counted in bytes: how far, how fast, and how long still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from qwq_local.cli.activity import StatusLine
from qwq_local.cli.terminal import duration, notice


class TransferBar:
    """Shown on standard error, where that is a terminal; `clock` reads seconds."""

    PERIOD_SECONDS: Final = 0.2

    def __init__(self, clock: float) -> None:
        self._shown_at = clock
        self._stage = ""
        self._began_at = clock
        self._began_bytes = 0
        self._line = StatusLine()

    def update(self, stage: str, done_bytes: int, total_bytes: int, clock: float) -> None:
        """Show it, if the last time is long enough ago; the rate is that since the stage began."""
        if stage != self._stage:
            self._stage, self._began_at, self._began_bytes = stage, clock, done_bytes
        if clock - self._shown_at < self.PERIOD_SECONDS:
            return
        self._shown_at = clock
        seconds = clock - self._began_at
        rate = (done_bytes - self._began_bytes) / seconds if seconds > 0 else 0.0
        left = f", {duration((total_bytes - done_bytes) / rate)} left" if rate > 0 else ""
        text = f"{stage} {done_bytes / 1e9:.1f} of {total_bytes / 1e9:.1f} GB at {rate / 1e6:,.0f} MB/s{left}"
        self._line.show(text)

    def say(self, text: str) -> None:
        """Tell what the user should know, where the line was."""
        self.clear()
        notice(f"notice: {text}")

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Around work that goes on from where it was: the line is taken away at its end, and Ctrl-C loses nothing."""
        try:
            yield
        except KeyboardInterrupt:
            self.clear()
            notice("interrupted: the same command goes on from here")
            raise
        finally:
            self.clear()

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()
