"""A glance at the latest chats that leaves their file, and all beside it, as it is: nothing is made, moved to today's tables or mended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def latest_titles(path: Path, beginning: str, limit: int) -> list[tuple[str, str]]:
    """Id and title of the latest chats whose id begins so; none where there is no file, or where it cannot be read.

    Without a write-ahead log nobody writes, and SQLite is told so (`immutable`, sqlite.org/uri.html), since it would make one to read.
    """
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    query = "SELECT id, title FROM chats WHERE leaf_id IS NOT NULL AND substr(id, 1, ?) = ? ORDER BY updated_at DESC, id DESC LIMIT ?"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=0)) as connection:
            return [(str(chat_id), str(title)) for chat_id, title in connection.execute(query, [len(beginning), beginning, limit])]
    except sqlite3.Error:
        return []
