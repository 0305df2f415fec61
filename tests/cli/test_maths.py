"""Formulas as a terminal shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.cli.chatting.maths import LONGEST, readable

PARTS = st.sampled_from(
    ["\\frac", "{", "}", "^", "_", "\\boxed", "\\sqrt", "x", " ", "\\", "&", "\\begin{aligned}", "\\end{aligned}", "\\left(", "π"]
)


def shown(latex: str) -> str:
    return "".join(f"[{text}]" if is_boxed else text for text, is_boxed in readable(latex))


@pytest.mark.parametrize(
    ("latex", "unicode"),
    [
        (r"\boxed{132}", "[132]"),
        (r"x^2 + y^{10} = z_i", "x² + y¹⁰ = zᵢ"),
        (r"\frac{a+b}{2}", "(a+b)/2"),
        (r"\sqrt{2} \approx 1.41", "√(2) ≈ 1.41"),
        (r"a \cdot b \le c \implies d", "a · b ≤ c ⟹ d"),
        (r"\sum_{k=0}^{\infty} \frac{1}{2^k} = \boxed{2}", "∑ₖ₌₀^∞ 1/(2^k) = [2]"),
        (r"\beta \in S", "β ∈ S"),
        (r"\begin{aligned} a &= b \end{aligned}", "a = b"),
    ],
)
def test_what_has_a_sign_is_shown_by_it(latex: str, unicode: str) -> None:
    assert shown(latex) == unicode


@pytest.mark.parametrize("latex", [r"\unknown{x}", r"\frac{1", r"{" * 3000 + "}" * 3000, r"\frac", "x" * (LONGEST + 1)])
def test_what_cannot_be_shown_stays_as_it_was_written(latex: str) -> None:
    assert shown(latex) == latex


@given(st.lists(PARTS).map("".join) | st.text())
def test_any_formula_is_shown_somehow(latex: str) -> None:
    assert all(text for text, _ in readable(latex))
