"""Instructions about how long an answer is, and in how many parts (pure). Each function says what is wrong, or nothing."""

from __future__ import annotations

import re
from typing import Final

from qwq_local.grading.instructions.arguments import compared
from qwq_local.grading.instructions.sentences import count_sentences

_WORD: Final = re.compile(r"\w+")
_DIVIDER: Final = re.compile(r"\s?\*\*\*\s?")
_FIRST_WORD: Final = re.compile(r"[\"']*([^\s.,?!'\"]*)")


def number_words(text: str, *, num_words: int, relation: str) -> str:
    """So many runs of letters and digits: "don't" and "well-known" are two each."""
    return compared(len(_WORD.findall(text)), relation, num_words, "words")


def number_sentences(text: str, *, num_sentences: int, relation: str) -> str:
    """So many sentences, as `count_sentences` has them."""
    return compared(count_sentences(text), relation, num_sentences, "sentences")


def number_paragraphs(text: str, *, num_paragraphs: int) -> str:
    """Exactly so many paragraphs, with `***` between them; one at the beginning or the end is allowed, an empty paragraph is not."""
    first, *middle, last = (part.strip() for part in _DIVIDER.split(text)) if "***" in text else (text.strip(), "")
    if not all(middle):
        return "an empty paragraph between two dividers"
    n_paragraphs = len([part for part in (first, *middle, last) if part])
    return "" if n_paragraphs == num_paragraphs else f"{n_paragraphs} paragraphs between ***, {num_paragraphs} wanted"


def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> str:
    """Exactly so many paragraphs, with empty lines between them, and the nth (from 1) begins with this word, in whatever case.

    Quotes before the word do not count, asterisks do. Paragraphs of nothing but space are no paragraphs; IFEval's own program leaves them
    out where it counts, but not where it looks for the nth.
    """
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    if len(paragraphs) != num_paragraphs:
        return f"{len(paragraphs)} paragraphs between empty lines, {num_paragraphs} wanted"
    if nth_paragraph > num_paragraphs:
        return f"no paragraph {nth_paragraph} among {num_paragraphs}"
    found = _FIRST_WORD.match(paragraphs[nth_paragraph - 1].strip())
    word = found[1] if found else ""
    if word.lower() == first_word.strip().lower():
        return ""
    return f"paragraph {nth_paragraph} begins with “{word}”, “{first_word.strip()}” wanted"
