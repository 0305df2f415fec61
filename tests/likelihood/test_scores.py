"""Surprise and divergence by rows: against figures worked out by hand, and the laws that any figures must obey."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qwq_local.likelihood import scores
from qwq_local.likelihood.scores import compared, in_pieces, log_sums, surprises

Logits = NDArray[np.float32]
LOGITS = arrays(np.float32, (6, 9), elements=st.floats(-30, 30, width=32))
TARGETS = np.array([0, 8, 3, 3, 1, 5], np.int32)


def log_probabilities(logits: Logits) -> Logits:
    found: Logits = (logits - log_sums(logits)[:, None]).astype(np.float32)
    return found


def test_a_surprise_is_the_logarithm_worked_out_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], np.float32)) + np.float32(11)
    assert surprises(logits, np.array([0, 1], np.int32)) == pytest.approx([0.693147, 1.609438], abs=1e-5)


def test_a_divergence_is_the_sum_worked_out_by_hand() -> None:
    base = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    logits = np.log(np.array([[0.25, 0.75], [0.8, 0.2]], np.float32)) - np.float32(4)
    found = compared(base, logits, np.array([1, 0], np.int32))
    # 0.5 ln 2 + 0.5 ln(2/3), and 0.9 ln(9/8) + 0.1 ln(1/2)
    assert found.divergences == pytest.approx([0.143841, 0.036690], abs=1e-5)
    assert found.surprises == pytest.approx([0.287682, 0.223144], abs=1e-5)
    assert found.base_surprises == pytest.approx([0.693147, 0.105361], abs=1e-5)
    assert found.is_same_top.tolist() == [False, True]


def test_what_the_base_finds_all_but_impossible_adds_nothing() -> None:
    base = np.array([[0.0, -16.0, -15.9]], np.float32)
    without = compared(base, np.array([[0.0, -500.0, -15.9]], np.float32), np.array([0], np.int32))
    assert abs(without.divergences[0]) < 1e-6
    found = compared(base, np.array([[0.0, -16.0, -500.0]], np.float32), np.array([0], np.int32))
    assert found.divergences[0] == pytest.approx(np.exp(-15.9) * 484.1, rel=1e-2)


@given(LOGITS, LOGITS)
def test_no_divergence_is_below_zero(base: Logits, logits: Logits) -> None:
    found = compared(log_probabilities(base), logits, TARGETS)
    # Nine tokens below e^-16, and the rounding of float32.
    assert (found.divergences > -1e-5).all()
    assert (found.surprises > -1e-6).all()


@given(LOGITS)
def test_nothing_diverges_from_itself(logits: Logits) -> None:
    found = compared(log_probabilities(logits), logits, TARGETS)
    assert found.divergences == pytest.approx(0, abs=1e-5)
    assert found.surprises == pytest.approx(found.base_surprises, abs=1e-5)


@given(LOGITS, LOGITS, st.floats(-10, 10, width=32))
def test_a_constant_added_to_all_logits_changes_nothing(base: Logits, logits: Logits, constant: float) -> None:
    known = log_probabilities(base)
    before, after = (compared(known, each, TARGETS) for each in (logits, logits + np.float32(constant)))
    assert after.divergences == pytest.approx(before.divergences, abs=1e-4)
    assert after.surprises == pytest.approx(before.surprises, abs=1e-5)


def test_logits_that_would_overflow_are_scored() -> None:
    logits = np.array([[1e4, 0.0, -1e4]], np.float32)
    assert surprises(logits, np.array([0], np.int32)).tolist() == [0.0]


def test_work_in_pieces_gives_all_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(1).normal(size=(100, 7)).astype(np.float32)
    targets = np.arange(100, dtype=np.int32) % 7
    monkeypatch.setattr(scores, "PIECE_ELEMENTS", 7 * 9)
    with ThreadPoolExecutor(4) as threads:
        found = in_pieces(threads, surprises, logits, targets)
        assert [len(piece) for piece in found] == [9] * 11 + [1]
        assert np.array_equal(np.concatenate(found), surprises(logits, targets))
        monkeypatch.setattr(scores, "PIECE_ELEMENTS", 3)
        assert len(in_pieces(threads, surprises, logits, targets)) == 100
