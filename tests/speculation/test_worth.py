"""What guesses cost, how likely they are, and how many are worth reading."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.speculation.acceptance import Acceptance
from qwq_local.speculation.cost import BELIEVED_AFTER, FORGOTTEN_AFTER, StepCost
from qwq_local.speculation.widths import LEAST_GAIN, Offer, best_rate, choose


def falling(chance: float, n: int) -> list[float]:
    return [chance**i for i in range(1, n + 1)]


def linear(first: float, more: float) -> Callable[[int], float]:
    """Seconds for so many tokens: for the first, and for each further one."""
    return lambda width: first + (width - 1) * more


def test_free_guesses_are_all_read_and_dear_ones_never() -> None:
    offers = [Offer(falling(0.5, 6))]
    assert choose(1, offers, 10, linear(1, 0)) == [6]
    assert choose(1, offers, 4, linear(1, 0)) == [4]
    assert choose(1, offers, 10, linear(1, 1)) == [0]
    assert choose(1, [Offer(falling(1.0, 6))], 10, linear(1, 1)) == [0]


def test_the_room_goes_to_the_likeliest() -> None:
    assert choose(2, [Offer(falling(0.9, 5)), Offer(falling(0.5, 5))], 6, linear(1, 0)) == [5, 1]


def test_what_it_takes_to_find_guesses_counts() -> None:
    assert choose(1, [Offer(falling(0.9, 4), find_seconds=0.1)], 8, linear(1, 0)) == [4]
    assert choose(1, [Offer(falling(0.9, 4), find_seconds=1.0)], 8, linear(1, 0)) == [0]


def test_nothing_is_read_while_nobody_knows_what_a_step_costs() -> None:
    assert choose(1, [Offer(falling(0.9, 4))], 8, lambda _: 0.0) == [0]
    assert best_rate(1, Offer(falling(0.9, 4)), lambda _: 0.0) == 0


@given(
    st.lists(st.lists(st.floats(0, 1), max_size=6).map(lambda chances: sorted(chances, reverse=True)), min_size=1, max_size=4),
    st.floats(0.001, 1),
    st.floats(0, 1),
    st.integers(0, 30),
)
def test_the_choice_is_the_best_there_is_and_never_worse_than_none(
    chances: list[list[float]], first: float, more: float, room: int
) -> None:
    offers, cost, n_texts = [Offer(each) for each in chances], linear(first, more), len(chances)
    counts = choose(n_texts, offers, room, cost)
    assert sum(counts) <= room

    def rate(some: list[int]) -> float:
        expected = n_texts + sum(sum(offer.chances[:n]) for offer, n in zip(offers, some, strict=True))
        return expected / cost(n_texts + sum(some))

    chosen, plain = rate(counts), rate([0] * n_texts)
    assert chosen >= plain
    if any(counts):
        assert chosen > plain * LEAST_GAIN * 0.999
    ranked = sorted((chance for each in chances for chance in each), reverse=True)[:room]
    best = max((n_texts + sum(ranked[:n])) / cost(n_texts + n) for n in range(len(ranked) + 1))
    assert chosen == pytest.approx(best) or best <= plain * LEAST_GAIN * 1.001


def test_the_cost_of_a_width_is_learned_and_that_of_others_guessed_between() -> None:
    cost = StepCost(16)
    assert cost.seconds(4) == 0
    for _ in range(BELIEVED_AFTER):
        cost.note(1, 1.0)
    assert [cost.seconds(n) for n in (1, 2)] == pytest.approx([1, 1]), "until it is tried a guess is thought to cost nothing"
    assert [cost.seconds(n) for n in (3, 16)] == pytest.approx([3, 16]), "but what is far from all that was tried"
    cost.token_seconds = 0.1
    assert cost.seconds(2) == pytest.approx(1.1)
    for _ in range(BELIEVED_AFTER):
        cost.note(8, 1.2)
    assert cost.seconds(4) == pytest.approx(1.2), "no more than a wider one"
    assert cost.seconds(9) == pytest.approx(1.3)


def test_a_machine_that_stumbles_once_is_not_believed() -> None:
    cost = StepCost(16)
    for seconds in (1.0, 1.0):
        cost.note(1, seconds)
    for seconds in (900.0, 1.5):
        cost.note(4, seconds)
    assert cost.seconds(4) == pytest.approx(1.5)
    cost.note(4, 900.0)
    assert cost.seconds(4) < 1.5 * 1.2


def test_what_all_widths_have_in_common_drifts_and_what_was_not_seen_for_long_is_tried_anew() -> None:
    cost = StepCost(16)
    for width, seconds in ((1, 1.0), (1, 1.0), (2, 1.5), (2, 1.5)):
        cost.note(width, seconds)
    for _ in range(100):
        cost.note(1, 2.0)
    assert cost.seconds(1) == pytest.approx(2.0, rel=0.01)
    assert 1.7 < cost.seconds(2) < 3.0, "a longer context makes the others dearer as well"
    for _ in range(FORGOTTEN_AFTER):
        cost.note(1, 2.0)
    assert cost.seconds(2) == pytest.approx(2.0, rel=0.01)


def test_the_cost_is_found_in_noise() -> None:
    rng, cost, true = random.Random(1), StepCost(16), linear(1.0, 0.25)
    for _ in range(600):
        width = rng.choice((1, 1, 1, 2, 4, 8))
        cost.note(width, true(width) * rng.lognormvariate(0, 0.1))
    for width in (1, 2, 4, 8):
        assert cost.seconds(width) == pytest.approx(true(width), rel=0.12)


def test_widths_beyond_the_most_and_times_of_nothing_teach_nothing() -> None:
    cost = StepCost(4)
    for width, seconds in ((5, 1.0), (0, 1.0), (2, 0.0)) * 3:
        cost.note(width, seconds)
    assert [cost.seconds(n) for n in range(1, 5)] == [0] * 4


def test_chances_follow_what_was_right_of_late() -> None:
    acceptance = Acceptance((0.5, 0.9))
    assert [acceptance.chance(kind) for kind in range(acceptance.n_kinds)] == [0.5, 0.9]
    for _ in range(500):
        acceptance.note(0, right=True)
    assert acceptance.chance(0) > 0.95
    for _ in range(100):
        acceptance.note(0, right=False)
    assert acceptance.chance(0) < 0.25
    assert acceptance.chance(1) == 0.9


def test_one_text_begins_with_what_was_learned_of_others_and_goes_its_own_way() -> None:
    general = Acceptance((0.5,))
    Acceptance(general).note(0, right=True)
    first = general.chance(0)
    assert first > 0.5
    text = Acceptance(general)
    assert text.chance(0) == pytest.approx(first)
    for _ in range(50):
        text.note(0, right=False)
    assert text.chance(0) < general.chance(0) < first
