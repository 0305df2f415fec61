"""How much of a prompt is read at once while others write (pure)."""

from __future__ import annotations

from typing import Final

LEAST_TOKENS: Final = 64
"""Fewer are slower (engine.prefix.TILE)."""
SMOOTHING: Final = 0.3


class Pace:
    """Learns how long a token of a prompt takes, and keeps a step near `step_seconds`, so that those who write do not stand still."""

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._token_seconds = 0.0

    def note(self, n_tokens: int, seconds: float) -> None:
        """A batch of so many tokens took so long; small ones say more of the weights than of the tokens."""
        if n_tokens >= LEAST_TOKENS:
            found = seconds / n_tokens
            self._token_seconds = found if not self._token_seconds else self._token_seconds + SMOOTHING * (found - self._token_seconds)

    @property
    def n_prefill(self) -> int:
        """Tokens of prompts to read beside others' next tokens."""
        if not self._token_seconds:
            return LEAST_TOKENS
        return max(LEAST_TOKENS, int(self._step_seconds / self._token_seconds))
