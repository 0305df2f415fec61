r"""The last `\boxed{}`, whatever stands around and within it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.grading.boxes import last_boxed

NONE, EMPTY, UNCLOSED = r"no \boxed{} in the answer", r"the \boxed{} in the answer is empty", r"the last \boxed{ is not closed"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{ 5 }", "5"),
        (r"\boxed {5}", "5"),
        (r"\\boxed{5}", "5"),
        (r"x \\\boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{2}, that is \boxed{}", "2"),
        (r"$\boxed{2}$ and $\boxed{3}$", "2, 3"),
        (r"\boxed{1}, \boxed{2}, or \(\boxed{3}\)", "1, 2, 3"),
        (r"\boxed{2}, \boxed{2}", "2"),
        (r"\boxed{a \boxed{5} b}", r"a \boxed{5} b"),
        (r"\boxed{a \boxed{5}", "5"),
        (r"{ \boxed{5}", "5"),
        (r"} \boxed{5}", "5"),
        (r"\boxed 5", "5"),
        (r"\boxed 3.5.", "3.5"),
    ],
)
def test_the_last_box_that_is_filled_is_found_whole(text: str, content: str) -> None:
    assert (last_boxed(text).content, last_boxed(text).why) == (content, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [("5", NONE), ("", NONE), (r"\boxed{}", EMPTY), (r"\boxed{ }", EMPTY), (r"\boxed{5", UNCLOSED), (r"\boxed{1} \boxed{5", UNCLOSED)],
)
def test_why_there_is_none_is_said(text: str, why: str) -> None:
    assert (last_boxed(text).content, last_boxed(text).why) == ("", why)


pieces = st.lists(st.sampled_from(["\\boxed{", "\\", "{", "}", "\\{", "5", " ", ", ", " and ", "$", "\\fbox", "x"]), max_size=40).map(
    "".join
)


@given(pieces, st.sampled_from(["7", r"\frac{1}{2}", r"\{7\}"]))
def test_a_box_at_the_end_is_found_whatever_comes_before(before: str, content: str) -> None:
    assert last_boxed(f"{before} \n\n and so at last: \\boxed{{{content}}}").content.endswith(content)


@given(pieces)
def test_there_is_a_content_or_a_reason_why_not(text: str) -> None:
    found = last_boxed(text)
    assert bool(found.content) != bool(found.why)


@pytest.mark.parametrize("piece", ["\\boxed{", "{", "}", "\\", "\\boxed{1}, ", "\\boxed ", "\\boxed", " "])
def test_a_very_long_answer_is_no_trouble(piece: str) -> None:
    last_boxed(piece * (300_000 // len(piece)))
