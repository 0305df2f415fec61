"""What a bench found (pure): speeds beside what the memory could give, and what the plan predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwq_local.bench.rounds import Speeds
from qwq_local.models.store import ModelFile
from qwq_local.plan.placement import Placement
from qwq_local.survey import Expectation


@dataclass(frozen=True)
class Memory:
    """A memory that weights are read from: bytes a second, measured here or as its maker says."""

    name: str
    bandwidth: float
    is_measured: bool = False


@dataclass(frozen=True)
class Decoding:
    """How fast tokens were written, and what there is to compare it with.

    A token reads `read_bytes` of each memory; nothing can write more than `limit` tokens a second, and the plan, without what it learnt,
    reckons with `predicted`.
    """

    speeds: Speeds
    read_bytes: tuple[int, ...]
    limit: float
    predicted: float

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.speeds.median / self.limit

    @property
    def ratio(self) -> float:
        """Measured / predicted."""
        return self.speeds.median / self.predicted


@dataclass(frozen=True)
class BenchReport:
    """All that was found. `notes` are things that whoever reads the figures should know.

    `is_small`: the weights sit in caches, at least in part, so that shares and ratios say nothing. `correction` is what the plan has learnt
    so far to multiply its predictions with. `expectation` keeps what was found for the next plan; where it must not, `why_not_kept` says
    why.
    """

    file: ModelFile
    placement: Placement
    load_seconds: float
    memories: tuple[Memory, ...]
    prefill: Speeds
    decodings: tuple[Decoding, ...]
    is_small: bool
    correction: float
    notes: tuple[str, ...]
    why_not_kept: str
    expectation: Expectation | None = None

    def keep(self) -> bool:
        """Let the next plan reckon with it; False where the folder cannot be written."""
        assert not self.why_not_kept, "asked only where it may be kept"
        assert self.expectation is not None, "likewise"
        return self.expectation.keep(*(decoding.ratio for decoding in self.decodings))


def decoding(speeds: Speeds, read_bytes: Sequence[int], memories: Sequence[Memory], predicted: float) -> Decoding:
    """A token waits for one memory after the other, since layers follow each other."""
    seconds = sum(n_bytes / memory.bandwidth for n_bytes, memory in zip(read_bytes, memories, strict=True))
    return Decoding(speeds, tuple(read_bytes), 1 / seconds, predicted)
