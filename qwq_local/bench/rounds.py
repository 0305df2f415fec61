"""Rounds of reading and writing tokens, timed: no text, no sampling, no requests, as llama.cpp's own llama-bench does it.

Tokens are drawn at random from the vocabulary, since a model takes the same time for any. Of a prompt only the last token's logits are
wanted, of what is written each one's.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from qwq_local.backend import BatchToken, Vocabulary
from qwq_local.errors import SettingsError
from qwq_local.machine.contention import Contention

MOST_TOKENS: Final = 1_000_000
MOST_ROUNDS: Final = 1000

OnProgress = Callable[[str, int, int], None]
"""What is done, how many of its steps are, and how many there are."""


class TimedBackend(Protocol):
    """What is timed: as much of `backend.Backend` as it takes, and a way to wait for devices that work on by themselves."""

    @property
    def n_batch(self) -> int:
        """Tokens one decode can read."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's vocabulary."""
        ...

    def decode(self, batch: Sequence[BatchToken]) -> None:
        """Read a batch."""
        ...

    def truncate(self, sequence: int, n_tokens: int) -> None:
        """Forget all but the first `n_tokens` of a sequence."""
        ...

    def wait(self) -> None:
        """Wait until what was read last is really done."""
        ...


@dataclass(frozen=True)
class BenchSettings:
    """How many tokens are read and written, and how often; what is written is so behind nothing, and behind `depth` tokens.

    Raises SettingsError for what cannot be.
    """

    n_prefill: int = 512
    n_decode: int = 128
    depth: int = 0
    n_rounds: int = 3

    def __post_init__(self) -> None:
        _check("prefill", self.n_prefill, 1, MOST_TOKENS)
        _check("decode", self.n_decode, 1, MOST_TOKENS)
        _check("depth", self.depth, 0, MOST_TOKENS)
        _check("rounds", self.n_rounds, 1, MOST_ROUNDS)

    @property
    def depths(self) -> tuple[int, ...]:
        """How many tokens stand before what is written."""
        return (0, self.depth) if self.depth else (0,)

    @property
    def n_ctx(self) -> int:
        """The context that it takes, in tokens."""
        return max(self.n_prefill, self.depth + self.n_decode)


@dataclass(frozen=True)
class Speeds:
    """Tokens a second of each round of so many tokens, behind `depth` others; where `is_disturbed` they are too low."""

    n_tokens: int
    depth: int
    rounds: tuple[float, ...]
    is_disturbed: bool

    @property
    def median(self) -> float:
        """The one to go by: a moment when the machine does something else does not count."""
        return statistics.median(self.rounds)


class Rounds:
    """Times a backend, whose first sequence it fills and empties. Raises what `decode` does."""

    def __init__(self, backend: TimedBackend, settings: BenchSettings, on_progress: OnProgress) -> None:
        self._backend, self._settings, self._on_progress = backend, settings, on_progress
        rng = random.Random(0)  # noqa: S311 - any tokens will do
        self._tokens = [rng.randrange(backend.vocabulary.n_tokens) for _ in range(settings.n_ctx)]

    def warm_up(self) -> None:
        """Read once what is read later: weights come from the disk, kernels are chosen, clocks rise."""
        self._read("warming up", self._settings.n_prefill)
        self._backend.truncate(0, 0)

    def prefill(self) -> Speeds:
        """How fast a prompt is read."""
        n_tokens, n_rounds = self._settings.n_prefill, self._settings.n_rounds

        def read(number: int) -> None:
            self._backend.truncate(0, 0)
            self._read("prefill", n_tokens, number, n_rounds)

        return self._timed(read, n_tokens, 0)

    def decode(self, depth: int) -> Speeds:
        """How fast tokens follow behind so many, one by one."""
        n_tokens, n_rounds = self._settings.n_decode, self._settings.n_rounds
        stage = f"decode behind {depth:,}" if depth else "decode"
        self._backend.truncate(0, 0)
        if depth:
            self._read(f"reading {depth:,} tokens", depth)

        def write(number: int) -> None:
            self._backend.truncate(0, depth)
            for i in range(n_tokens):
                self._on_progress(stage, number * n_tokens + i, n_rounds * n_tokens)
                self._decode(depth + i, 1)

        return self._timed(write, n_tokens, depth)

    def _timed(self, round_of: Callable[[int], None], n_tokens: int, depth: int) -> Speeds:
        contention = Contention()
        rounds = []
        for number in range(self._settings.n_rounds):
            started_at = time.perf_counter()
            round_of(number)
            rounds.append(n_tokens / (time.perf_counter() - started_at))
        return Speeds(n_tokens, depth, tuple(rounds), contention.is_disturbing)

    def _read(self, stage: str, n_tokens: int, number: int = 0, n_rounds: int = 1) -> None:
        for place in range(0, n_tokens, self._backend.n_batch):
            self._on_progress(stage, number * n_tokens + place, n_rounds * n_tokens)
            self._decode(place, min(self._backend.n_batch, n_tokens - place))

    def _decode(self, position: int, n_tokens: int) -> None:
        places = range(position, position + n_tokens)
        self._backend.decode([BatchToken(self._tokens[place], place, 0, place == places[-1]) for place in places])
        self._backend.wait()


def _check(name: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        hint = "Three to ten are usual." if name == "rounds" else "It counts tokens."
        raise SettingsError(f"{name} is {count:,}, but must lie between {least:,} and {most:,}.", hint=hint)
