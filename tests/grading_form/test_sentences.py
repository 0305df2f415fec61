"""How many sentences a text has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.grading.instructions.sentences import count_sentences

SENTENCES = st.lists(
    st.sampled_from(["It rains.", "Why not?", "Stop it!", "Pi is 3.14.", '"So be it."', "He waits…", "I owe Mr. Li $5."]), max_size=9
)


@pytest.mark.parametrize(
    ("text", "n_sentences"),
    [
        ("", 0),
        (" \n ...", 0),
        ("One", 1),
        ("One. Two", 2),
        ("Really?! Yes.", 2),
        ("A heading\n\nThe first sentence. The second.", 2),
        ("It was I. You knew.", 2),
        ("At 5 p.m. The train left.", 2),
        ("At 5 p.m. the train left.", 1),
        ("Tea, coffee, etc. They have it all.", 2),
        ("Tea, coffee, etc. are here.", 1),
        ("J. R. R. Tolkien wrote it.", 1),
        ("He lives in the U.S. Army barracks.", 1),
        ("a. First item\nb. Second item", 1),
        ("(1. first) It is.", 1),
        ("  12. Wash it!\n  13. Dry it!", 2),
        ("There were 12.\nThen 13 came.", 2),
        ("He wrote (in 1990.) Then he slept.", 2),
        ("**Bold one.** And another.", 2),
        ('"Why?" she asked. "Because."', 2),
        ("Wait... What?", 2),
        ("वह घर गया। वह सो गया।", 2),
    ],
)
def test_sentences_are_counted_as_a_reader_counts_them(text: str, n_sentences: int) -> None:
    assert count_sentences(text) == n_sentences


@given(SENTENCES, st.sampled_from([" ", "\n", "\n\n", "  "]))
def test_sentences_one_after_another_are_as_many(sentences: list[str], between: str) -> None:
    assert count_sentences(between.join(sentences)) == len(sentences)
