"""How long it takes to read so many tokens at once, learned from every step (pure)."""

from __future__ import annotations

import math
from typing import Final

GAIN: Final = 0.1
"""How much of what surprises at one step is believed."""
MOST_SURPRISE: Final = math.log(2)
"""A step that took longer than this, as a logarithm, tells of the machine's other work."""
BELIEVED_AFTER: Final = 2
FORGOTTEN_AFTER: Final = 2048
"""Steps after which a width that was not seen meanwhile is worth another try."""


class StepCost:
    """The seconds that a batch of 1 to `most` tokens takes.

    The logarithm of each is a sum: what all widths have in common, which drifts as texts grow and machines heat, and what is the width's
    own. A width that was not seen is thought to be cheap, so that it is tried: for each token beyond the next smaller one that was seen it
    takes what a token of a prompt does (`token_seconds`), and half of what tokens took so far. It is tried BELIEVED_AFTER times, since
    machines stumble, and the quickest counts.
    """

    def __init__(self, most: int) -> None:
        self._common = 0.0
        self._own: dict[int, float] = {}
        self._seen_at: dict[int, int] = {}
        self._n_seen: dict[int, int] = {}
        self._most = most
        self._n_steps = 0
        self.token_seconds = 0.0

    def note(self, width: int, seconds: float) -> None:
        """A step of so many tokens took so long."""
        if not 0 < width <= self._most or seconds <= 0:
            return
        self._n_steps += 1
        found = math.log(seconds) - self._common
        if self._is_forgotten(width):
            self._own[width], self._n_seen[width] = found, 1
        elif not self._is_known(width):
            self._own[width], self._n_seen[width] = min(found, self._own[width]), self._n_seen[width] + 1
        else:
            surprise = max(-MOST_SURPRISE, min(MOST_SURPRISE, found - self._own[width]))
            self._common += GAIN * surprise
            self._own[width] += GAIN * surprise
        self._seen_at[width] = self._n_steps

    def seconds(self, width: int) -> float:
        """What a step of so many tokens will take; 0.0 where nothing is known."""
        if self._is_known(width):
            return self._known(width)
        below = next((n for n in range(width - 1, 0, -1) if self._is_known(n)), 0)
        above = next((n for n in range(width + 1, self._most + 1) if self._is_known(n)), 0)
        hoped = self._hoped(width, below) if below else width * self.token_seconds
        return min(hoped, self._known(above)) if above else hoped

    def _hoped(self, width: int, below: int) -> float:
        """The least that a width can be thought to take, by the next smaller one; up to twice that, beyond which nothing is gained."""
        known = self._known(below)
        if width > 2 * below:
            return known * width / below
        slope = (known - self._known(1)) / (below - 1) if below > 1 and self._is_known(1) else 0.0
        return known + (width - below) * max(self.token_seconds, slope / 2)

    def _is_forgotten(self, width: int) -> bool:
        return width not in self._own or self._n_steps - self._seen_at[width] >= FORGOTTEN_AFTER

    def _is_known(self, width: int) -> bool:
        return not self._is_forgotten(width) and self._n_seen[width] >= BELIEVED_AFTER

    def _known(self, width: int) -> float:
        return math.exp(self._common + self._own[width])
