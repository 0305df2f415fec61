"""What an answer in LaTeX says, without how it is set (pure): its value's text, its unit, the name it is given, or plain words.

What is cleaned away is what the answers of MATH and AIME differ in without meaning another thing (Hendrycks et al., arXiv 2103.03874,
math_equivalence.py, has the first such list).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from qwq_local.grading.units import UNIT_WORDS, unit_of

_UNICODE: Final = {
    **dict.fromkeys("\u2212\u2013", "-"),
    **dict.fromkeys("\u00a0\u2009\u202f", " "),
    "\u00d7": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "±": r"\pm ",
    "π": r"\pi ",
    "∞": r"\infty ",
    "\u222a": r"\cup ",
    "∩": r"\cap ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "°": r"^\circ ",
    "≈": r"\approx ",
    "½": r"\frac{1}{2}",
    "²": "^{2}",
    "³": "^{3}",
    "€": r"\text{ euros}",
    "£": r"\text{ pounds}",
    "\u2019": "'",
}
_TRANSLATION: Final = str.maketrans(_UNICODE)

_CLEANED: Final = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\*\*(.*?)\*\*$", r"\1"),
        (r"\\(?:displaystyle|textstyle|limits|left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\.?", ""),
        (r"\\l?dots(?![a-zA-Z])", "..."),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r"(?<=\d)(?:\\[,!;: ]|\{,\}|~|\\thinspace|,\\!)(?=\d{3}(?!\d))", ""),
        (r"\{,\}", ","),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])|\\thinspace", " "),
        (r"\\[dtc]frac", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\s*\\[pb]?mod\s*\{?\s*\d+\s*\}?$", ""),
        (r"\\(?:mathbf|boldsymbol|bm|mathit|textbf|textit|boxed|fbox|underline|displaystyle)\s*(?=\{)", ""),
        (r"\\(?:mathrm|textrm|textnormal|textsf|texttt|mbox|hbox|operatorname|rm)\s*(?=\{)", r"\\text"),
        (r"\\text\s*\{\s*(and|or|,|;)\s*\}", r" \1 "),
        (r"\s*,?(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])\s*", ", "),
        (r"\\(?:varnothing|O(?![a-zA-Z])|\{\s*\\\})", r"\\emptyset"),
        (r"\\(?:leq|leqslant)(?![a-zA-Z])", r"\\le"),
        (r"\\(?:geq|geqslant)(?![a-zA-Z])", r"\\ge"),
        (r"\\infin(?:ity)?(?![a-zA-Z])|(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty"),
        (r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi "),
        (r"\*\*", "^"),
        (r"\\?(?<![a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\d.a-zA-Z}^_])(\d+)\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", r"(\1+\\frac{\2}{\3})"),
        (r"(?<![\d.,a-zA-Z}^_/])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d/])", r"(\1+\\frac{\2}{\3})"),
        (r"\s+", " "),
    )
]
"""In this order."""
_LABEL: Final = re.compile(
    r"^(?:\\text\s*\{)?\s*(?:the\s+)?(?:final\s+)?(?:answer|solution)(?:\s+is)?\s*[:=]?\s*\}?\s*[:=]?\s*", re.IGNORECASE
)
_NAME: Final = re.compile(r"(?:^|(?<=,)\s*)((?:\\?[a-zA-Z]+)(?:_\{?\w+\}?)?(?:\([a-z]\))?)\s*(?:=|\\approx|\\in(?![a-zA-Z]))\s*")
_MONEY: Final = re.compile(r"^(-?)\s*(?:\\?\$|USD)\s*([\d.,{}\\!]*\d)\.?$")
_PERCENT: Final = re.compile(r"\s*(?:\\?%|\\text\s*\{\s*\\?%\s*\}|(?:\\text\s*\{)?\s*per\s?cent(?:age)?\s*\}?)$")
_DEGREES: Final = re.compile(
    r"\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})(?:\s*\\text\s*\{\s*[CF]\s*\}|\s*[CF](?![a-zA-Z]))?|\s*\\degree(?![a-zA-Z])"
)
_TRIGONOMETRIC: Final = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_ANGLE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})")
_REPEATING: Final = re.compile(r"(?<![\w.])(\d{1,50})\.(\d{0,50})\\overline\s*\{(\d{1,50})\}")
_RATIO: Final = re.compile(r"^(\d+)\s*:\s*([1-9]\d*)$")
_TEXT_UNIT: Final = re.compile(r"(?<=.)\s*\\text\s*\{([^{}]*)\}\s*(?:\^\s*(\{\s*-?\d\s*\}|\d))?$")
_PLAIN_UNIT: Final = re.compile(rf"(?<=[\d)}}])\s*({UNIT_WORDS})\s*(?:\^\s*(\{{\s*\d\s*\}}|\d))?$")
_BASE: Final = re.compile(r"^(-?(?:\d[\dA-F.]*|[\dA-F]{2,}))_\s*(?:\{\s*(?:\\text\s*\{)?\s*(\w+)\s*\}?\s*\}|(\d))$")
_THOUSANDS: Final = re.compile(r"^-?\d{1,3}(?:,\d{3})+(?:\.\d+)?$")
_EQUATION: Final = re.compile(r"(\([a-z, ]+\)|[^=\d,;<>]+)=([^=]+)")
_ALL_TEXT: Final = re.compile(r"(?:\\text\s*\{[^{}]*\}\s*)+")
_TEXT: Final = re.compile(r"\\text\s*\{([^{}]*)\}")
_WORDS: Final = re.compile(r"[^\W\d_]{4,}(?:[\s'-]+[^\W\d_]+)*|yes|no|odd|none", re.IGNORECASE)


@dataclass(frozen=True)
class Said:
    """An answer's value as LaTeX, what it is said to be the value of, its unit by its commonest name, and whether it is words only."""

    value: str
    name: str = ""
    unit: str = ""
    is_words: bool = False

    @property
    def named(self) -> str:
        """The value as an equation."""
        return f"{self.name}={self.value}" if self.name else self.value


