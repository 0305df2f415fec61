"""Find words in chats: by the index of trigrams where a word has three letters, by reading where it is shorter, as in Chinese many are."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import Final

TRIGRAM: Final = 3
MOST_HITS: Final = 2000
"""Messages that are looked at, the newest first: enough for any list that somebody reads."""
SNIPPET_CHARACTERS: Final = 120
BEFORE_CHARACTERS: Final = 40


@dataclass(frozen=True)
class Hit:
    """Where something was found, and how it reads there."""

    chat_id: str
    message_id: int
    snippet: str
    spans: tuple[tuple[int, int], ...]


def search(db: sqlite3.Connection, text: str, limit: int, owner: str | None) -> list[Hit]:
    """The newest message of each chat that says all the words, and the chats with all of them in the title; the latest chats first."""
    words = text.replace("\0", " ").split()  # a NUL would end the query
    if not words:
        return []
    found: dict[str, tuple[int, float]] = {}
    for chat_id, message_id, updated_at in (*_said(db, words, owner), *_titled(db, words, owner)):
        found.setdefault(chat_id, (message_id, updated_at))
    latest = sorted(found, key=lambda chat_id: -found[chat_id][1])[:limit]
    return [_hit(db, chat_id, found[chat_id][0], words) for chat_id in latest]


def _said(db: sqlite3.Connection, words: list[str], owner: str | None) -> list[tuple[str, int, float]]:
    long = [word for word in words if len(word) >= TRIGRAM]
    short = [word for word in words if len(word) < TRIGRAM]
    likes = "".join(f" AND messages.content LIKE :word{i} ESCAPE '\\'" for i in range(len(short)))
    named: dict[str, str | int | None] = {f"word{i}": _like(word) for i, word in enumerate(short)}
    source, order = "messages", "messages.id"
    if long:
        source, order = "said JOIN messages ON messages.id = said.rowid", "said.rowid"
        likes = f" AND said MATCH :words{likes}"
        named["words"] = " AND ".join('"' + word.replace('"', '""') + '"' for word in long)
    query = (
        f"SELECT chat_id, messages.id, updated_at FROM {source} JOIN chats ON chats.id = chat_id"  # noqa: S608 - put together from constants
        f" WHERE (:owner IS NULL OR owner = :owner){likes} ORDER BY {order} DESC LIMIT {MOST_HITS}"
    )
    return [tuple(row) for row in db.execute(query, named | {"owner": owner})]


def _titled(db: sqlite3.Connection, words: list[str], owner: str | None) -> list[tuple[str, int, float]]:
    likes = " AND ".join(f"title LIKE :word{i} ESCAPE '\\'" for i in range(len(words)))
    named: dict[str, str | None] = {"owner": owner, **{f"word{i}": _like(word) for i, word in enumerate(words)}}
    where = f"leaf_id IS NOT NULL AND (:owner IS NULL OR owner = :owner) AND {likes}"
    query = f"SELECT id, leaf_id, updated_at FROM chats WHERE {where} ORDER BY updated_at DESC LIMIT {MOST_HITS}"  # noqa: S608 - likewise
    return [tuple(row) for row in db.execute(query, named)]


def _hit(db: sqlite3.Connection, chat_id: str, message_id: int, words: list[str]) -> Hit:
    content: str = db.execute("SELECT content FROM messages WHERE id = ?", [message_id]).fetchone()[0]
    pattern = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))), re.IGNORECASE)
    first = pattern.search(content)
    start = max(0, first.start() - BEFORE_CHARACTERS) if first else 0
    snippet = re.sub(r"\s", " ", content[start : start + SNIPPET_CHARACTERS])
    return Hit(chat_id, message_id, snippet, tuple(match.span() for match in pattern.finditer(snippet)))


def _like(word: str) -> str:
    return "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"
