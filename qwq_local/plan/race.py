"""What it costs to write several samples of an answer at once (pure).

Their tokens are drawn step by step, one of each. In a step the weights are read once for all, the keys and values once for each sample.
What a CPU computes grows with the samples too, and soon takes longer than reading, so its rates are those measured with as many streams. A
GPU is taken to compute while it reads, whatever their number: what follows from that is the least that a race costs there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qwq_local.machine.machine import Machine, shared_rate_name
from qwq_local.plan.plan import Candidate
from qwq_local.plan.speed import TYPICAL_TOKENS, cache_seconds, gpu_weights_seconds, host_work

RACES: Final = (2, 3, 5)
"""Numbers of samples that are told of."""


@dataclass(frozen=True)
class RaceCost:
    """Of so many samples at once.

    Each token takes `slowdown` times as long as that of a single answer, or at least so long where it `is_least`; None where it is not
    known. Each sample may have `tokens_each`, less its share of the prompt.
    """

    n_samples: int
    slowdown: float | None
    is_least: bool
    tokens_each: int


def cost_of_race(candidate: Candidate, machine: Machine, n_samples: int) -> RaceCost:
    """What so many samples cost, each with a typical number of tokens in its context, or with as many as it may have."""
    tokens_each = candidate.placement.n_ctx // n_samples
    n_filled = min(TYPICAL_TOKENS, tokens_each)
    alone, together = (_step_seconds(candidate, machine, n_streams, n_filled) for n_streams in (1, n_samples))
    slowdown = together / alone if alone and together else None
    return RaceCost(n_samples, slowdown, candidate.placement.gpu_layers > 0, tokens_each)


def _step_seconds(candidate: Candidate, machine: Machine, n_streams: int, n_filled: int) -> float | None:
    """The time of a token of each stream; None where the CPU's part of it was not measured."""
    placement, offer = candidate.placement, candidate.offer
    seconds = gpu_weights_seconds(placement, machine) + n_streams * cache_seconds(placement, machine, n_filled)
    for name, n_bytes in host_work(placement, offer.tensors, offer.types).items():
        rate = machine.cpu_rates.get(shared_rate_name(name, n_streams))
        if rate is None:
            return None
        seconds += n_bytes / rate
    return seconds
