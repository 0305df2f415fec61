"""Unicode's normal form, in a time that grows with the text's length only."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import pairwise
from typing import Final

from qwq_local import card

MOST_MARKS: Final = 128
"""Marks on one letter that are put in order together. Python does that by insertion, so that a letter with a million of them would take
hours; no language puts more than a few on one (Unicode's Stream-Safe format, UAX 15, allows 30)."""


def normalized(text: str) -> str:
    """The text in the form that the checkpoint's tokenizer reads; beyond MOST_MARKS on one letter, marks are put in order in parts."""
    if text.isascii():
        return text
    borders = [0, *(match.end() for match in _marks().finditer(text)), len(text)]
    return "".join(unicodedata.normalize(card.UNICODE_FORM, text[a:b]) for a, b in pairwise(borders))


@cache
def _marks() -> re.Pattern[str]:
    """MOST_MARKS characters in a row that are put in order."""
    marks = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.combining(chr(code)))
    return re.compile(f"[{re.escape(''.join(marks))}]{{{MOST_MARKS}}}")
