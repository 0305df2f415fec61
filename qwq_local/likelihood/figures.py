"""What came of scoring a text (pure): figures with their errors, as llama-perplexity defines them (tools/perplexity/perplexity.cpp)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwq_local.likelihood.chunks import Chunks
from qwq_local.likelihood.estimates import (
    Estimate,
    Quantiles,
    covariance_of_means,
    mean_of,
    quantiles_of,
    root_mean_square,
    share_of,
)
from qwq_local.likelihood.scores import Compared


@dataclass(frozen=True)
class Extent:
    """What was read: chunks of so many tokens, `n_scored` of all of them scored."""

    n_chunks: int
    n_ctx: int
    n_scored: int

    @classmethod
    def of(cls, chunks: Chunks) -> Extent:
        """Of chunks that are all read."""
        return cls(chunks.n_chunks, chunks.n_ctx, chunks.n_chunks * chunks.n_scored)


@dataclass(frozen=True)
class Perplexity:
    """How surprised a model is by a text: `surprise` is the mean of -log(probability) in nats, and perplexity e to the power of it."""

    model: str
    extent: Extent
    surprise: Estimate
    notes: tuple[str, ...] = ()

    @property
    def perplexity(self) -> Estimate:
        """Among how many equally likely tokens it would be as unsure."""
        return self.surprise.exponential()


@dataclass(frozen=True)
class Divergence:
    """How far a model's next tokens are from those of its base, over the same text.

    `surprise` and `base_surprise` are as `Perplexity` has it; `log_ratio` is their difference, whose error is smaller than either's where
    they go together; `correlation` says how much, and is None where one of them never changes. `divergence` is the mean Kullback-Leibler
    divergence from the base in nats; `change` that of the probability of the text's own token, model less base, and `change_rms` its root
    mean square; `same_top` the share of places where both find the same token likeliest. At `n_at_floor` places the base found the text's
    own token less likely than its log-probabilities, kept in 16 bits, can tell: its perplexity, and so the ratio, is off by that.
    """

    model: str
    base: str
    extent: Extent
    surprise: Estimate
    base_surprise: Estimate
    log_ratio: Estimate
    correlation: float | None
    divergence: Estimate
    divergences: Quantiles
    change: Estimate
    changes: Quantiles
    change_rms: Estimate
    same_top: Estimate
    n_at_floor: int = 0
    notes: tuple[str, ...] = ()

    @property
    def perplexity(self) -> Estimate:
        """The model's."""
        return self.surprise.exponential()

    @property
    def base_perplexity(self) -> Estimate:
        """The base's."""
        return self.base_surprise.exponential()

    @property
    def ratio(self) -> Estimate:
        """Of the model's perplexity to the base's."""
        return self.log_ratio.exponential()


def divergence_of(model: str, base: str, extent: Extent, found: Compared) -> Divergence:
    """The figures of all places."""
    surprise, base_surprise = mean_of(found.surprises), mean_of(found.base_surprises)
    covariance = covariance_of_means(found.surprises, found.base_surprises)
    errors = surprise.uncertainty, base_surprise.uncertainty
    variance = max(errors[0] ** 2 + errors[1] ** 2 - 2 * covariance, 0.0)
    changes: NDArray[np.float64] = np.exp(-found.surprises) - np.exp(-found.base_surprises)
    return Divergence(
        model=model,
        base=base,
        extent=extent,
        surprise=surprise,
        base_surprise=base_surprise,
        log_ratio=Estimate(surprise.value - base_surprise.value, math.sqrt(variance)),
        correlation=covariance / (errors[0] * errors[1]) if all(errors) else None,
        divergence=mean_of(found.divergences),
        divergences=quantiles_of(found.divergences),
        change=mean_of(changes),
        changes=quantiles_of(changes),
        change_rms=root_mean_square(changes),
        same_top=share_of(int(found.is_same_top.sum()), len(found.is_same_top)),
    )
