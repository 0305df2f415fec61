"""What an answer comes to: the last box, or the choice, however it is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.race.results import normalised, result_of

WORDS = st.text(st.characters(whitelist_categories=["L", "N", "P", "Z"]), max_size=20)


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (r"47 + 85 = \boxed{132}", "132"),
        (r"First \boxed{1}, no: \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1,2\}"),
        (r"\boxed{7} and then \boxed{8", "7"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{}", None),
        (r"\boxed{", None),
        ("boxed{5}", None),
        ('{"answer": "C"}', "C"),
        ('```json\n{"answer" :\n"c"}\n```', "C"),
        ('"answer": "A", or rather "answer": "B"', "B"),
        (r'\boxed{9} {"answer": "C"}', "9"),
        ('{"answer": ""}', None),
        ('{"answer": 3}', None),
        ("It is 132.", None),
        ("", None),
    ],
)
def test_the_result_is_the_last_box_or_else_the_last_choice(content: str, result: str | None) -> None:
    assert result_of(content) == result


@pytest.mark.parametrize(
    ("result", "plain"),
    [
        ("1,320.50", "1320.5"),
        ("1{,}320", "1320"),
        (r"12\,345", "12345"),
        (r"12,\!345", "12345"),
        ("$132$", "132"),
        ("$132$.", "132"),
        ("132.", "132"),
        ("132.0", "132"),
        ("007", "7"),
        ("+5", "5"),
        ("-0.0", "0"),
        ("-1,000", "-1000"),
        ("1,2", "1,2"),
        ("1,23", "1,23"),
        ("5!", "5!"),
        (r"\text{ C }", "C"),
        (r"\text{a} + \text{b}", r"\text{a}+\text{b}"),
        ("b", "B"),
        ("x + 1", "x+1"),
        ("Paris", "Paris"),
    ],
)
def test_a_result_is_the_same_however_it_is_written(result: str, plain: str) -> None:
    assert normalised(result) == plain


@given(st.integers(-(10**20), 10**20), st.integers(0, 3))
def test_a_number_is_the_same_with_separators_and_zeros(number: int, n_zeros: int) -> None:
    fraction = f".{'0' * n_zeros}" if n_zeros else ""
    assert normalised(f"{number:,}{fraction}") == normalised(f" {number}{fraction} ") == str(number)


@given(WORDS)
def test_what_is_normalised_stays_as_it_is(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once


@given(WORDS, st.text(alphabet="{}\\abc ", max_size=40))
def test_a_box_that_is_closed_is_found_whatever_stands_before(inside: str, before: str) -> None:
    text = inside.replace("{", "").replace("}", "")
    assert result_of(f"{before}\\boxed{{{text}}}") == (normalised(text) or None)


@given(WORDS)
def test_a_choice_is_found_in_json(text: str) -> None:
    plain = text.replace('"', "").replace("\\", "")
    assert result_of(json.dumps({"answer": plain}, ensure_ascii=False)) == (normalised(plain) or None)


def test_a_long_answer_full_of_open_boxes_is_read_once() -> None:
    assert result_of("\\boxed{" * 100_000) is None
