r"""What an answer comes to, so that answers can be compared (pure).

The two forms are those of QwQ's standard instructions (card.py): the last \boxed{…}, its braces balanced, or else the last
"answer": "C" of JSON.
"""

from __future__ import annotations

import re
from typing import Final

_BOX: Final = "\\boxed{"
_CHOICE: Final = re.compile(r'"answer"\s*:\s*"([^"\\]*)"')
_NUMBER: Final = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?")
_TEXT: Final = re.compile(r"\\text\{([^{}]*)\}")


def result_of(content: str) -> str | None:
    """The result of an answer, normalised; None where it has none."""
    found = _boxed(content)
    if found is None:
        choices = _CHOICE.findall(content)
        found = choices[-1] if choices else None
    return normalised(found) or None if found is not None else None


def normalised(result: str) -> str:
    r"""The same for results that differ only in how they are written.

    White space, dollar signs around it, \text{…} around it and a full stop at its end do not count; single letters are capitals. Numbers
    are written without thousands separators (a comma, also as LaTeX spells it), leading zeros, and zeros at the end of a fraction:
    1,320.50 is 1320.5.
    """
    text = "".join(result.split()).rstrip("$.").lstrip("$")
    if inner := _TEXT.fullmatch(text):
        text = inner[1]
    if number := _NUMBER.fullmatch(text.replace("{,}", ",").replace("\\,", ",").replace("\\!", "")):
        return _plain(*number.groups())
    return text.upper() if len(text) == 1 else text


def _boxed(content: str) -> str | None:
    """What stands in the last box that is closed."""
    end = len(content)
    while (start := content.rfind(_BOX, 0, end)) >= 0:
        inside = start + len(_BOX)
        depth = 1
        for place in range(inside, end):
            depth += {"{": 1, "}": -1}.get(content[place], 0)
            if depth == 0:
                return content[inside:place]
        end = start
    return None


def _plain(sign: str, whole: str, fraction: str | None) -> str:
    digits = whole.replace(",", "").lstrip("0") or "0"
    places = (fraction or "").rstrip("0")
    number = f"{digits}.{places}" if places else digits
    return f"-{number}" if sign == "-" and number != "0" else number
