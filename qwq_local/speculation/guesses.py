"""What is known of one text: where it goes on as another did, and how often guesses for it were right (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qwq_local.speculation.acceptance import Acceptance
from qwq_local.speculation.ngrams import LEAST_MATCH, MOST_MISSED, NgramIndex, Trail

NGRAM_PRIOR: Final = (0.2, 0.3, 0.4, 0.6, 0.8, 0.9)
"""What to expect of a guess behind less than 3 like tokens, 3, 4 to 7, 8 to 15, 16 to 31 and more, before anything was seen."""
MODEL_PRIOR: Final = (0.7,)
"""The same of a draft model."""
LEAST_CHANCE: Final = 0.1
"""Guesses that are less likely are not offered: no machine reads ten tokens in the time of one and a tenth."""
FIRST_PATIENCE, MOST_PATIENCE = 256, 2048
"""Tokens until a draft model that did not pay is tried again; twice as many after each trial in vain."""


class TextGuesses:
    """Follows one text, and offers what may come next.

    `general` is what was learned of n-grams on all texts, `general_model` of the draft model.
    """

    def __init__(self, tokens: Sequence[int], index: NgramIndex, general: Acceptance, general_model: Acceptance) -> None:
        self._tokens = tokens
        self._index = index
        self._number = index.begin(tokens)
        self._n_followed = len(tokens)
        self._trail: Trail | None = None
        self._acceptance = Acceptance(general)
        self._model = Acceptance(general_model)
        self._patience = FIRST_PATIENCE
        self._trial_at = len(tokens)

    def follow(self) -> None:
        """Take in what has been written since the last call."""
        tokens, trail = self._tokens, self._trail
        for place in range(self._n_followed, len(tokens)):
            if trail is None:
                break
            right = trail.next_token == tokens[place]
            self._acceptance.note(_kind(trail.n_alike), right=right)
            trail.step(right=right)
            if trail.n_missed > MOST_MISSED:
                trail = None
        self._n_followed = len(tokens)
        self._index.extend(self._number)
        if trail is None or trail.next_token is None or trail.n_alike < LEAST_MATCH:
            trail = self._index.find(tokens) or trail
        self._trail = trail if trail and trail.next_token is not None else None

    def chances(self, n_most: int) -> list[float]:
        """For each guess from n-grams the chance that it is right, and all before it."""
        chances: list[float] = []
        if self._trail is None:
            return chances
        chance = 1.0
        for n in range(self._trail.n_guesses(self._tokens, n_most)):
            chance *= self._acceptance.chance(_kind(self._trail.n_alike + n))
            if chance < LEAST_CHANCE:
                break
            chances.append(chance)
        return chances

    def guesses(self, n: int) -> list[int]:
        """The first n of those that there were chances for."""
        return self._trail.guesses(n) if self._trail else []

    def model_chances(self, n_most: int) -> list[float]:
        """The same of a draft model's guesses."""
        chance = self._model.hopeful_chance(0)
        chances = [chance**n for n in range(1, n_most + 1)]
        return [chance for chance in chances if chance >= LEAST_CHANCE]

    @property
    def tries_model(self) -> bool:
        """Whether the draft model is due another trial, though it did not pay."""
        return len(self._tokens) >= self._trial_at

    def note_model(self, n_guesses: int, n_right: int, *, is_trial: bool) -> None:
        """So many of a draft model's guesses were right, up to the first that was not."""
        for _ in range(n_right):
            self._model.note(0, right=True)
        if n_right < n_guesses:
            self._model.note(0, right=False)
        self._patience = min(2 * self._patience, MOST_PATIENCE) if is_trial else FIRST_PATIENCE
        self._trial_at = len(self._tokens) + self._patience

    def end(self) -> None:
        """The text is written; others may go on as it does."""
        self._index.end(self._number)


def _kind(n_alike: int) -> int:
    return 0 if n_alike < LEAST_MATCH else min(n_alike.bit_length(), 6) - 1
