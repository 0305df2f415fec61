"""How fast this machine's RAM can be read at all, measured: what no model in it can exceed.

Every usable core goes through memory of its own that it wrote first, so that on a machine with several nodes each reads what is near it.
It does next to nothing with what it reads: it keeps the OR in one round, the largest number in the next. For a while all read as fast as
they can, and none waits for another. Of all rounds the best is taken, since whatever disturbs a round makes it slower, and a bound is
wanted. What is read is larger than caches; one as large as a sixteenth of it makes the figure up to a sixteenth too high.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Final

from qwq_local.machine import hardware

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES: Final = 2**30
RAM_SHARE: Final = 4
"""The part of the free RAM that may be taken for it."""
PIECE_BYTES: Final = 2**24
"""Read between two looks at the clock."""
N_ROUNDS: Final = 10
ROUND_SECONDS: Final = 0.1


def read_bandwidth(n_threads: int, most_bytes: int = MOST_BYTES, round_seconds: float = ROUND_SECONDS) -> float:
    """Bytes a second that so many threads read together. Raises OSError where the system does not tell how much RAM is free."""
    import numpy as np

    n_bytes = min(most_bytes, hardware.ram_bytes()[1] // RAM_SHARE)
    n_pieces = max(1, n_bytes // PIECE_BYTES // n_threads)
    with ThreadPoolExecutor(n_threads, "qwq-reading") as threads:
        parts = list(threads.map(_write, [n_pieces] * n_threads))
        rates = []
        for _, read in zip(range(N_ROUNDS), cycle((np.bitwise_or.reduce, np.maximum.reduce))):
            rates.append(sum(threads.map(partial(_rate, read, round_seconds), parts)))
    return max(rates)


def _write(n_pieces: int) -> list[np.ndarray]:
    import numpy as np

    return np.array_split(np.ones(n_pieces * PIECE_BYTES // 8, np.int64), n_pieces)


def _rate(read: Callable[[np.ndarray], object], round_seconds: float, pieces: list[np.ndarray]) -> float:
    """Bytes a second of one thread that goes through its memory again and again."""
    started_at = time.perf_counter()
    for n_read, piece in enumerate(cycle(pieces), start=1):
        read(piece)
        seconds = time.perf_counter() - started_at
        if seconds >= round_seconds:
            return n_read * PIECE_BYTES / seconds
    raise AssertionError("a cycle has no end")
