"""Whether anybody still looks at the page, told by what it asks of the server (pure but for the clock it is given)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

UNSEEN_SECONDS: Final = 300.0
"""An open page asks every 10 s how the server is, and once a minute where the browser slows it down because it is hidden."""
SLEEP_SECONDS: Final = 20.0
"""Between two looks, which are a second apart: the machine slept, and the page with it."""


class Presence:
    """Counts from the last visit; `visited` may be called in any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, unseen_seconds: float = UNSEEN_SECONDS) -> None:
        self._clock = clock
        self._unseen_seconds = unseen_seconds
        self._seen_at = self._looked_at = clock()

    def visited(self) -> None:
        """Somebody asked something."""
        self._seen_at = self._clock()

    def is_lost(self, *, is_busy: bool) -> bool:
        """Whether nobody asked anything for so long, while no answer was written."""
        now = self._clock()
        if is_busy or now - self._looked_at > SLEEP_SECONDS:
            self._seen_at = now
        self._looked_at = now
        return now - self._seen_at > self._unseen_seconds
