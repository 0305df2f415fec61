"""Means with their uncertainties, and quantiles (pure), as llama.cpp's llama-perplexity computes them.

The formulas are those of `mean_and_uncertainty`, `covariance` and `percentile` in tools/perplexity/perplexity.cpp. An uncertainty is one
standard error: it takes the places of a text for independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHARES: Final = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Of all places, those that lie at or below a quantile."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure and its standard error."""

    value: float
    uncertainty: float

    def exponential(self) -> Estimate:
        """Of e to the power of it."""
        value = math.exp(self.value)
        return Estimate(value, value * self.uncertainty)


@dataclass(frozen=True)
class Quantiles:
    """What so many of all values do not exceed, by their share."""

    by_share: dict[float, float]

    @property
    def median(self) -> float:
        """Half of them."""
        return self.by_share[0.5]


def mean_of(values: Values) -> Estimate:
    """The mean of at least one value."""
    n_values = len(values)
    return Estimate(float(values.mean()), math.sqrt(values.var() / (n_values - 1)) if n_values > 1 else 0.0)


def share_of(n_true: int, n_values: int) -> Estimate:
    """The share of `n_values` places that something holds for."""
    share = n_true / n_values
    return Estimate(share, math.sqrt(share * (1 - share) / (n_values - 1)) if n_values > 1 else 0.0)


def root_mean_square(values: Values) -> Estimate:
    """The root of the mean of the squares."""
    squares = mean_of(values**2)
    root = math.sqrt(squares.value)
    return Estimate(root, 0.5 / root * squares.uncertainty if root else 0.0)


def covariance_of_means(first: Values, second: Values) -> float:
    """How the means of two figures of the same places go together."""
    n_values = len(first)
    return float((first * second).mean() - first.mean() * second.mean()) / (n_values - 1) if n_values > 1 else 0.0


def quantiles_of(values: Values) -> Quantiles:
    """With what lies between two values taken on the line between them."""
    return Quantiles(dict(zip(SHARES, np.quantile(values, SHARES).tolist(), strict=True)))
