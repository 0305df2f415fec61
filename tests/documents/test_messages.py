"""Troubleshooting goes by what the program says, word for word."""

from __future__ import annotations

import importlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from qwq_local import errors
from tests.documents.blocks import ROOT
from tests.source import in_the_source_tree

pytestmark = in_the_source_tree
PAGE = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
OTHERS = ("Of pip and the compiler:",)
"""What stands before a table of other programs' messages."""


@pytest.fixture(scope="module")
def said() -> Any:
    """docs/messages.py: what the program can say, read out of its source."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        return importlib.import_module("messages")


@pytest.fixture(scope="module")
def texts(said: Any) -> frozenset[str]:
    """Its messages, and the other texts that one could be."""
    return frozenset({one.text for one in said.messages()} | set(said.strings()))


def quoted(table: str) -> list[str]:
    """The messages in the first column of a table's rows."""
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| message", "| status"))]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


def tables() -> list[tuple[str, str]]:
    """What stands before each table, and the table."""
    paragraphs = PAGE.split("\n\n")
    return [(before, table) for before, table in pairwise(paragraphs) if table.startswith("| ")]


OURS = [message for before, table in tables() if before not in OTHERS for message in quoted(table)]


def is_of(message: str, text: str) -> bool:
    """Whether what the page quotes is what the source says, … in either standing for anything."""
    first, *others = message.split("…")
    if not others:
        return text == message
    if not text.startswith(first) or not text[len(first) :].endswith(others[-1]):
        return False
    place, end = len(first), len(text) - len(others[-1])
    for piece in others[:-1]:
        if (place := text.find(piece, place, end)) < 0:
            return False
        place += len(piece)
    return True


@pytest.mark.parametrize("message", OURS)
def test_what_the_page_quotes_is_what_the_program_says(message: str, texts: frozenset[str]) -> None:
    assert any(is_of(message, text) for text in texts), f"nothing in the source says: {message}"


def test_every_kind_of_error_is_on_the_page(said: Any) -> None:
    raised = {one.kind for one in said.messages() if hasattr(errors, one.kind)}
    told = {one.kind for one in said.messages() for message in OURS if is_of(message, one.text)}
    assert not raised - told - {"QwqError"}


def test_what_the_page_quotes_of_pip_is_what_pip_says() -> None:
    import pip

    sources = "\n".join(path.read_text("utf-8") for path in (Path(pip.__file__).parent / "_internal").rglob("*.py"))
    for words in ("externally-managed-environment", "Failed building wheel for"):
        assert words in PAGE
        assert words in sources
