"""Maths is graded by value, and equal answers count as one."""

from __future__ import annotations

import sys

import pytest

from qwq_local.errors import SettingsError
from qwq_local.grading import Given, Grade, WantsMaths
from qwq_local.grading.latex import read_latex
from qwq_local.grading.maths import grade_maths


def grade(wanted: str, boxed: str) -> Grade:
    return grade_maths(WantsMaths(wanted), Given(rf"So it is \(\boxed{{{boxed}}}\)."))


def test_a_missing_library_is_said_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(SettingsError, match="math-verify") as caught:
        grade("5", "5")
    assert caught.value.hint == "pip install 'qwq-local[eval]'"


@pytest.mark.parametrize("content", ["It is 5.", "", r"\boxed{}", r"\boxed{5"])
def test_an_answer_without_a_box_is_wrong_and_says_so(content: str) -> None:
    graded = grade_maths(WantsMaths("5"), Given(content))
    assert (graded.is_right, graded.found) == (False, "")
    assert r"\boxed" in graded.why


@pytest.mark.slow
@pytest.mark.parametrize(
    "alike",
    [
        ["0.5", r"\frac{1}{2}", r"\dfrac12", "1/2", "x = 0.50", r"\frac{2}{4}"],
        [r"2\sqrt{2}", r"\sqrt{8}", r"\frac{4}{\sqrt{2}}"],
        [r"\{1,2\}", "2, 1", r"x = 1 \text{ or } x = 2"],
        ["(x-1)(x+1)", "x^2-1", "f(x) = -1+x^{2}"],
        ["1,234", "1234", r"1{,}234\text{ cm}"],
        [r"\text{east}", "East"],
    ],
)
@pytest.mark.parametrize("wanted", ["7", r"\frac{1}{2}", "east"])
def test_equal_answers_count_as_one_right_or_wrong(alike: list[str], wanted: str) -> None:
    graded = [grade(wanted, each) for each in alike]
    assert len({(each.is_right, each.found) for each in graded}) == 1, graded


@pytest.mark.slow
def test_different_answers_count_as_different_ones() -> None:
    answers = [
        "5",
        "-5",
        r"\frac{1}{3}",
        "0.3",
        "x",
        "X",
        "(1,2)",
        "(2,1)",
        r"\sqrt{2}",
        "1.414",
        "[0,1]",
        "[0,1)",
        r"\text{even}",
        r"\text{odd}",
    ]
    assert len({grade("7", each).found for each in answers}) == len(answers)


def test_a_wrong_answer_says_what_it_is_and_what_is_due() -> None:
    assert grade("7", "8") == Grade(False, "8", "8 is not 7")
    assert grade(r"7\text{ cm}", r"7\text{ m}") == Grade(False, "7 m", "it is in m, not in cm")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        (r"5\,\mathrm{cm}^{2}", "5", "cm^2"),
        (r"5 \text{ square centimeters}", "5", "cm^2"),
        ("50\\%", "50", "%"),
        (r"60^\circ", "60", "degree"),
        (r"1011_{2}", "1011", "base 2"),
        (r"\$1,200", "1200", "$"),
        ("5 dollars", "5", "$"),
        (r"12 \text{ marbles}", "12", ""),
        ("2m", "2m", ""),
        (r"x = \dfrac{1}{2}", r"\frac{1}{2}", ""),
        (r"\left( 1, 2 \right)", "( 1, 2 )", ""),
        (r"3\tfrac{1}{2}", r"(3+\frac{1}{2})", ""),
    ],
)
def test_a_value_is_told_from_its_unit_and_from_how_it_is_set(text: str, value: str, unit: str) -> None:
    said = read_latex(text)
    assert (said.value, said.unit) == (value, unit)
