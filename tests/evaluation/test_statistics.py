"""What graded answers say: shares with their intervals, majorities, and two runs against each other."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.evaluation.sample import Sample
from qwq_local.evaluation.statistics import clustered, compare, consensus_of, exchange_test, summarize, summarize_groups, wilson
from tests.evaluation.samples import PLAIN


def answers(*found: str, right: str = "a", name: str = "q0") -> list[Sample]:
    """To one question."""
    return [replace(PLAIN, question=name, index=i, found=each, is_right=each == right) for i, each in enumerate(found)]


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (0.0, 20, 0.0, 0.1611), (1.0, 20, 0.8389, 1.0), (81 / 263, 263, 0.2553, 0.3662)],
)
def test_intervals_are_wilsons(share: float, n: int, low: float, high: float) -> None:
    """The last row is an example of Newcombe's (Statist. Med. 17, 1998, table I)."""
    found = wilson(share, n)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_with_one_answer_to_each_question_the_interval_is_wilsons(rights: list[bool]) -> None:
    found, expected = clustered([*map(float, rights)]), wilson(statistics.fmean(rights), len(rights))
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(2, 8))
def test_asking_again_what_is_answered_alike_makes_nothing_surer(rights: list[bool], n_samples: int) -> None:
    once = [sample for i, right in enumerate(rights) for sample in answers("a" if right else "b", name=str(i))]
    often = [sample for i, right in enumerate(rights) for sample in answers(*["a" if right else "b"] * n_samples, name=str(i))]
    assert summarize(often).pass_at_1 == summarize(once).pass_at_1


def test_the_most_frequent_answer_decides_a_consensus() -> None:
    assert consensus_of(answers("b", "a", "a")) == 1
    assert consensus_of(answers("b", "b", "a")) == 0
    assert consensus_of(answers("b", "a")) == 0.5
    assert consensus_of(answers("", "", "a")) == 1
    assert consensus_of(answers("", "")) == 0


@given(st.lists(st.fractions(-1, 1, max_denominator=4), min_size=1, max_size=9))
def test_the_chance_of_a_difference_is_that_of_all_ways_to_exchange(differences: list[Fraction]) -> None:
    steps = [float(each) for each in differences]
    ways = itertools.product((1, -1), repeat=len(steps))
    sums = [abs(sum(sign * each for sign, each in zip(signs, steps, strict=True))) for signs in ways]
    expected = sum(each >= abs(sum(steps)) - 1e-9 for each in sums) / len(sums)
    assert exchange_test(differences) == pytest.approx(expected)


def test_with_one_answer_each_it_is_mcnemars_exact_test() -> None:
    """2 discordant pairs one way and 10 the other: twice the binomial tail, 2 * (1 + 12 + 66) / 4096."""
    differences = [Fraction(1)] * 10 + [Fraction(-1)] * 2 + [Fraction(0)] * 30
    assert exchange_test(differences) == pytest.approx(158 / 4096)


def test_two_runs_are_compared_on_the_questions_of_both() -> None:
    first = [*answers("a", name="x"), *answers("b", name="y"), *answers("a", name="only here")]
    second = [*answers("a", name="x"), *answers("a", name="y")]
    found = compare(first, second)
    assert found is not None
    assert (found.n_questions, found.n_better, found.n_worse, found.difference.value, found.p_value) == (2, 1, 0, 0.5, 1.0)
    assert compare(first, answers("a", name="elsewhere")) is None


def test_a_summary_counts_what_went_wrong() -> None:
    samples = [
        PLAIN,
        replace(PLAIN, question="q1", ending="length", is_right=False, found="", completion_tokens=90, reasoning_tokens=90),
        replace(PLAIN, question="q2", ending="repetition", is_right=False, found="b", group="hard"),
        replace(PLAIN, question="q3", ending="error", is_right=False, found="", group="hard"),
    ]
    found = summarize(samples)
    assert (found.truncated, found.repeated, found.failed, found.without_answer) == (0.25, 0.25, 0.25, 0.5)
    assert (found.pass_at_1.value, found.completion_tokens, found.reasoning_tokens) == (0.25, 45, 37.5)
    assert {name: group.n_questions for name, group in summarize_groups(samples).items()} == {"": 2, "hard": 2}
    assert summarize_groups(samples[:2]) == {}
