"""Prefixes in host memory: which are kept, and which one a prompt gets back."""

from __future__ import annotations

from qwq_local.engine.prefix import SavedPrefix
from qwq_local.engine.spill import LEAST_SPILLED, Spill

LONG = tuple(range(100))


def prefix(tokens: tuple[int, ...], n_bytes: int = 10, *, yarn: bool = False) -> SavedPrefix:
    return SavedPrefix("yarn" if yarn else "native", tokens, b"s" * n_bytes)


def test_the_least_lately_used_leave_when_there_is_no_room_for_all() -> None:
    spill = Spill(25)
    for first in (1, 2, 1, 3):
        spill.put(prefix((first, *LONG)))
    assert [kept.tokens[0] for kept in spill] == [3, 1]
    spill.audit()


def test_one_that_is_larger_than_all_may_be_pushes_no_other_out() -> None:
    spill = Spill(25)
    spill.put(prefix(LONG))
    spill.put(prefix((7, *LONG), 26))
    assert [kept.tokens for kept in spill] == [LONG]
    assert not spill.takes(len(LONG), 26)
    assert not spill.takes(LEAST_SPILLED - 1, 1)
    assert spill.takes(LEAST_SPILLED, 25)


def test_a_prompt_gets_back_what_spares_most_of_it_under_its_own_scaling() -> None:
    spill = Spill(1000)
    half, whole, foreign = prefix(LONG[:50]), prefix((*LONG[:80], 999)), prefix(LONG, yarn=True)
    for one in (half, whole, foreign):
        spill.put(one)
    assert spill.best("native", LONG, 0, 1000) == (whole, 80)
    assert spill.best("native", LONG, 0, 60) == (half, 50)
    assert spill.best("native", LONG, 80 - LEAST_SPILLED + 1, 1000) is None, "hardly more than is held already"
    assert spill.best("native", (5, *LONG), 0, 1000) is None
    spill.forget(whole)
    assert spill.best("native", LONG, 0, 1000) == (half, 50)


def test_of_a_long_prefix_a_good_part_must_be_of_use() -> None:
    spill = Spill(1000)
    spill.put(prefix((*LONG[:40], *range(1000, 1121))))
    assert spill.best("native", LONG, 0, 1000) is None
