"""The tables, and how older ones become today's (SQL; sqlite.org/lang.html, sqlite.org/fts5.html).

A chat is a tree of messages: each knows the one that it follows, and what was edited or asked again stands beside what it replaces.
`leaf_id` is the end of the branch that was looked at last. `said` is the index of what messages say, by trigrams, since those find words of
languages that put no spaces between them; thoughts are not in it, and neither is a message that is still being written.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from qwq_local.errors import HistoryError

_UNSAY: Final = "INSERT INTO said(said, rowid, content) VALUES ('delete', old.id, old.content);"
_SAY: Final = "INSERT INTO said(rowid, content) VALUES (new.id, new.content);"

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE chats (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            title TEXT NOT NULL,
            system TEXT NOT NULL,
            options TEXT NOT NULL,
            leaf_id INTEGER,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX chats_by_time ON chats(updated_at)",
        """CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            chat_id TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
            parent_id INTEGER,
            role TEXT NOT NULL,
            state TEXT NOT NULL,
            touched_at REAL NOT NULL,
            created_at REAL NOT NULL,
            content TEXT NOT NULL,
            tool_calls TEXT NOT NULL DEFAULT '[]',
            error TEXT NOT NULL DEFAULT '',
            model TEXT NOT NULL DEFAULT '',
            finish_reason TEXT NOT NULL DEFAULT '',
            usage TEXT NOT NULL DEFAULT '{}',
            rope TEXT NOT NULL DEFAULT '',
            thought_seconds REAL NOT NULL DEFAULT 0,
            seconds REAL NOT NULL DEFAULT 0,
            n_tokens INTEGER NOT NULL DEFAULT 0,
            reasoning TEXT NOT NULL DEFAULT ''
        ) STRICT""",
        "CREATE INDEX messages_of_chat ON messages(chat_id, id)",
        "CREATE INDEX messages_in_the_making ON messages(touched_at) WHERE state = 'writing'",
        "CREATE VIRTUAL TABLE said USING fts5(content, content='messages', content_rowid='id', tokenize='trigram')",
        f"CREATE TRIGGER message_said AFTER INSERT ON messages WHEN new.state != 'writing' BEGIN {_SAY} END",
        f"CREATE TRIGGER message_gone AFTER DELETE ON messages WHEN old.state != 'writing' BEGIN {_UNSAY} END",
        f"""CREATE TRIGGER message_unsaid BEFORE UPDATE OF content, state ON messages WHEN old.state != 'writing'
            BEGIN {_UNSAY} END""",
        f"""CREATE TRIGGER message_said_at_last AFTER UPDATE OF content, state ON messages WHEN new.state != 'writing'
            BEGIN {_SAY} END""",
    ),
)
"""What each version adds to the one before; `PRAGMA user_version` counts those that a file has."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to today's version, all of it or nothing. Raises HistoryError for one that a later program wrote."""
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = _version(connection)  # another program may have done it meanwhile
        if version > len(MIGRATIONS):
            raise HistoryError(
                f"The chats were written by a later version of this program (their format is {version}, and {len(MIGRATIONS)} is known).",
                hint="Update it, or set QWQ_DATA to another folder.",
            )
        for statement in (statement for migration in MIGRATIONS[version:] for statement in migration):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
