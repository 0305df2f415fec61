"""The engine's numbers, for others to show (pure)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from qwq_local.backend import Rope
from qwq_local.engine.request import FinishReason, Usage

REMEMBERED: Final = 64
"""Steps and first tokens that the rates are taken from."""


ProcessState = Literal["unloaded", "waiting to start", "loading", "ready", "closed"]


@dataclass(frozen=True)
class ProcessStatus:
    """How the engine's process is: `loaded_share` goes from 0.0 to 1.0, `deaths` counts those since the start, `last_error` is the last.

    It is ended in `stays_seconds` unless somebody asks, or after so many without requests while there are some; None: never.
    """

    state: ProcessState
    pid: int | None
    loaded_share: float
    deaths: int
    last_error: Exception | None
    stays_seconds: float | None


@dataclass(frozen=True)
class Snapshot:
    """One moment, and the sums since the start.

    Speeds are tokens a second over the last steps: `decode` of all requests together, `prefill` where prompts were read. `finished` counts
    requests by their finish reason. `reused_tokens` are those that did not have to be read, since the KV cache held them.
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
    set_aside: int
    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    mean_first_token_seconds: float


class Counters:
    """What is counted from batch to batch and from answer to answer."""

    def __init__(self) -> None:
        self._finished: Counter[FinishReason] = Counter()
        self._failed = 0
        self._usage: Counter[str] = Counter()
        self._decoded: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)
        self._prefilled: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)
        self._first_tokens: deque[float] = deque(maxlen=REMEMBERED)

    def note_batch(self, n_tokens: int, n_drawn: int, seconds: float) -> None:
        """A batch was read in so many seconds; after `n_drawn` of its tokens one was drawn."""
        if n_tokens > 2 * n_drawn:
            self._prefilled.append((n_tokens, seconds))
        else:
            self._decoded.append((n_drawn, seconds))

    def note_first_token(self, seconds: float) -> None:
        """A request got its first token so long after it came."""
        self._first_tokens.append(seconds)

    def note_end(self, reason: FinishReason, usage: Usage) -> None:
        """A request has ended."""
        self._finished[reason] += 1
        self._usage.update(
            prompt=usage.prompt_tokens,
            completion=usage.completion_tokens,
            reasoning=usage.reasoning_tokens,
            cached=usage.cached_tokens,
        )

    def note_failure(self) -> None:
        """A request was lost to an error."""
        self._failed += 1

    def snapshot(
        self, jobs: tuple[int, int], cells: tuple[int, int], set_aside: int, reused_tokens: int, rope: Rope, reading_ahead: bool
    ) -> Snapshot:
        """All of it; `jobs` are those that run and those that wait, `cells` those used and all."""
        return Snapshot(
            *jobs,
            *cells,
            rope,
            reading_ahead,
            dict(self._finished),
            self._failed,
            self._usage["prompt"],
            self._usage["completion"],
            self._usage["reasoning"],
            self._usage["cached"],
            reused_tokens,
            set_aside,
            _rate(self._decoded),
            _rate(self._prefilled),
            sum(self._first_tokens) / len(self._first_tokens) if self._first_tokens else 0.0,
        )


def _rate(steps: deque[tuple[int, float]]) -> float:
    seconds = sum(taken for _, taken in steps)
    return sum(n for n, _ in steps) / seconds if seconds > 0 else 0.0