def read_latex(text: str) -> Said:
    """What it says."""
    text = _clean(text)
    if words := _words(text):
        return Said(words, is_words=True)
    text, unit = _without_unit(text)
    text, name = _without_name(text)
    if _THOUSANDS.match(text):
        text = text.replace(",", "")
    return Said(_RATIO.sub(r"\\frac{\1}{\2}", text), name, unit)


def bare(value: str) -> str:
    """It without space and needless braces, so that what is written alike is alike."""
    value = re.sub(r"\s+", "", _TEXT.sub(r"\1", value))
    value = re.sub(r"([\^_])\{(\w)\}", r"\1\2", value)
    value = re.sub(r"(?<![\w.])0+(?=\d)", "", value).removeprefix("+")
    return value.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d*\.\d+", value) else value


def _clean(text: str) -> str:
    text = text.translate(_TRANSLATION).strip()
    text = _MONEY.sub(r"\1\2\\text{ dollars}", text).replace(r"\$", "").replace("$", "")
    text = _LABEL.sub("", text, count=1)
    for pattern, replacement in _CLEANED:
        text = pattern.sub(replacement, text)
    text = _REPEATING.sub(_fraction, text)
    return text.strip().rstrip(".,;").strip()


def _fraction(match: re.Match[str]) -> str:
    """A repeating decimal: 0.1(6) is (16 - 1)/90."""
    once, period = match[1] + match[2], match[3]
    return rf"\frac{{{int(once + period) - int(once)}}}{{{'9' * len(period)}{'0' * len(match[2])}}}"


def _words(text: str) -> str:
    """Its words in small letters, where it is nothing else; a single letter in brackets is one."""
    words = " ".join(_TEXT.sub(r" \1 ", text).replace("{", " ").replace("}", " ").split()).rstrip(".")
    if match := re.fullmatch(r"\(?([A-Za-z])\)?", words):
        return match.group(1) if words != text else ""
    is_words = _WORDS.fullmatch(words) or (_ALL_TEXT.fullmatch(text) and re.fullmatch(r"\D*[^\W\d_]{2}\D*", words))
    return words.casefold() if is_words else ""


def _without_unit(text: str) -> tuple[str, str]:
    if match := _PERCENT.search(text):
        return text[: match.start()], "%"
    if match := _BASE.match(text):
        return match.group(1), f"base {match.group(2) or match.group(3)}"
    if _TRIGONOMETRIC.search(text):
        return _ANGLE.sub(r"(\\frac{\1\\pi}{180})", text), ""
    if (without := _DEGREES.sub("", text)) != text:
        return without.strip(), "degree"
    for pattern in (_TEXT_UNIT, _PLAIN_UNIT):
        match = pattern.search(text)
        if match and re.search(r"\w", text[: match.start()]):
            return text[: match.start()].strip(), unit_of(match.group(1), (match.group(2) or "").strip("{} "))
    return text, ""


def _without_name(text: str) -> tuple[str, str]:
    """The value alone, and what it is said to be the value of; what was worked out on the way is left out, too."""
    name = ""
    names = {match.group(1) for match in _NAME.finditer(text)}
    if len(names) == 1:
        text, name = _NAME.sub(" ", text), names.pop()
    elif not names and (match := _EQUATION.fullmatch(text)):
        text, name = match.group(2), match.group(1).strip()
    if "," not in text and "=" in text and not re.search("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text)):
        text = text.rpartition("=")[2]
    return text.strip(), name
