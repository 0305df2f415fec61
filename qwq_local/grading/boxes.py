r"""The `\boxed{}` that an answer ends with (pure), in time linear in its length."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(r"(?P<box>\\{1,2}(?:boxed|fbox)\s{0,9}\{)|\\.|[{}]", re.DOTALL)
_BARE: Final = re.compile(r"\\(?:boxed|fbox)[ ]{0,9}([^\s{}$\\,;]+)")
_BETWEEN: Final = re.compile(r"[\s$\\()]{0,20}(?:,|;|,?\s?and|,?\s?or)[\s$\\()]{0,20}")
"""What may stand between boxes that are one list, with the delimiters of inline maths."""


@dataclass(frozen=True)
class Boxed:
    """What stands in the last box; `why` says why there is nothing."""

    content: str = ""
    why: str = ""


@dataclass(frozen=True)
class _Box:
    """Where it starts and ends, and its content."""

    start: int
    end: int
    content: slice


def last_boxed(text: str) -> Boxed:
    r"""The content of the last `\boxed{}` that is not empty; of boxes that are listed ("one and another"), all, with commas.

    A box that is opened last and never closed is an answer that was cut off: it counts as none.
    """
    found, open_at = _boxes(text)
    if open_at > (found[-1].start if found else -1):
        return Boxed(why=r"the last \boxed{ is not closed")
    if filled := [box for box in found if text[box.content].strip()]:
        return Boxed(_listed(text, filled))
    if bare := list(_BARE.finditer(text)):
        return Boxed(bare[-1].group(1).rstrip(".") or ".")
    return Boxed(why=r"the \boxed{} in the answer is empty" if found else r"no \boxed{} in the answer")


def _boxes(text: str) -> tuple[list[_Box], int]:
    """The closed boxes that stand in no other closed one, in order, and where the last unclosed one starts (-1 where none does)."""
    found: list[_Box] = []
    opened: list[tuple[int, int] | None] = []
    for token in _TOKEN.finditer(text):
        if token.group("box"):
            opened.append(token.span())
        elif token.group() == "{":
            opened.append(None)
        elif token.group() == "}" and opened and (box := opened.pop()):
            while found and found[-1].start > box[0]:
                found.pop()
            found.append(_Box(box[0], token.end(), slice(box[1], token.start())))
    return found, max((box[0] for box in opened if box), default=-1)


def _listed(text: str, boxes: list[_Box]) -> str:
    contents = [text[boxes[-1].content].strip()]
    for before, after in zip(reversed(boxes[:-1]), reversed(boxes), strict=False):
        if not _BETWEEN.fullmatch(text, before.end, after.start):
            break
        contents.append(text[before.content].strip())
    return ", ".join(dict.fromkeys(reversed(contents)))
