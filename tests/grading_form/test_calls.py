"""Calls of functions, against calls judged by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.grading import Given, WantsCalls
from qwq_local.grading.calls import NO_CALL, grade_calls
from tests.grading_form.hand_checked import Case, cases

CASES = cases("calls")
PARALLEL = [case for case in CASES if len(case.given.calls) > 1 and not case.calls.is_ordered]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
NAMES = st.text("abcxyz_", min_size=1, max_size=6)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
CALLS = st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, max_size=3)), max_size=4)


def call(name: str, **arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments)


def wants(*calls: tuple[str, dict[str, tuple[Any, ...]]], is_ordered: bool = False) -> WantsCalls:
    return WantsCalls(calls, is_ordered)


def exactly(calls: list[tuple[str, dict[str, Any]]], *, is_ordered: bool = False) -> WantsCalls:
    return wants(*((name, {key: (value,) for key, value in arguments.items()}) for name, arguments in calls), is_ordered=is_ordered)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_calls_are_judged_as_by_hand(case: Case) -> None:
    grade = grade_calls(case.calls, case.given)
    assert grade.is_right == case.is_right, grade.why or case.tricky
    assert grade.is_right == (not grade.why)


def test_at_least_40_were_judged_many_of_them_tricky() -> None:
    assert len(CASES) >= 40
    assert sum(bool(case.tricky) for case in CASES) >= 20
    assert {case.is_right for case in PARALLEL} == {True, False}


@given(CALLS, st.booleans())
def test_the_calls_wanted_are_right_when_they_are_made(calls: list[tuple[str, dict[str, Any]]], is_ordered: bool) -> None:
    given_calls = tuple((name, json.dumps(arguments)) for name, arguments in calls)
    assert grade_calls(exactly(calls, is_ordered=is_ordered), Given("", given_calls)).is_right


@given(st.sampled_from(PARALLEL), st.randoms(use_true_random=False))
def test_the_order_of_parallel_calls_and_of_their_wishes_never_matters(case: Case, random: Any) -> None:
    made, wished = list(case.given.calls), list(case.calls.calls)
    random.shuffle(made)
    random.shuffle(wished)
    first, shuffled = grade_calls(case.calls, case.given), grade_calls(WantsCalls(tuple(wished)), Given("", tuple(made)))
    assert (shuffled.is_right, shuffled.found) == (first.is_right, first.found)


@given(st.text(max_size=30), CALLS)
def test_whatever_stands_for_arguments_gets_a_verdict(text: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    grade = grade_calls(exactly(calls), Given("", (("f", text),)))
    assert grade.is_right == (not grade.why)


def test_equal_calls_are_found_equal_however_they_are_written() -> None:
    wanted = wants(("f", {"a": (1,), "b": ({"x": (1,), "y": (2,)},)}), ("g", {}))
    texts = ['{"a": 1, "b": {"x": 1, "y": 2}}', '{"b":{"y":2,"x":1},\n"a":1}']
    first = grade_calls(wanted, Given("", (("f", texts[0]), call("g"))))
    second = grade_calls(wanted, Given("So:", (call("g"), ("f", texts[1]))))
    assert first.found == second.found == 'f({"a": 1, "b": {"x": 1, "y": 2}})\ng({})'
    assert first.is_right
    assert second.is_right


def test_calls_in_order_are_found_in_order() -> None:
    wanted = wants(("g", {}), ("f", {}), is_ordered=True)
    assert grade_calls(wanted, Given("", (call("g"), call("f")))).found == "g({})\nf({})"


def test_no_call_can_be_counted_and_arguments_that_cannot_be_read_are_not() -> None:
    assert grade_calls(wants(), Given("Sorry.")).found == NO_CALL
    assert grade_calls(wants(("f", {})), Given("", (("f", "{"),))).found == ""


def test_half_a_surrogate_pair_can_be_written_down() -> None:
    grade = grade_calls(wants(("f", {"a": ("x",)})), Given("", (("f", '{"a": "\\ud83d"}'),)))
    assert (grade.found + grade.why).encode() == rb'f({"a": "\ud83d"})f: a is "\ud83d", "x" wanted'


@pytest.mark.parametrize("depth", [100, 1_000, 10_000, 100_000])
def test_arguments_nested_however_deeply_get_a_verdict(depth: int) -> None:
    grade = grade_calls(wants(("f", {"a": (1,)})), Given("", (("f", '{"a": ' + "[" * depth + "]" * depth + "}"),)))
    assert not grade.is_right


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ((), "0 calls (none), 2 wanted"),
        ((call("f", a=1),), "1 calls (f), 2 wanted"),
        (
            (("f", "{a: 1}"), call("g")),
            "f: the arguments are not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ((("f", "3"), call("g")), "f: the arguments are no JSON object"),
        ((call("f", a=2), call("g", b="x")), 'f: a is 2, 1 or "one" wanted'),
        ((call("f", a=1, c=0), call("g", b="x")), "f: there is no argument c"),
        ((call("g", b="x"), call("f")), "f: a missing"),
        ((call("f", a=1), call("h")), "g not called as wanted"),
        ((call("f", a=2), call("g", b="y")), 'f: a is 2, 1 or "one" wanted; g: b is "y", "x" wanted'),
    ],
)
def test_why_says_which_call_is_wrong_and_what_is_wrong_with_it(made: tuple[tuple[str, str], ...], why: str) -> None:
    wanted = wants(("f", {"a": (1, "one")}), ("g", {"b": ("", "x")}))
    assert grade_calls(wanted, Given("", made)).why == why


def test_why_says_what_is_wrong_in_each_place_of_ordered_calls() -> None:
    wanted = wants(("f", {}), ("g", {}), is_ordered=True)
    assert grade_calls(wanted, Given("", (call("g"), call("f")))).why == "g called, f wanted; f called, g wanted"
