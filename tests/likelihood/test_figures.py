"""Means, errors and quantiles, against figures worked out by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.likelihood.estimates import mean_of, quantiles_of, root_mean_square, share_of
from qwq_local.likelihood.figures import Extent, Perplexity, divergence_of
from qwq_local.likelihood.scores import Compared

EXTENT = Extent(1, 8, 4)


def found(surprises: list[float], base: list[float], divergences: list[float], same: list[bool]) -> Compared:
    return Compared(np.array(surprises), np.array(base), np.array(divergences), np.array(same))


def test_a_mean_has_its_standard_error() -> None:
    estimate = mean_of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert estimate.value == 2.5
    assert estimate.uncertainty == pytest.approx(math.sqrt(1.25 / 3))
    assert mean_of(np.array([5.0])).uncertainty == 0


def test_a_perplexity_is_e_to_the_mean_surprise_with_an_error_in_proportion() -> None:
    perplexity = Perplexity("m", EXTENT, mean_of(np.array([1.0, 2.0, 3.0, 4.0]))).perplexity
    assert perplexity.value == pytest.approx(math.exp(2.5))
    assert perplexity.uncertainty == pytest.approx(math.exp(2.5) * math.sqrt(1.25 / 3))


def test_a_share_has_the_error_of_a_coin() -> None:
    share = share_of(3, 4)
    assert share.value == 0.75
    assert share.uncertainty == pytest.approx(0.25)
    assert share_of(4, 4).uncertainty == 0


def test_quantiles_lie_on_the_line_between_values() -> None:
    quantiles = quantiles_of(np.array([4.0, 1.0, 3.0, 2.0]))
    assert (quantiles.by_share[0.0], quantiles.median, quantiles.by_share[1.0]) == (1, 2.5, 4)
    assert quantiles.by_share[0.9] == pytest.approx(3.7)


def test_the_root_mean_square_s_error_follows_from_that_of_the_squares() -> None:
    root = root_mean_square(np.array([3.0, 4.0]))
    assert root.value == pytest.approx(math.sqrt(12.5))
    assert root.uncertainty == pytest.approx(0.5 / math.sqrt(12.5) * 3.5)
    assert root_mean_square(np.zeros(4)).uncertainty == 0


def test_a_ratio_s_error_is_that_of_the_differences_place_by_place() -> None:
    surprises, base = [1.0, 2.0, 3.5, 4.0], [0.9, 2.1, 3.0, 3.8]
    figures = divergence_of("m", "b", EXTENT, found(surprises, base, [0.1, 0.2, 0.3, 0.4], [True, True, False, True]))
    differences = mean_of(np.array(surprises) - np.array(base))
    assert figures.log_ratio.value == pytest.approx(differences.value)
    assert figures.log_ratio.uncertainty == pytest.approx(differences.uncertainty)
    assert figures.correlation == pytest.approx(np.corrcoef(surprises, base)[0, 1])
    assert figures.ratio.value == pytest.approx(figures.perplexity.value / figures.base_perplexity.value)
    assert figures.same_top.value == 0.75
    assert figures.change.value == pytest.approx(np.mean(np.exp(-np.array(surprises)) - np.exp(-np.array(base))))


def test_a_model_beside_itself_differs_in_nothing() -> None:
    figures = divergence_of("m", "m", EXTENT, found([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0] * 3, [True] * 3))
    assert (figures.ratio.value, figures.divergence.value, figures.change_rms.value, figures.same_top.value) == (1, 0, 0, 1)
    assert figures.log_ratio.uncertainty == pytest.approx(0, abs=1e-9)
    assert figures.correlation == pytest.approx(1)


def test_where_all_places_surprise_alike_nothing_goes_together() -> None:
    assert divergence_of("m", "b", EXTENT, found([2.0] * 3, [1.0] * 3, [0.5] * 3, [True] * 3)).correlation is None


@given(st.lists(st.floats(0, 50), min_size=1, max_size=40))
def test_quantiles_grow_with_the_share(values: list[float]) -> None:
    found = [*quantiles_of(np.array(values)).by_share.values()]
    assert all(low <= high + 1e-12 for low, high in pairwise(found))
    assert (found[0], found[-1]) == (min(values), max(values))
