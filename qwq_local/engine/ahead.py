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
        """Read on, at most `n_most` tokens; a beginning that cannot be read now is given up."""
        if not self._wanted:
            return
        rope, tokens = self._wanted[0]
        if rope != self._backend.rope:
            self._wanted.popleft()
            return
        if self._sequence is None:
            self._sequence, self._n_read = self._cache.open(tokens)
        n_tokens = min(n_most, self._backend.n_batch, len(tokens) - self._n_read)
        if not self._cache.make_room(n_tokens):
            self._give_up()
            return
        self._read(self._sequence, tokens[self._n_read : self._n_read + n_tokens])
        if self._n_read == len(tokens):
            self._give_up()

    def _give_up(self) -> None:
        self.pause()
        self._wanted.popleft()

    def _read(self, sequence: int, tokens: tuple[int, ...]) -> None:
        batch = [BatchToken(token, self._n_read + i, sequence, wants_logits=False) for i, token in enumerate(tokens)]
        try:
            self._backend.decode(batch)
        except (InterruptedDecodeError, DecodeError) as error:
            self._cache.forget_unread(sequence)
            if isinstance(error, DecodeError):
                self._give_up()
            return
        self._cache.append(sequence, tokens)
        self._n_read += len(tokens)
