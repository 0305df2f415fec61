"""Markdown as a terminal shows it, whole and while it is written."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from qwq_local.cli.chatting.fragments import Line
from qwq_local.cli.chatting.markdown import finished_length, rendered
from qwq_local.cli.chatting.view import FOLDINGS, AnswerView
from qwq_local.engine import Answering, Thinking

BLOCKS = (
    "# head\n",
    "\n\n",
    "```py\n",
    "```\n",
    "| a | b |\n|---|---|\n",
    "| 1 | 2 |\n",
    "- item\n",
    "1. one\n",
    "> quote\n",
    "東京",
    "🙂",
    " ",
)
FORMULAS = (r"\(x^2\)", r"\[", r"\]", "$a$", r"\boxed{", "}")
MARKS = ("**bold**", "`code`", "[link](http://a.example)", "<b>", "&lt;", "\x1b[31m", "\x9b", "\u202e")
PARTS = st.sampled_from((*BLOCKS, *FORMULAS, *MARKS))
TEXTS = st.lists(PARTS, max_size=20).map("".join)


def text_of(lines: list[Line]) -> str:
    return "\n".join("".join(fragment[1] for fragment in line) for line in lines)


@given(TEXTS | st.text(), st.integers(1, 200))
def test_any_answer_is_shown_without_a_sign_that_steers_the_terminal(text: str, width: int) -> None:
    shown = text_of(rendered(text, width))
    assert not [letter for letter in shown if unicodedata.category(letter) == "Cc" and letter != "\n"]
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")


@given(TEXTS, st.text(max_size=5))
def test_what_is_finished_does_not_change_by_what_follows(text: str, more: str) -> None:
    length = finished_length(text)
    assert 0 <= finished_length(text[:length]) <= length <= len(text)
    assert finished_length(text + more) >= length


@given(st.lists(TEXTS, max_size=6), st.integers(1, 100), st.integers(0, 40), st.sampled_from(FOLDINGS))
def test_an_answer_in_pieces_fits_its_place_at_any_time_and_is_shown_once(pieces: list[str], width: int, height: int, folding: str) -> None:
    view = AnswerView(0.0, folding)  # type: ignore[arg-type] # one of them
    printed: list[Line] = []
    view.add(Thinking("Hm."), 0.5, width)
    for now, piece in enumerate(pieces, 1):
        view.add(Answering(piece), now, width)
        printed += view.take_printable(width)
        assert len(view.changing(now, width, height)) <= height
    view.close(9.0, width)
    printed += view.take_printable(width)
    assert view.changing(9.0, width, height) == []
    assert text_of(printed).count("thought for") <= 1
