"""How likely a guess is right, learned from guesses before it (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

MEMORY: Final = 64.0
"""Guesses after which what came before counts half."""
PRIOR_WEIGHT: Final = 4.0
"""Guesses that what was known before counts for."""
HOPE: Final = 0.5
"""Of one guess: the standard deviation of what is right as often as not."""


class Acceptance:
    """For each kind of guess, the share that was right; of late rather than ever. `prior` says what holds before anything was seen."""

    def __init__(self, prior: Acceptance | Sequence[float]) -> None:
        self._prior = prior
        n_kinds = prior.n_kinds if isinstance(prior, Acceptance) else len(prior)
        self._right = [0.0] * n_kinds
        self._all = [0.0] * n_kinds

    @property
    def n_kinds(self) -> int:
        """How many kinds of guesses are told apart."""
        return len(self._all)

    def chance(self, kind: int) -> float:
        """The probability that a guess of this kind is right."""
        prior = self._prior.chance(kind) if isinstance(self._prior, Acceptance) else self._prior[kind]
        return (self._right[kind] + PRIOR_WEIGHT * prior) / (self._all[kind] + PRIOR_WEIGHT)

    def hopeful_chance(self, kind: int) -> float:
        """The probability at the upper edge of what was seen so far, so that few bad beginnings do not end the matter."""
        return min(1.0, self.chance(kind) + HOPE / math.sqrt(1 + self.n_seen(kind)))

    def n_seen(self, kind: int) -> float:
        """Guesses of this kind that it knows of, of late."""
        return self._all[kind] + (self._prior.n_seen(kind) if isinstance(self._prior, Acceptance) else 0.0)

    def note(self, kind: int, *, right: bool) -> None:
        """A guess was right, or was not; the prior learns of it too, where it is one that learns."""
        if isinstance(self._prior, Acceptance):
            self._prior.note(kind, right=right)
        self._right[kind] += right
        self._all[kind] += 1
        if self._all[kind] > MEMORY:
            self._right[kind] /= 2
            self._all[kind] /= 2
