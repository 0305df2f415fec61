"""Which letter was chosen; how it may be said is in the hand-checked answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.grading import Given, Grade, WantsChoice
from qwq_local.grading.choice import grade_choice

WAYS = ['{{"answer": "{}"}}', r"\boxed{{{}}}", "The answer is ({}).", "**Answer: {}**", "{}"]


@pytest.mark.parametrize(
    ("content", "found", "why"),
    [
        ('{"answer": "B"}', "B", "B is not C"),
        ('{"answer": "E"}', "E", "E is none of ABCD"),
        ('{"answer": "A or C"}', "", "it chooses several: A, C"),
        ('{"answer": "forty"}', "", "'forty' names no letter"),
        ("I do not know.", "", "no choice is named in the answer"),
        ("", "", "no choice is named in the answer"),
    ],
)
def test_a_choice_that_is_not_right_says_why(content: str, found: str, why: str) -> None:
    assert grade_choice(WantsChoice("C"), Given(content)) == Grade(False, found, why)


@given(
    st.text(alphabet=' ABCDabcd(){}[]":,.*\\\nanswer is', max_size=60),
    st.sampled_from(WAYS),
    st.sampled_from("ABCD"),
    st.sampled_from("ABCD"),
)
def test_the_letter_is_found_behind_any_text_in_each_way(before: str, way: str, letter: str, wanted: str) -> None:
    before = before.replace('"answer"', "").replace("boxed", "") if way != WAYS[0] else before
    graded = grade_choice(WantsChoice(wanted), Given(f"{before}\n\n{way.format(letter)}"))
    if way in WAYS[:2]:
        assert graded == Grade(letter == wanted, letter, "" if letter == wanted else f"{letter} is not {wanted}")
    else:
        assert not graded.found or graded.found in "ABCD"


@pytest.mark.parametrize(
    "piece", ['"answer": "', "answer is ", "The answer is A or ", " ", "(A) is correct", "*", '"answer": [', "\\boxed{"]
)
def test_a_long_answer_is_no_trouble(piece: str) -> None:
    grade_choice(WantsChoice("C"), Given(piece * (200_000 // len(piece))))
