"""Lines of styled text, as prompt_toolkit shows them: made of what rich renders, of model text that is made harmless, or of our own."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from qwq_local.cli.terminal import plain_text

if TYPE_CHECKING:
    from rich.color import Color
    from rich.console import Console, RenderableType
    from rich.segment import Segment
    from rich.style import Style

Fragment: TypeAlias = tuple[str, str]
"""A style of prompt_toolkit, and a text of one line."""
Line: TypeAlias = list[Fragment]

DIM: Final = "dim"
WIDEST: Final = 110
"""Columns that text is wrapped at where a terminal has more: longer lines are hard to read."""

_NAMES: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "gray")
_BRIGHT: Final = ("brightblack", *(f"bright{name}" for name in _NAMES[1:-1]), "white")
_ANSI: Final = [f"ansi{name}" for name in (*_NAMES, *_BRIGHT)]


def render_lines(renderable: RenderableType, width: int) -> list[Line]:
    """What rich makes of something at so many columns. Whatever it holds, no control character is in it."""
    console = _console(max(width, 4))
    lines = console.render_lines(renderable, pad=False)
    return [_trimmed([fragment for segment in line if (fragment := _fragment(segment))]) for line in lines]


def wrapped(text: str, width: int, style: str = "") -> list[Line]:
    """Plain text in lines of at most so many columns, made harmless."""
    from rich.text import Text

    lines = render_lines(Text(plain_text(text)), min(width, WIDEST))
    return [[(style, text) for _, text in line] for line in lines]


def one_line(text: str, width: int, style: str = "") -> Line:
    """A text in one line, cut where it is too long."""
    from qwq_local.cli.terminal import cut
    from qwq_local.cli.terminal import one_line as joined

    return [(style, cut(joined(text), width))]


@lru_cache(maxsize=8)
def _console(width: int) -> Console:
    from rich.console import Console

    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor", legacy_windows=False, emoji=False)


def _fragment(segment: Segment) -> Fragment | None:
    text, style, control = segment
    if control or not text:
        return None
    return _style(style) if style else "", plain_text(text.replace("\t", " ").replace("\n", " "))


@lru_cache(maxsize=1024)
def _style(style: Style) -> str:
    flags = ("bold", "dim", "italic", "underline", "reverse", "strike")
    words = [name for name in flags if getattr(style, name)]
    for prefix, colour in (("fg:", style.color), ("bg:", style.bgcolor)):
        if colour is not None and not colour.is_default:
            words.append(prefix + _colour(colour))
    return " ".join(words)


def _colour(colour: Color) -> str:
    if colour.number is not None and colour.number < len(_ANSI):
        return _ANSI[colour.number]  # as the terminal's own palette has it
    return colour.get_truecolor().hex


def _trimmed(line: Line) -> Line:
    """Without the spaces at its end, which a narrower terminal would wrap."""
    while line and not line[-1][1].strip() and "bg:" not in line[-1][0] and "reverse" not in line[-1][0]:
        line.pop()
    if line and "bg:" not in line[-1][0]:
        style, text = line[-1]
        line[-1] = (style, text.rstrip())
    return line
