"""Texts that go round in circles are told from those that do not, token by token and exactly."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwq_local.engine.repetition import FEW_TOKENS, LONGEST_PERIOD, CycleDetector, MonotonyDetector, RepetitionDetector
from qwq_local.runtime import QwQ
from tests.nano import tasks

LEAST_RUN = 96


def found_at(tokens: Sequence[int], detector: CycleDetector | MonotonyDetector | RepetitionDetector | None = None) -> list[int]:
    detector = detector or CycleDetector(LEAST_RUN)
    return [i for i, token in enumerate(tokens) if detector.push(token)]


def repeats(tokens: Sequence[int]) -> bool:
    """The same at the end of a whole text, by hand."""
    for period in range(1, min(LONGEST_PERIOD, len(tokens)) + 1):
        run = 0
        while run + period < len(tokens) and tokens[-1 - run] == tokens[-1 - run - period]:
            run += 1
        if run >= max(LEAST_RUN, 3 * period):
            return True
    return False


CYCLES = st.lists(st.integers(0, 2), min_size=1, max_size=60)
TEXTS = st.lists(st.integers(0, 2), max_size=200)


@given(before=TEXTS, cycle=CYCLES, more=st.integers(0, 60), after=TEXTS)
@example(before=[], cycle=[0], more=0, after=[])
@example(before=[0] * 90, cycle=[0] * 40 + [1], more=0, after=[1])
def test_every_token_is_told_of_as_by_hand(before: list[int], cycle: list[int], more: int, after: list[int]) -> None:
    n_run = max(LEAST_RUN, 3 * len(cycle)) + len(cycle) - 3 + more
    tokens = [*before, *(cycle[i % len(cycle)] for i in range(n_run)), *after]
    found = found_at(tokens)
    places = {len(before) + n_run - 1, len(before) + n_run - more - 1, len(tokens) - 1, *found[:1], *(i - 1 for i in found[:1])}
    assert {place: place in found for place in places if place >= 0} == {
        place: repeats(tokens[: place + 1]) for place in places if place >= 0
    }


@pytest.mark.parametrize("period", [1, 2, 3, 31, 32, 33, 64, 96, 97, 500, LONGEST_PERIOD])
def test_a_cycle_is_found_at_the_token_that_completes_it(period: int) -> None:
    rng = random.Random(period)
    cycle = [rng.randrange(152_064) for _ in range(period)]
    before = [rng.randrange(152_064) for _ in range(100)]
    n_run = max(LEAST_RUN, 3 * period)
    tokens = [*before, *(cycle[i % period] for i in range(period + n_run + 5))]
    assert found_at(tokens) == list(range(len(before) + period + n_run - 1, len(tokens)))


def test_a_cycle_longer_than_the_longest_is_no_repetition() -> None:
    cycle = list(range(LONGEST_PERIOD + 1))
    assert found_at(cycle * 5) == []


def test_a_long_text_copied_twice_is_no_repetition() -> None:
    rng = random.Random(1)
    text = [rng.randrange(500) for _ in range(700)]
    assert found_at([*text, 1, *text, 2, *text, 3]) == []


def test_reasoning_answers_and_tables_are_no_repetition(demo: QwQ) -> None:
    rng = random.Random(3)
    problems = [draw(rng) for _ in range(40) for draw in (tasks.letters, tasks.addition, tasks.compare)]
    prose = "\n\n".join(f"{problem.messages[-1]['content']}\n{problem.reasoning}\n{problem.answer}" for problem in problems)
    rows = ",\n".join(f'  {{"id": {i}, "city": "{tasks.CITIES[i % 20]}", "ok": true, "tags": ["a", "b"]}}' for i in range(200))
    table = "\n".join(f"| {i} | {i * i} | yes |" for i in range(300))
    for text, n_ctx in itertools.product((prose, f"[\n{rows}\n]", table), (512, 2048, 32_768)):
        tokens = demo._vocabulary.tokenize(text)
        assert len(tokens) > 3000
        assert found_at(tokens, RepetitionDetector(n_ctx)) == []
    assert found_at(demo._vocabulary.tokenize("Wait, let me check that again.\n" * 20), RepetitionDetector(512))


@given(st.lists(st.integers(0, 18), max_size=120), st.integers(12, 24))
def test_the_same_few_tokens_are_told_of_as_by_hand(tokens: list[int], n_window: int) -> None:
    due = [i for i in range(n_window - 1, len(tokens)) if len(set(tokens[i - n_window + 1 : i + 1])) <= FEW_TOKENS]
    assert found_at(tokens, MonotonyDetector(n_window)) == due


@pytest.mark.parametrize(("n_ctx", "n_cycle", "n_few"), [(512, 32, 128), (2048, 128, 512), (32_768, 256, 4096), (131_072, 256, 4096)])
def test_more_must_come_where_there_is_more_room(n_ctx: int, n_cycle: int, n_few: int) -> None:
    assert found_at([7] * (n_cycle + 1), RepetitionDetector(n_ctx)) == [n_cycle]
    rng = random.Random(1)
    few = [rng.randrange(4) for _ in range(n_few)]
    assert found_at(few, RepetitionDetector(n_ctx))[-1:] == [n_few - 1]
