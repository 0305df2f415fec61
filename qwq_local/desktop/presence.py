"""Whether anybody still looks at the page, told by its windows and by what it asks of the server (pure but for the clock it is given).

One browser is watched, and its end is the end of its windows, but for two doubts: windows that later starts opened elsewhere are left, and
a browser that ends soon after one was opened may have given it to another that ran already. Then the page tells, which asks as long as it
is open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

UNSEEN_SECONDS: Final = 300.0
"""An open page asks every 10 s how the server is, and once a minute where the browser slows it down because it is hidden."""
NEW_PAGE_SECONDS: Final = 30.0
"""A page that was just opened is not hidden, and asks thrice in these."""
HAND_OVER_SECONDS: Final = 5.0
"""What a browser takes at most to give a window to one that runs."""
SETTLE_SECONDS: Final = 2.0
"""What a page asked before it was closed may be answered so much later."""
SLEEP_SECONDS: Final = 20.0
"""Between two looks, which are a second apart: the machine slept, and the page with it."""


class Presence:
    """Counts from the last sign of somebody; `visited` may be called in any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, unseen_seconds: float = UNSEEN_SECONDS) -> None:
        self._clock = clock
        self._unseen_seconds = unseen_seconds
        self._opened_at = self._visited_at = self._silent_since = self._looked_at = clock()
        self._closed_at: float | None = None
        self._is_elsewhere = False

    def opened(self, *, is_elsewhere: bool = False) -> None:
        """A window was opened: in the browser that is watched, or elsewhere."""
        self._is_elsewhere = self._is_elsewhere or is_elsewhere or self._closed_at is not None
        self._opened_at = self._silent_since = self._clock()

    def closed(self) -> None:
        """The browser that is watched has ended."""
        if self._closed_at is None:
            self._closed_at = self._silent_since = self._clock()

    def visited(self) -> None:
        """Somebody asked something."""
        now = self._clock()
        if self._closed_at is None or now - self._closed_at > SETTLE_SECONDS:
            self._visited_at = self._silent_since = now

    def is_lost(self, *, is_busy: bool) -> bool:
        """Whether nobody can be there: all was closed, or nobody asked anything for so long, while no answer was written."""
        now = self._clock()
        if is_busy or now - self._looked_at > SLEEP_SECONDS:
            self._silent_since = now
        self._looked_at = now
        return now - self._silent_since >= self._patience_seconds()

    def _patience_seconds(self) -> float:
        if self._closed_at is None or self._is_elsewhere or self._visited_at > self._closed_at:
            return self._unseen_seconds
        return NEW_PAGE_SECONDS if self._closed_at - self._opened_at < HAND_OVER_SECONDS else 0.0
