"""Reading ahead: what the next turn of a chat will begin with is read in while nothing else runs."""

from __future__ import annotations

from collections import deque
from typing import Final

from qwq_local.backend import Backend, BatchToken, InterruptedDecodeError, Rope
from qwq_local.engine.cache import KvCache
from qwq_local.errors import DecodeError

MOST_WANTED: Final = 8
"""Beginnings that wait to be read; of more, the oldest are forgotten."""


class ReadAhead:
    """Reads beginnings of requests to come, one after the other, a piece at each `step`; true while there is one left."""

    def __init__(self, backend: Backend, cache: KvCache) -> None:
        self._backend = backend
        self._cache = cache
        self._wanted: deque[tuple[Rope, tuple[int, ...]]] = deque(maxlen=MOST_WANTED)
        self._sequence: int | None = None
        self._n_read = 0

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def add(self, tokens: tuple[int, ...], rope: Rope) -> None:
        """Want these tokens read under this scaling."""
        if tokens and len(tokens) <= min(self._backend.n_ctx, self._backend.n_cells):
            self.pause()
            self._wanted.append((rope, tokens))

    def pause(self) -> None:
        """Leave the sequence in the cache, where it is found again, by `step` or by the request that it was read for."""
        if self._sequence is not None:
            self._cache.retire(self._sequence)
            self._sequence = None

    def step(self, n_most: int) -> None:
        """Read on, at most `n_most` tokens; a beginning that is read, or cannot be read now, is wanted no more."""
        if self._wanted and not self._read_on(*self._wanted[0], n_most):
            self.pause()
            self._wanted.popleft()

    def _read_on(self, rope: Rope, tokens: tuple[int, ...], n_most: int) -> bool:
        """Whether there is more to read of this beginning, and it can be read."""
        if rope != self._backend.rope:
            return False
        if self._sequence is None:
            self._sequence, self._n_read = self._cache.open(tokens)
        end = min(self._n_read + min(n_most, self._backend.n_batch), len(tokens))
        if not self._cache.make_room(end - self._n_read):
            return False
        try:
            self._cache.decode([BatchToken(tokens[i], i, self._sequence, wants_logits=False) for i in range(self._n_read, end)])
        except InterruptedDecodeError:
            return True
        except DecodeError:
            return False
        self._n_read = end
        return end < len(tokens)
