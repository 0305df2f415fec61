"""One of several texts, given as the whole answer or in its last box."""

from __future__ import annotations

import unicodedata

from qwq_local.grading.boxes import last_boxed
from qwq_local.grading.wanted import Given, Grade, WantsText


def grade_text(wanted: WantsText, given: Given) -> Grade:
    """Whether the answer is one of the texts; unless it must be exact, case, a full stop, and a box and what surrounds it do not count."""
    if wanted.is_exact:
        found, due = given.content.strip(), {text.strip() for text in wanted.texts}
    else:
        found, due = _plain(given.content), {_plain(text) for text in wanted.texts}
    if found in due:
        return Grade(True, found)
    return Grade(False, found, "it is another text" if found else "there is no answer")


def _plain(text: str) -> str:
    text = last_boxed(text).content or text
    text = unicodedata.normalize("NFC", text).strip()
    text = text.removeprefix(r"\text{").removesuffix("}") if text.startswith(r"\text{") else text
    return text.strip().removesuffix(".").strip().casefold()
