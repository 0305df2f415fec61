"""How many sentences a text has (pure)."""

from __future__ import annotations

import re
from typing import Final

# Printed quotes, and the marks of Chinese, are meant where ruff suspects plain ones (RUF001).
_END: Final = re.compile(
    r"(?<![.!?…])(?P<mark>[.!?…]++)(?P<closing>[\"'”’»)\]*_]*+)(?=\s|$)"  # noqa: RUF001 - as above
    r"|[。！？।]++[”’」』）]*+"  # noqa: RUF001 - as above
)
_FOLLOWING: Final = re.compile(r"[^\s\"'“‘«(\[*_-]")  # noqa: RUF001 - as above
_ITEM: Final = re.compile(r"[^\S\n]*+\S")
_LABEL: Final = re.compile(r"[ \t>*_#-]*+\(?(?:\d+|[A-Za-z])")
_BEFORE: Final = re.compile(r"[^\s(\[\"'“‘*_]+$")  # noqa: RUF001 - as above
_DOTTED: Final = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
_QUOTES: Final = frozenset("\"'”’»)]")  # noqa: RUF001 - as above
_TITLES: Final = "mr mrs ms dr prof st mt gen sen rep gov col capt lt sgt rev hon"
_NEVER_LAST: Final = frozenset([*_TITLES.split(), "vs", "fig", "approx", "e.g", "i.e", "cf"])
_SELDOM_LAST: Final = frozenset(["etc", "inc", "ltd", "co", "corp", "jr", "sr", "al", "dept", "est"])
_LONGEST_WORD: Final = 24


def count_sentences(text: str) -> int:
    """The sentences of a text, in whatever language ends them with a full stop, a question or exclamation mark, or an ellipsis.

    As for NLTK's Punkt, which IFEval counts by, the end of a line ends no sentence (headings belong to what follows), and what stands
    behind the last full stop is one more. Punkt has learned from English texts which words are abbreviations and which begin sentences;
    here a short list and the case of the next letter decide. Other than for Punkt, the number before an item of a list is no sentence
    ("1. Wash it."), neither are marks without a word; a question or cry in quotes goes on where a small letter follows ("Stop!" he said);
    and the full stops of Chinese, Japanese and Hindi count.
    """
    n_sentences = 0
    begun = 0
    for end in _END.finditer(text):
        if _is_end(text, end):
            n_sentences += _has_word(text[begun : end.end()])
            begun = end.end()
    return n_sentences + _has_word(text[begun:])


def _has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _is_end(text: str, end: re.Match[str]) -> bool:
    mark = end["mark"]
    following = _FOLLOWING.search(text, end.end())
    if mark is None or following is None:
        return True
    if mark == "." and not end["closing"]:
        return not _is_label(text, end) and _is_stop_behind(_word_before(text, end), following[0])
    goes_on = mark.startswith(("..", "…")) or not _QUOTES.isdisjoint(end["closing"])
    return not (goes_on and following[0].islower())


def _is_label(text: str, end: re.Match[str]) -> bool:
    """Whether it is the full stop behind an item's number or letter, with the item in the same line."""
    line = text.rfind("\n", 0, end.start()) + 1
    return _LABEL.fullmatch(text, line, end.start()) is not None and _ITEM.match(text, end.end()) is not None


def _word_before(text: str, end: re.Match[str]) -> str:
    found = _BEFORE.search(text, max(0, end.start() - _LONGEST_WORD), end.start())
    return found[0] if found else ""


def _is_stop_behind(word: str, following: str) -> bool:
    """Whether a full stop behind this word ends a sentence, when the next letter is that."""
    small = word.lower()
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    is_dotted = _DOTTED.fullmatch(word) is not None
    if is_initial or small in _NEVER_LAST or (is_dotted and word.isupper()):
        return False
    return not ((is_dotted or small in _SELDOM_LAST) and following.islower())
