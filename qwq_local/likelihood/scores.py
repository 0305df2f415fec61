"""What logits say of the tokens that follow (pure), by the rows of a batch, as llama.cpp's tools/perplexity/perplexity.cpp computes it.

Logarithms are natural ones, so that all figures are in nats. Sums are taken in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

LEAST_LOG_PROBABILITY: Final = -16.0
"""A token that the base finds less likely adds nothing to the divergence, be there ever so many."""
PIECE_ELEMENTS: Final = 2**19
"""Logits that one core works on at a time: then what it needs beside them stays within some 20 MB, whatever the vocabulary."""

Result = TypeVar("Result")


class Compared(NamedTuple):
    """A model beside its base, by places: surprise at the token that follows under each of the two, divergence, and the likeliest token."""

    surprises: NDArray[np.float64]
    base_surprises: NDArray[np.float64]
    divergences: NDArray[np.float64]
    is_same_top: NDArray[np.bool_]


def surprises(logits: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.float64]:
    """-log(probability) of each row's target; logits are (rows, vocabulary), targets (rows)."""
    found: NDArray[np.float64] = log_sums(logits) - _at(logits, targets)
    return found


def compared(base: NDArray[np.float32], logits: NDArray[np.float32], targets: NDArray[np.int32]) -> Compared:
    """A model's logits beside the logarithms of its base's probabilities, both (rows, vocabulary).

    The divergence is the Kullback-Leibler divergence of the model from the base: sum of p_base * (log p_base - log p).
    """
    sums = log_sums(logits)
    wide = base.astype(np.float64)
    terms = np.exp(wide)
    terms *= wide - (logits - sums[:, None])
    terms[base <= LEAST_LOG_PROBABILITY] = 0
    return Compared(sums - _at(logits, targets), -_at(base, targets), terms.sum(1), logits.argmax(1) == base.argmax(1))


def log_sums(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logarithm of the sum of e to the power of each row's logits."""
    top = logits.max(1, keepdims=True)
    found: NDArray[np.float64] = np.log(np.exp(logits - top).sum(1, dtype=np.float64)) + top[:, 0]
    return found


def in_pieces(threads: ThreadPoolExecutor, work: Callable[..., Result], *rows: NDArray[Any]) -> list[Result]:
    """What `work` makes of a few rows at a time, in order; each of `rows` has as many, and the first a column for each token."""
    n_rows, width = rows[0].shape
    step = max(1, PIECE_ELEMENTS // width)
    parts = [slice(begin, begin + step) for begin in range(0, n_rows, step)]
    return list(threads.map(lambda part: work(*(each[part] for each in rows)), parts))


def _at(rows: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.float64]:
    return rows[np.arange(len(targets)), targets].astype(np.float64)
