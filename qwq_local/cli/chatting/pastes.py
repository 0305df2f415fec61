"""Pastes too long to be shown: a placeholder stands for each in the line, and its text is put back when the line is sent (pure)."""

from __future__ import annotations

from typing import Final

LONG_CHARACTERS: Final = 2000
LONG_LINES: Final = 20


class Pastes:
    """The texts behind the placeholders of one conversation."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def shown(self, text: str) -> str:
        """What is put into the line for a text: itself, or a placeholder where it is long."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        n_lines = text.count("\n") + 1
        if len(text) <= LONG_CHARACTERS and n_lines <= LONG_LINES:
            return text
        told = f"{n_lines:,} lines" if n_lines > 1 else f"{len(text):,} characters"
        placeholder = f"[pasted {told}]"
        number = 1
        while self._texts.get(placeholder, text) != text:
            number += 1
            placeholder = f"[pasted {told} #{number}]"
        self._texts[placeholder] = text
        return placeholder

    def whole(self, line: str) -> str:
        """A line with the texts in place of their placeholders."""
        for placeholder, text in self._texts.items():
            if placeholder in line:
                head, _, tail = line.partition(placeholder)
                line = f"{head}{text}{tail}"
        return line
