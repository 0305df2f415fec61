"""The engine's numbers, for others to show (pure)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from qwq_local.backend import Rope
from qwq_local.engine.request import FinishReason, Usage

REMEMBERED: Final = 64
"""Steps that the rates are taken from."""


@dataclass(frozen=True)
class Snapshot:
    """One moment, and the sums since the start.

    Speeds are tokens a second over the last steps: `decode` of all requests together, `prefill` where prompts were read. `finished` counts
    requests by their finish reason. `reused_tokens` are those that did not have to be read, since the KV cache held them; `drafted_tokens`
    were guessed and read with the token before them, `accepted_tokens` of them were right.
    """

    running: int
    waiting: int
    used_cells: int
    all_cells: int
    rope: Rope
    reading_ahead: bool
    finished: Mapping[FinishReason, int]
    failed: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_prompt_tokens: int
    reused_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    set_aside: int
    decode_tokens_per_second: float
    prefill_tokens_per_second: float


class Counters:
    """What is counted from batch to batch and from answer to answer; the sums are Snapshot's."""

    def __init__(self) -> None:
        self.finished: Counter[FinishReason] = Counter()
        self.failed = 0
        self.prompt_tokens = self.completion_tokens = self.reasoning_tokens = self.cached_prompt_tokens = 0
        self._decoded: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)
        self._prefilled: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)

    @property
    def decode_tokens_per_second(self) -> float:
        """Over the last steps in which answers were written."""
        return _rate(self._decoded)

    @property
    def prefill_tokens_per_second(self) -> float:
        """Over the last steps in which prompts were read."""
        return _rate(self._prefilled)

    def note_prompts(self, n_tokens: int, seconds: float) -> None:
        """So many tokens, most of them of prompts, were read in so many seconds."""
        self._prefilled.append((n_tokens, seconds))

    def note_written(self, n_tokens: int, seconds: float) -> None:
        """So many tokens were written in a step of so many seconds."""
        self._decoded.append((n_tokens, seconds))

    def note_end(self, reason: FinishReason, usage: Usage) -> None:
        """A request has ended."""
        self.finished[reason] += 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.cached_prompt_tokens += usage.cached_tokens


def _rate(steps: deque[tuple[int, float]]) -> float:
    seconds = sum(taken for _, taken in steps)
    return sum(n for n, _ in steps) / seconds if seconds > 0 else 0.0
