"""The program in an answer (pure): fenced blocks of Markdown, as CommonMark has them (spec.commonmark.org, fenced code blocks)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_OPENING: Final = re.compile(r"(?P<space>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_PYTHON: Final = frozenset({"python", "python3", "py", "py3"})


def program_in(content: str) -> str | None:
    """The last block that is said to be Python, or else the last of no language; None where there is neither."""
    named: str | None = None
    unnamed: str | None = None
    for language, text in blocks(content):
        if language in _PYTHON:
            named = text
        elif not language:
            unnamed = text
    return unnamed if named is None else named


def blocks(content: str) -> Iterator[tuple[str, str]]:
    """Each block's language in small letters and its text, less the space that its fence is indented by; the last may lack its end."""
    lines = iter(content.split("\n"))
    for line in lines:
        if opening := _OPENING.fullmatch(line.rstrip()):
            fence, indent = opening["fence"], len(opening["space"])
            closing = re.compile(rf"[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t\r]*")
            text: list[str] = []
            for inside in lines:
                if closing.fullmatch(inside):
                    break
                text.append(inside[min(indent, len(inside) - len(inside.lstrip())) :])
            language = re.split(r"[\s,{:]", opening["info"].strip().lower())[0]
            yield language, "\n".join(text)
