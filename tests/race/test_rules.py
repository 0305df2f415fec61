"""Which sample is handed on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.engine import Failed, Finished, FinishReason, Timings, Usage
from qwq_local.errors import DecodeError
from qwq_local.race.rules import Ended, first_to_end, majority, votes

RESULTS = ("1", "2", "3", None)
N_SAMPLES = 5


def ended(place: int, reason: FinishReason = "stop", content: str = "so") -> Ended:
    return Ended(place, Finished(reason, Usage(1, 1, 0), Timings(0, 0, 0), "native", place), content)


def failed(place: int) -> Ended:
    return Ended(place, Failed(DecodeError("lost")))


def answered(results: Sequence[str | None]) -> list[Ended]:
    """Samples that ended with these results, those of the last places first."""
    n = len(results)
    return [ended(n - 1 - i, content="none" if result is None else f"\\boxed{{{result}}}") for i, result in enumerate(results)]


def test_the_first_to_end_by_itself_wins_a_race() -> None:
    assert first_to_end([ended(2, "length"), failed(3), ended(1), ended(0)], 4) == 1
    assert first_to_end([ended(2, "length"), failed(3)], 1) is None
    assert first_to_end([], 3) is None


@pytest.mark.parametrize(
    ("samples", "winner"),
    [
        ([ended(0, "length", ""), ended(1, "repetition")], 1),
        ([ended(0, "repetition"), ended(1, "length")], 1),
        ([ended(0, "length", " "), ended(1, "length"), ended(2, "length")], 1),
        ([failed(0), ended(1, "cancelled", "")], 1),
        ([failed(0), failed(1)], None),
    ],
)
def test_where_none_ends_by_itself_the_best_of_what_there_is_is_taken(samples: list[Ended], winner: int | None) -> None:
    assert first_to_end(samples, 0) == winner
    assert majority(samples, 0) == winner


def test_the_first_with_the_commonest_result_wins_a_vote() -> None:
    samples = answered(["2", "1", "1", "2", "1"])
    assert majority(samples, 0) == samples[1].place
    assert votes(samples) == {"2": 2, "1": 3}


def test_of_equal_counts_the_result_that_came_first_wins() -> None:
    samples = answered(["2", "1", "1", "2"])
    assert majority(samples, 0) == samples[0].place
    assert list(votes(samples)) == ["2", "1"]


def test_answers_without_a_result_and_answers_cut_short_do_not_vote() -> None:
    samples = [ended(0, content="132"), ended(1, "length", r"\boxed{1}"), ended(2, content=r"\boxed{2}")]
    assert votes(samples) == {"2": 1}
    assert majority(samples, 0) == 2


def test_where_nobody_has_a_result_the_first_to_end_by_itself_wins_once_all_have_ended() -> None:
    samples = [ended(2, "length"), ended(1), ended(0)]
    assert majority(samples, 1) is None
    assert majority(samples, 0) == 1


@given(st.lists(st.sampled_from(RESULTS), max_size=N_SAMPLES))
def test_a_vote_is_decided_as_soon_as_nothing_can_change_it_and_not_before(results: list[str | None]) -> None:
    n_running = N_SAMPLES - len(results)
    # Whatever those that still run come to, a result that nobody had among them.
    finals = {majority(answered([*results, *rest]), 0) for rest in product((*RESULTS, "new"), repeat=n_running)}
    found = majority(answered(results), n_running)
    place = None if found is None else found + n_running  # answered() counts the places from behind
    if any(results):
        assert (place is not None) == (len(finals) == 1)
    if place is not None:
        assert finals == {place}
