"""What the documents tell people to type, and to write into files: every fenced block of every page, and each command in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

ROOT: Final = Path(__file__).parents[2]
GENERATED: Final = ("commands.md", "messages.md", "sessions.md")
"""Written by the program itself, and compared with it by docs/pages.py and docs/sessions.py."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its page's path from the root, the number of its first line in it, its language, and what is in it."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command, its continued lines joined; `shown` are the lines that the page says it prints, where it says so."""

    page: str
    line: int
    text: str
    shown: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """All documents that people write, by their paths from the root."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path.name not in GENERATED)


@cache
def blocks() -> tuple[Block, ...]:
    """Every fenced block of all of them; one that is indented by four is prose gone wrong, and is given as of the language "indented"."""
    return tuple(block for page in pages() for block in _of(page))


def _of(page: str) -> Iterator[Block]:
    for token in MarkdownIt().parse((ROOT / page).read_text("utf-8")):
        if token.type in {"fence", "code_block"}:
            assert token.map
            language = token.info.split()[0] if token.info.split() else ""
            yield Block(page, token.map[0] + 2, "indented" if token.type == "code_block" else language, token.content)


def of_language(*languages: str) -> list[Block]:
    return [block for block in blocks() if block.language in languages]


def commands(page: str) -> list[Command]:
    """What the page says to type, in its order: the lines of `sh`, and of `console` those after a `$`."""
    found: list[Command] = []
    for block in blocks():
        if block.page == page and block.language in {"sh", "console"}:
            found += _typed(block) if block.language == "sh" else _dialogue(block)
    return found


def _typed(block: Block) -> Iterator[Command]:
    begun, first = "", block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        first = first if begun else number
        begun += line
        if begun.endswith("\\"):
            begun = begun[:-1]
        else:
            if text := without_comment(begun):
                yield Command(block.page, first, text)
            begun = ""
    assert not begun, f"{block.place} ends with a backslash"


def _dialogue(block: Block) -> Iterator[Command]:
    typed: Command | None = None
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            if typed:
                yield typed
            typed = Command(block.page, number, without_comment(line.removeprefix("$ ")))
        else:
            assert typed, f"{block.place} shows what is printed before anything is typed"
            typed = Command(block.page, typed.line, typed.text, (*typed.shown, line))
    if typed:
        yield typed


def without_comment(line: str) -> str:
    """The line up to a # that begins a word outside of quotes."""
    quote, is_escaped = "", False
    for place, letter in enumerate(line):
        if is_escaped:
            is_escaped = False
        elif letter == "\\" and quote != "'":
            is_escaped = True
        elif letter in "'\"" and quote in {"", letter}:
            quote = "" if quote else letter
        elif letter == "#" and not quote and (place == 0 or line[place - 1].isspace()):
            return line[:place].strip()
    return line.strip()


def spoken_of() -> Iterator[Command]:
    """The commands of the program that stand in sentences and tables, in every page."""
    for page in [*pages(), "docs/commands.md"]:
        for token in MarkdownIt().enable("table").parse((ROOT / page).read_text("utf-8")):
            for piece in token.children or ():
                if piece.type == "code_inline" and piece.content.startswith("qwq "):
                    yield Command(page, token.map[0] + 1 if token.map else 0, piece.content)
