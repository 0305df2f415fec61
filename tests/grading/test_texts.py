"""Texts are compared as they are, or without what does not change what they say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_local.grading import Given, Grade, WantsText
from qwq_local.grading.texts import grade_text


def test_what_was_found_is_what_counts_as_one() -> None:
    wanted = WantsText(("Paris",))
    assert grade_text(wanted, Given(" PARIS.")) == Grade(True, "paris")
    assert grade_text(wanted, Given(r"\boxed{Lyon}")) == Grade(False, "lyon", "it is another text")
    assert grade_text(wanted, Given(" \n")) == Grade(False, "", "there is no answer")


@settings(max_examples=30)
@given(st.text(min_size=1).filter(str.strip))
def test_a_text_is_itself(text: str) -> None:
    assert grade_text(WantsText((text,), is_exact=True), Given(f" {text}\n")).is_right
    assert grade_text(WantsText((text,)), Given(text)).is_right
