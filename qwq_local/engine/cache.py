"""What stands in the KV cache and what stood there lately, so that no prefix is read twice (pure but for the backend it is given).

A sequence is live while a job writes to it, and idle afterwards: its cells stay until others need them, the least lately used first. Idle
sequences that must go are spilled: kept in host memory, up to a budget. Sequences that begin alike share their cells, so the books count
cells and not tokens.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice

from qwq_local.backend import Backend, BatchToken, InterruptedDecodeError, Rope
from qwq_local.engine.prefix import LONG, TILE, SavedPrefix, n_spared
from qwq_local.engine.spill import LEAST_SPILLED, Spill
from qwq_local.errors import DecodeError
from qwq_local.speculation.alike import common_prefix


@dataclass
class _Held:
    """A sequence in the cache: its tokens, and the cell of each."""

    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)


class KvCache:
    """Keeps the books of a backend's sequences, and is the only one to change them.

    `spill_bytes` is the budget of host memory for sequences that had to go.
    """

    def __init__(self, backend: Backend, spill_bytes: int = 0) -> None:
        self._backend = backend
        self._free = list(reversed(range(backend.n_sequences)))
        self._live: dict[int, _Held] = {}
        self._idle: OrderedDict[int, _Held] = OrderedDict()
        self._spill = Spill(spill_bytes)
        self._new_cells = count()
        self._sharers: Counter[int] = Counter()
        self._n_used = 0
        self.n_reused_tokens = 0

    @property
    def n_free(self) -> int:
        """Cells that nothing holds."""
        return self._backend.n_cells - self._n_used

    @property
    def n_available(self) -> int:
        """Cells that no live sequence holds: the free ones, and those of idle sequences."""
        return self._backend.n_cells - len(set(chain.from_iterable(held.cells for held in self._live.values())))

    @property
    def n_used(self) -> int:
        """Cells that some sequence holds."""
        return self._n_used

    @property
    def has_sequence(self) -> bool:
        """Whether another sequence can be opened."""
        return bool(self._free or self._idle)

    def live_prefix(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` would be taken over from live sequences."""
        return max((n_spared(held.tokens, tokens) for held in self._live.values()), default=0)

    def open(self, tokens: Sequence[int]) -> tuple[int, int]:
        """A live sequence that begins as `tokens` do, and how many of them it holds: all but the last at most, which must be read anew."""
        sequence, n_held = self._restore(tokens) or self._begin_as_another(tokens)
        self.n_reused_tokens += n_held
        return sequence, n_held

    def decode(self, batch: Sequence[BatchToken]) -> None:
        """Read tokens of live sequences, for which there must be room.

        Raises what `Backend.decode` does; then each sequence is as it was, whatever of the batch had been read.
        """
        try:
            self._backend.decode(batch)
        except (InterruptedDecodeError, DecodeError):
            for sequence in {entry.sequence for entry in batch}:
                self._backend.truncate(sequence, len(self._live[sequence].tokens))
            raise
        for entry in batch:
            held = self._live[entry.sequence]
            assert entry.position == len(held.tokens), f"position {entry.position} behind {len(held.tokens)} tokens"
            self._append(held, [entry.token])

    def trim(self, sequence: int, n_tokens: int) -> None:
        """Forget all but the first tokens of a live sequence."""
        held = self._live[sequence]
        if n_tokens < len(held.tokens):
            self._cut(sequence, held, n_tokens)

    def retire(self, sequence: int, n_tokens: int | None = None) -> None:
        """A live sequence becomes idle, with its first `n_tokens`; one whose tokens stand elsewhere too is dropped."""
        held = self._live[sequence]
        if n_tokens is not None:
            self._cut(sequence, held, n_tokens)
        del self._live[sequence]
        if not held.tokens or any(common_prefix(other.tokens, held.tokens) == len(held.tokens) for _, other in self._sequences()):
            self._drop(sequence, held)
            return
        for i in [i for i, other in self._idle.items() if common_prefix(other.tokens, held.tokens) == len(other.tokens)]:
            self._drop(i, self._idle.pop(i))
        self._idle[sequence] = held

    def make_room(self, n_cells: int) -> bool:
        """Let idle sequences go until so many cells are free; False where that does not suffice."""
        while self.n_free < n_cells and self._idle:
            self._evict()
        return self.n_free >= n_cells

    def use_rope(self, rope: Rope) -> None:
        """Switch the scaling, while nothing is live; what is idle is spilled for the way back."""
        assert not self._live, "a switch of the scaling would lose what jobs have read"
        if rope == self._backend.rope:
            return
        while self._idle:
            self._evict()
        self._backend.use_rope(rope)

    def audit(self) -> None:
        """Assert that the books agree with each other: on sequences, on cells and who shares them, and on the budget."""
        sequences = sorted([*self._free, *self._live, *self._idle])
        assert sequences == [*range(self._backend.n_sequences)], "a sequence is lost, or is two things"
        cells = [held.cells for _, held in self._sequences()]
        n_held, n_distinct = sum(map(len, cells)), len(set(chain.from_iterable(cells)))
        assert (self._n_used, self._sharers.total()) == (n_distinct, n_held - n_distinct), "cells are miscounted"
        assert all(len(held.tokens) == len(held.cells) for _, held in self._sequences()), "a token has no cell"
        self._spill.audit()

    def saved(self, most_bytes: int) -> Iterator[SavedPrefix]:
        """What is worth keeping beyond this context's life, the most lately used first, up to so many bytes."""
        for i, held in reversed(self._idle.items()):
            size_bytes = self._backend.state_bytes(i)
            if len(held.tokens) >= LEAST_SPILLED and size_bytes <= most_bytes and (saved := self._save(i, held)):
                most_bytes -= size_bytes
                yield saved
        for prefix in self._spill:
            if len(prefix.state) <= most_bytes:
                most_bytes -= len(prefix.state)
                yield prefix

    def take(self, prefixes: Iterable[SavedPrefix]) -> None:
        """Let what was saved of an earlier context be found, the first as the most lately used."""
        for prefix in reversed(list(prefixes)):
            self._spill.put(prefix)

    def _append(self, held: _Held, tokens: Sequence[int]) -> None:
        held.tokens.extend(tokens)
        held.cells.extend(islice(self._new_cells, len(tokens)))
        self._n_used += len(tokens)

    def _sequences(self) -> Iterator[tuple[int, _Held]]:
        yield from self._live.items()
        yield from self._idle.items()

    def _best(self, tokens: Sequence[int]) -> tuple[int | None, int]:
        """The sequence that spares most of `tokens`, and how many; None and 0 where none spares any."""
        spared = {sequence: n_spared(held.tokens, tokens) for sequence, held in self._sequences()}
        best = max(spared, key=lambda sequence: spared[sequence], default=None)
        return (None, 0) if best is None or not spared[best] else (best, spared[best])

    def _restore(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """A live sequence in the state of the spilled prefix that spares most of `tokens`; None where none is worth it.

        The prefix stays where it is when only its beginning is of use: it is another chat's, which will come back.
        """
        found = self._spill.best(self._backend.rope, tokens, self._best(tokens)[1], self.n_available)
        if found is None:
            return None
        prefix, n_held = found
        self.make_room(len(prefix.tokens))
        sequence, held = self._open_empty()
        try:
            self._backend.restore(sequence, prefix.state)
        except (DecodeError, MemoryError):  # a state that llama.cpp does not take is worth nothing: its tokens are read instead
            self._spill.forget(prefix)
            self._drop(sequence, self._live.pop(sequence))
            return None
        if len(prefix.tokens) - n_held < TILE:
            self._spill.forget(prefix)
        self._append(held, prefix.tokens)
        self._cut(sequence, held, n_held)
        return sequence, n_held

    def _begin_as_another(self, tokens: Sequence[int]) -> tuple[int, int]:
        """A live sequence in the cells of the one that spares most of `tokens`; in its place, where it is idle and of use to no other."""
        source, n_held = self._best(tokens)
        if source is None:
            return self._open_empty()[0], 0
        if source in self._idle:
            if self._is_nearly_all(source, n_held) or (not self._free and len(self._idle) == 1):
                self._live[source] = held = self._idle.pop(source)
                self._cut(source, held, n_held)
                return source, n_held
            self._idle.move_to_end(source)
        sequence, held = self._open_empty()
        shared = self._live.get(source) or self._idle[source]
        self._backend.copy(source, sequence, n_held)
        held.tokens, held.cells = shared.tokens[:n_held], shared.cells[:n_held]
        self._sharers.update(held.cells)
        return sequence, n_held

    def _is_nearly_all(self, idle: int, n_tokens: int) -> bool:
        """Whether an idle sequence has little more than its first tokens, and nothing that another might begin as."""
        return len(self._idle[idle].tokens) - n_tokens < (TILE if n_tokens >= LONG else 1)

    def _open_empty(self) -> tuple[int, _Held]:
        if not self._free:
            self._evict()
        sequence = self._free.pop()
        self._live[sequence] = held = _Held()
        return sequence, held

    def _evict(self) -> None:
        """Let the least lately used idle sequence go."""
        sequence, held = self._idle.popitem(last=False)
        if self._spill.takes(len(held.tokens), self._backend.state_bytes(sequence)) and (saved := self._save(sequence, held)):
            self._spill.put(saved)
        self._drop(sequence, held)

    def _save(self, sequence: int, held: _Held) -> SavedPrefix | None:
        """A sequence as it is; None where that cannot be had, and its tokens will be read again."""
        try:
            return SavedPrefix(self._backend.rope, tuple(held.tokens), self._backend.save(sequence))
        except (DecodeError, MemoryError):
            return None

    def _drop(self, sequence: int, held: _Held) -> None:
        self._cut(sequence, held, 0)
        self._free.append(sequence)

    def _cut(self, sequence: int, held: _Held, n_tokens: int) -> None:
        self._backend.truncate(sequence, n_tokens)
        for cell in held.cells[n_tokens:]:
            if self._sharers[cell]:
                self._sharers[cell] -= 1
            else:
                del self._sharers[cell]
                self._n_used -= 1
        del held.tokens[n_tokens:], held.cells[n_tokens:]
