"""Prefixes that had to leave the KV cache, kept in host memory (pure)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final

from qwq_local.backend import Rope
from qwq_local.engine.prefix import SavedPrefix, n_spared

LEAST_SPILLED: Final = 32
"""Tokens; fewer are read again as fast as they are restored."""
LEAST_SHARE: Final = 4
"""A spilled prefix is brought back where at least this part of it is of use."""


class Spill:
    """Holds at most `most_bytes` of states; the least lately used go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._prefixes: OrderedDict[tuple[Rope, tuple[int, ...]], SavedPrefix] = OrderedDict()

    def __iter__(self) -> Iterator[SavedPrefix]:
        """All, the most lately used first."""
        return reversed(self._prefixes.values())

    def takes(self, n_tokens: int, n_bytes: int) -> bool:
        """Whether a prefix of such a size is kept."""
        return n_tokens >= LEAST_SPILLED and n_bytes <= self._most_bytes

    def put(self, prefix: SavedPrefix) -> None:
        """Keep a prefix, as the most lately used; one that is larger than all may be pushes no other out."""
        if len(prefix.state) > self._most_bytes:
            return
        key = prefix.rope, prefix.tokens
        self._prefixes[key] = prefix
        self._prefixes.move_to_end(key)
        while self._n_bytes() > self._most_bytes:
            self._prefixes.popitem(last=False)

    def audit(self) -> None:
        """Assert that no more is held than may be."""
        assert self._n_bytes() <= self._most_bytes, "more is spilled than may be"

    def forget(self, prefix: SavedPrefix) -> None:
        """Keep it no longer."""
        self._prefixes.pop((prefix.rope, prefix.tokens), None)

    def best(self, rope: Rope, prompt: Sequence[int], n_held: int, n_room: int) -> tuple[SavedPrefix, int] | None:
        """The prefix that spares most of a prompt, and how many tokens; None where none is worth it.

        It must fit into `n_room` cells, spare clearly more than the `n_held` tokens that are spared without it, and be of use in good part.
        """
        fitting = [prefix for prefix in self._prefixes.values() if prefix.rope == rope and len(prefix.tokens) <= n_room]
        spared = [(prefix, n_spared(prefix.tokens, prompt)) for prefix in fitting]
        worth = [(prefix, n) for prefix, n in spared if n - n_held >= LEAST_SPILLED and LEAST_SHARE * n >= len(prefix.tokens)]
        return max(worth, key=itemgetter(1), default=None)

    def _n_bytes(self) -> int:
        return sum(len(prefix.state) for prefix in self._prefixes.values())
