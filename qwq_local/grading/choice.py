r"""The letter that is chosen: in a JSON object's `answer`, in a `\boxed{}`, in words, or alone (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from qwq_local.grading.boxes import last_boxed
from qwq_local.grading.wanted import Given, Grade, WantsChoice

_FIELD: Final = re.compile(
    r"""["'“`]answer["'”`]\s{0,9}:\s{0,9}(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|(\[[^\]\n]{0,99}\])|([^\s,}"'\[]+))""",
    re.IGNORECASE,
)
_ANSWER_IS: Final = re.compile(
    r"""\b(?:answer|choice|option)\b[ \t*_]{0,9}(?:(?:is|(?:would|should|must)\s+be)\b[ \t*_]{0,9}:?|:|=)\s{0,9}(?:thus|clearly)?
    [^\S\n]{0,9}(?=(?P<letter>[^\n]{1,80}))""",
    re.IGNORECASE | re.VERBOSE,
)
_I_CHOOSE: Final = re.compile(
    r"\bI(?:['\u2019](?:d|ll)|[ ]would|[ ]will)?[ ](?:go[ ]with|choose|pick|select)[ ](?=(?P<letter>[^\n]{1,80}))", re.IGNORECASE
)
_IS_RIGHT: Final = re.compile(
    r"(?P<letter>[(*_`]{0,4}\b[A-Za-z0-9]\b[)*_`.]{0,4})[ \t]{1,9}is[ \t]{1,9}(?:the[ \t]{1,9})?[*_]{0,3}(?:correct|right|best)\b",
    re.IGNORECASE,
)
_WRAPPING: Final = re.compile(
    r"\\{1,2}(?:boxed|fbox|text|textbf|textrm|textit|mathrm|mathbf|mathit|mathsf)\s{0,9}\{|\\[()\[\]]|[{}$*_`\"'“”\u2018\u2019]"
)
_LABEL: Final = re.compile(r"^(?:(?:the|choice|option|answer|letter)\b[\s:]*)+", re.IGNORECASE)
_CHOSEN: Final = re.compile(r"^[(\[]?\s*([^\W_])\s*(?:[)\].:,;?!\u2014\u2013-]|\s|$)")
_ANOTHER: Final = re.compile(
    r"^[)\].:\s]{0,4}(?:,|/|&|\band\b|\bor\b|;)\s*(?:option|choice)?\s*[(\[]?\s*([^\W_])(?=\s*(?:$|[)\].,:;!?/&]|(?:and|or)\b))",
    re.IGNORECASE,
)
_ARTICLE: Final = re.compile(r"^[AaI]\s+(?!because\b|since\b|as\b|for\b|which\b|that\b|due\b|and\b|or\b|is\b)[^\W_]")


def grade_choice(wanted: WantsChoice, given: Given) -> Grade:
    """Whether the letter wanted is the one chosen; who chooses several, none, or one that there is not, is not right."""
    letters = {letter.casefold(): letter for letter in wanted.letters}
    for way in _WAYS:
        if (value := way(given.content)) is None:
            continue
        chosen = [letters.get(letter.casefold(), letter) for letter in _chosen(value)]
        if not chosen:
            return Grade(False, "", f"{value.strip()[:80]!r} names no letter")
        if len(set(chosen)) > 1:
            return Grade(False, "", f"it chooses several: {', '.join(chosen)}")
        if chosen[0] not in wanted.letters:
            return Grade(False, chosen[0], f"{chosen[0]} is none of {wanted.letters}")
        is_right = chosen[0] == letters.get(wanted.letter.casefold(), wanted.letter)
        return Grade(is_right, chosen[0], "" if is_right else f"{chosen[0]} is not {wanted.letter}")
    return Grade(False, "", "no choice is named in the answer")


def _chosen(value: str) -> list[str]:
    """The letters that a value begins with: one, or several that are listed."""
    value = _LABEL.sub("", _WRAPPING.sub("", value[:200].replace(r"\ ", " ")).strip(" \t\n,[]"))
    first = _CHOSEN.match(value)
    if not first or _ARTICLE.match(value):
        return []
    chosen, rest = [first.group(1)], value[first.end(1) :]
    while another := _ANOTHER.match(rest):
        chosen.append(another.group(1))
        rest = rest[another.end() :]
    return chosen


def _in_field(text: str) -> str | None:
    found = list(_FIELD.finditer(text))
    return next(group for group in found[-1].groups() if group is not None) if found else None


def _in_box(text: str) -> str | None:
    return last_boxed(text).content or None


def _in_words(text: str) -> str | None:
    """The last statement of a choice that names a letter."""
    found = sorted(
        (match.start("letter"), match.group("letter")) for pattern in (_ANSWER_IS, _I_CHOOSE, _IS_RIGHT) for match in pattern.finditer(text)
    )
    return next((value for _, value in reversed(found) if _chosen(value)), None)


def _alone(text: str) -> str | None:
    """A letter that is all that the answer, or its last line, says; or that the answer's one line begins with, as in "(B) 42"."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    if re.fullmatch(r"[\W_]*[^\W_][\W_]*", lines[-1]):
        return re.sub(r"[\W_]", "", lines[-1])
    return lines[0] if len(lines) == 1 and re.match(r"[*_]*[(\[]?[^\W_][)\].:]", lines[0]) else None


_WAYS: Final[tuple[Callable[[str], str | None], ...]] = (_in_field, _in_box, _in_words, _alone)
