"""The lines below the one that is typed into (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qwq_local.cli.chatting.fragments import DIM, Line, one_line

KEYS: Final = ("Esc stop", "Ctrl-N answer now", "Ctrl-T thoughts")
IDLE_KEYS: Final = ("/help", "Alt-Enter new line", "Ctrl-D ends")


def fitting(parts: Sequence[str], width: int) -> Line:
    """So many of the parts as go into one line; at least the first, cut."""
    from wcwidth import wcswidth

    told = parts[0]
    for part in parts[1:]:
        if wcswidth(f"{told} · {part}") > width:
            break
        told += f" · {part}"
    return one_line(told, width, DIM)
