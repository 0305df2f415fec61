"""Whether other programs needed the CPU while something was measured; only Linux tells."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

MOST_WAITING: Final = 0.05
"""Of the time, for all threads together: while one of them has no core the others wait for it, and a product takes ten times as long."""
THREADS: Final = Path("/proc/self/task")


class Contention:
    """How long the threads of this process wait for a core, from when it is made."""

    def __init__(self) -> None:
        self._began_at, self._waited_before = time.perf_counter(), waiting_seconds()

    @property
    def is_disturbing(self) -> bool:
        """Whether they waited so long that what was measured is too low."""
        return waiting_seconds() - self._waited_before > MOST_WAITING * (time.perf_counter() - self._began_at)


def waiting_seconds() -> float:
    """How long the threads of this process were ready to run and had no core (Linux, Documentation/scheduler/sched-stats.rst)."""
    waited = 0
    for path in THREADS.glob("*/schedstat"):
        with suppress(OSError):  # a thread that ended meanwhile
            waited += int(path.read_text().split()[1])
    return waited / 1e9
