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
from typing import Final

from qwq_local.backend import Backend, BatchToken, InterruptedDecodeError, Rope
from qwq_local.errors import DecodeError

COMPARED_AT_ONCE: Final = 256
LEAST_SPILLED: Final = 32
"""Tokens; fewer are read again as fast as they are restored."""
LEAST_SHARE: Final = 4
"""A spilled prefix is brought back where at least this part of it is of use."""
TILE, FEW, LONG = 64, 8, 1024
"""llama.cpp's flash attention on the CPU takes 64 tokens at a time; from FEW to there it takes them one by one, six times slower
(ggml_compute_forward_flash_attn_ext, ggml/src/ggml-cpu/ops.cpp). Behind a LONG prefix it pays to read some of that again."""


@dataclass(frozen=True)
class SavedPrefix:
    """Tokens with what the KV cache held of them, good for contexts of this scaling (and of the same model and KV type)."""

    rope: Rope
    tokens: tuple[int, ...]
    state: bytes


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
        self._spill_bytes = spill_bytes
        self._free = list(reversed(range(backend.n_sequences)))
        self._live: dict[int, _Held] = {}
        self._idle: OrderedDict[int, _Held] = OrderedDict()
        self._spilled: OrderedDict[tuple[Rope, tuple[int, ...]], SavedPrefix] = OrderedDict()
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
        return max((_usable(common_prefix(held.tokens, tokens), len(tokens)) for held in self._live.values()), default=0)

    def open(self, tokens: Sequence[int]) -> tuple[int, int]:
        """A live sequence that begins as `tokens` do, and how many of them it holds: all but the last at most, which must be read anew."""
        restored = self._restore(tokens, self._best(tokens)[1])
        if restored is not None:
            sequence, n_held = restored
        else:
            source, n_held = self._best(tokens)
            sequence = self._continue(source, n_held) if self._is_nearly(source, n_held) else self._share(source, n_held)
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

    def saved(self, most_bytes: int) -> Iterator[SavedPrefix]:
        """What is worth keeping beyond this context's life, the most lately used first, up to so many bytes."""
        for i, held in reversed(self._idle.items()):
            size_bytes = self._backend.state_bytes(i)
            if len(held.tokens) >= LEAST_SPILLED and size_bytes <= most_bytes:
                most_bytes -= size_bytes
                yield SavedPrefix(self._backend.rope, tuple(held.tokens), self._backend.save(i))
        for prefix in reversed(self._spilled.values()):
            if len(prefix.state) <= most_bytes:
                most_bytes -= len(prefix.state)
                yield prefix

    def take(self, prefixes: Iterable[SavedPrefix]) -> None:
        """Let what was saved of an earlier context be found, the first as the most lately used."""
        for prefix in reversed(list(prefixes)):
            self._spill(prefix)

    def _append(self, held: _Held, tokens: Sequence[int]) -> None:
        held.tokens.extend(tokens)
        held.cells.extend(islice(self._new_cells, len(tokens)))
        self._n_used += len(tokens)

    def _sequences(self) -> Iterator[tuple[int, _Held]]:
        yield from self._live.items()
        yield from self._idle.items()

    def _best(self, tokens: Sequence[int]) -> tuple[int, int]:
        """The sequence that holds most of `tokens`, and how many of them are best taken over. -1 and 0 where none holds any."""
        lengths = {i: _usable(common_prefix(held.tokens, tokens), len(tokens)) for i, held in self._sequences()}
        best = max(lengths, key=lambda i: lengths[i], default=-1)
        return (best, lengths[best]) if lengths.get(best) else (-1, 0)

    def _is_nearly(self, sequence: int, n_tokens: int) -> bool:
        """Whether an idle sequence has little more than these first tokens, and nothing that another might begin as."""
        return sequence in self._idle and 0 <= len(self._idle[sequence].tokens) - n_tokens < (TILE if n_tokens >= LONG else 1)

    def _continue(self, sequence: int, n_tokens: int) -> int:
        self._live[sequence] = held = self._idle.pop(sequence)
        self._cut(sequence, held, n_tokens)
        return sequence

    def _restore(self, tokens: Sequence[int], n_held: int) -> tuple[int, int] | None:
        """The spilled prefix that holds most of `tokens`, brought back; None where none is worth it.

        It stays where it is when only its beginning is of use: another chat's, which will come back.
        """
        found = max(self._spilled, key=lambda key: self._gain(key, tokens, n_held), default=None)
        if found is None or not self._gain(found, tokens, n_held) or not self.make_room(len(found[1])) or found not in self._spilled:
            return None
        prefix, n_used = self._spilled[found], _usable(common_prefix(found[1], tokens), len(tokens))
        sequence = self._take_sequence()
        self._live[sequence] = _Held()
        try:
            self._backend.restore(sequence, prefix.state)
        except DecodeError:  # a state that llama.cpp does not take is worth nothing: its tokens are read instead
            self._spilled.pop(found, None)
            self._drop(sequence, self._live.pop(sequence))
            return None
        if len(prefix.tokens) - n_used < TILE:
            self._spilled.pop(found, None)
        self._append(self._live[sequence], prefix.tokens)
        self._cut(sequence, self._live[sequence], n_used)
        return sequence, n_used

    def _gain(self, key: tuple[Rope, tuple[int, ...]], tokens: Sequence[int], n_held: int) -> int:
        """How many tokens more a spilled prefix would spare; none where there is no room for it, or little of it is of use."""
        rope, spilled = key
        if rope != self._backend.rope or len(spilled) > self.n_available:
            return 0
        n_used = _usable(common_prefix(spilled, tokens), len(tokens))
        return n_used - n_held if n_used - n_held >= LEAST_SPILLED and LEAST_SHARE * n_used >= len(spilled) else 0

    def _share(self, source: int, n_tokens: int) -> int:
        """A live sequence in the cells of the first tokens of another."""
        if not self._free and [*self._idle] == [source]:  # the only one that could go is the one to begin as
            return self._continue(source, n_tokens)
        if source in self._idle:
            self._idle.move_to_end(source)
        sequence = self._take_sequence()
        self._live[sequence] = held = _Held()
        if n_tokens:
            shared = self._live.get(source) or self._idle[source]
            self._backend.copy(source, sequence, n_tokens)
            held.tokens, held.cells = shared.tokens[:n_tokens], shared.cells[:n_tokens]
            self._sharers.update(held.cells)
        return sequence

    def _take_sequence(self) -> int:
        if not self._free:
            self._evict()
        return self._free.pop()

    def _evict(self) -> None:
        sequence, held = self._idle.popitem(last=False)
        if len(held.tokens) >= LEAST_SPILLED and self._backend.state_bytes(sequence) <= self._spill_bytes:
            self._spill(SavedPrefix(self._backend.rope, tuple(held.tokens), self._backend.save(sequence)))
        self._drop(sequence, held)

    def _spill(self, prefix: SavedPrefix) -> None:
        if len(prefix.state) > self._spill_bytes:
            return
        self._spilled[prefix.rope, prefix.tokens] = prefix
        self._spilled.move_to_end((prefix.rope, prefix.tokens))
        while sum(len(kept.state) for kept in self._spilled.values()) > self._spill_bytes:
            self._spilled.popitem(last=False)

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


def _usable(n_held: int, n_tokens: int) -> int:
    """How many of a prompt's tokens are best taken over, of those that are held: all but the last at most, which must be read anew."""
    n_unread = max(1, n_tokens - n_held)
    return n_tokens - (TILE if n_held >= LONG and FEW <= n_unread < TILE else n_unread)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    shorter = min(len(a), len(b))
    for start in range(0, shorter, COMPARED_AT_ONCE):
        end = min(start + COMPARED_AT_ONCE, shorter)
        if list(a[start:end]) != list(b[start:end]):
            return next(i for i in range(start, end) if a[i] != b[i])
    return shorter
