"""Instructions about words and letters (pure). Each function says what is wrong, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from qwq_local.grading.instructions.arguments import compared, quoted

_WORD: Final = re.compile(r"\w+(?:[-'’.&]\w+)*")  # noqa: RUF001 - a printed apostrophe


def existence(text: str, *, keywords: Sequence[str]) -> str:
    """All of the keywords, in whatever case, also within longer words: "sneakers" holds "sneaker"."""
    missing = [keyword for keyword in keywords if _plain(keyword) not in text.lower()]
    return f"{quoted(missing)} missing" if missing else ""


def frequency(text: str, *, keyword: str, frequency: int, relation: str) -> str:
    """A keyword so many times, counted as `existence` finds it."""
    return compared(text.lower().count(_plain(keyword)), relation, frequency, f"times “{keyword.strip()}”")


def forbidden_words(text: str, *, forbidden_words: Sequence[str]) -> str:
    """None of these words, in whatever case; longer words that hold them are allowed."""
    seen = [word for word in forbidden_words if re.search(rf"(?<!\w){re.escape(_plain(word))}(?!\w)", text.lower())]
    return f"{quoted(seen)} said" if seen else ""


def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: str) -> str:
    """A letter so many times, in whatever case.

    Also another character, as IFEval's data ask of "#" and "!", where its own program takes a letter by chance instead.
    """
    return compared(text.lower().count(_plain(letter)), let_relation, let_frequency, f"times “{letter.strip()}”")


def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: str) -> str:
    """So many words all of whose letters are capitals.

    "I", "A" and "U.S." are such words, and so are "TOP-NOTCH" and "DON'T", one each; NLTK's word_tokenize, which IFEval counts by, makes
    two of the last.
    """
    n_words = sum(word.isupper() for word in _WORD.findall(text))
    return compared(n_words, capital_relation, capital_frequency, "words in capitals")


def _plain(keyword: str) -> str:
    return keyword.strip().lower()
