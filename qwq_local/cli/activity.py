"""One line on a terminal for what takes longer than a moment: what is done, how far it is, and how long still."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Final, Self

from qwq_local.cli.terminal import OTHER_WIDTH, cut, duration, width_of

ERASE: Final = "\r\x1b[K"


class StatusLine:
    """On standard error, where that is a terminal. What is longer than a line is cut, since a second line would stay."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, text: str) -> None:
        """Write it over what stood there."""
        if text != self._shown and sys.stderr.isatty():
            width = width_of(sys.stderr)
            # The last column stays empty: some terminals go to the next line as soon as it is filled.
            self._write(ERASE + cut(text, min(width, OTHER_WIDTH) - 1))
            self._shown = text

    def clear(self) -> None:
        """Take it away."""
        if self._shown:
            self._write(ERASE)
            self._shown = ""

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Activity:
    """A status line for work in stages, to be used in a `with` block; a thread keeps it up to date while nothing is heard of the work.

    Nothing is shown of a stage that is over in `QUIET_SECONDS`. `clock` reads seconds.
    """

    QUIET_SECONDS: Final = 0.5
    PERIOD_SECONDS: Final = 0.25

    def __init__(self, stage: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._line = StatusLine()
        self._clock = clock
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="qwq-activity", daemon=True)
        self._stage, self._began_at, self._began_with = stage, clock(), 0
        self._done = self._total = 0

    def begin(self, stage: str) -> None:
        """What is done from now on, whose end nobody knows."""
        self.update(stage, 0, 0)

    def update(self, stage: str, n_done: int, n_all: int) -> None:
        """How far it is."""
        with self._lock:
            if stage != self._stage:
                self._line.clear()
                self._stage, self._began_at, self._began_with = stage, self._clock(), n_done
            self._done, self._total = n_done, n_all

    def text(self) -> str:
        """What the line says now; nothing where there is nothing to say yet."""
        seconds = self._clock() - self._began_at
        if not self._stage or seconds < self.QUIET_SECONDS:
            return ""
        if not self._total:
            return f"{self._stage} … {duration(seconds)}"
        n_new = self._done - self._began_with
        left = f", {duration(seconds / n_new * (self._total - self._done))} left" if n_new > 0 else f", {duration(seconds)}"
        return f"{self._stage} {self._done / self._total:.0%}{left}"

    def _tick(self) -> None:
        while not self._is_over.wait(self.PERIOD_SECONDS):
            with self._lock:
                if text := self.text():
                    self._line.show(text)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._line.clear()
