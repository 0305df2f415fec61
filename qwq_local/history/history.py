"""The chats of one user, in one SQLite file that several programs may have open at once."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from qwq_local.errors import ChatNotFoundError, DamagedHistoryError, HistoryError
from qwq_local.history.chat import Chat, ChatMessage, ChatSummary, Found, Role, State
from qwq_local.history.draft import Draft
from qwq_local.history.file import as_history_error, open_file, suspect
from qwq_local.history.pen import Pen
from qwq_local.history.search import search

CHATS_FILE: Final = "chats.db"
"""What the file is called, in the folder of the user's data."""
LOST_SECONDS: Final = 10.0
"""Whoever writes a message gives a sign of life more often than that."""
UNUSED_SECONDS: Final = 24 * 3600.0
TITLE_CHARACTERS: Final = 80

_SUMMARY: Final = """SELECT id, title, owner, created_at, updated_at,
    (SELECT count(*) FROM messages WHERE chat_id = chats.id) AS n_messages,
    EXISTS (SELECT 1 FROM messages WHERE chat_id = chats.id AND state = 'writing' AND touched_at > :alive) AS is_writing
    FROM chats"""


class History:
    """Chats, kept while they are written; for any number of threads, beside other programs that do the same.

    `notices` are what its user should know of the file. `problem` says why what is being written cannot be kept at the moment, or nothing:
    it stays in memory, and is written as soon as that goes.
    """

    def __init__(self, connection: sqlite3.Connection, notices: Sequence[str], path: Path | None, clock: Callable[[], float]) -> None:
        self.notices = list(notices)
        self._path = path
        self._connection = connection
        self._clock = clock
        self._lock = threading.RLock()
        self._pen = Pen(connection, self._lock, clock)

    @classmethod
    def open(cls, path: Path | None, *, clock: Callable[[], float] = time.time) -> Self:
        """Open a file of chats, new where there is none, or keep them in memory only; `clock` reads seconds since 1970.

        One that is damaged is set aside, and what can still be read of it taken over: `notices` say so. Raises HistoryError for a file
        that cannot be opened, or that a later version of this program wrote.
        """
        history = cls(*open_file(path), path, clock)
        try:
            history._tidy()
        except DamagedHistoryError:  # it is suspect now, and so looked through
            history.close()
            history = cls(*open_file(path), path, clock)
            history._tidy()
        return history

    @classmethod
    def open_anyway(cls, path: Path | None) -> Self:
        """Open a file of chats; where it cannot be opened they are kept in memory only, and `notices` say why."""
        try:
            return cls.open(path)
        except HistoryError as error:
            history = cls.open(None)
            history.notices.append(f"{error} {error.hint} Until then chats are kept only as long as this runs.".replace("  ", " "))
            return history

    @property
    def problem(self) -> str:
        """Why what is being written cannot be kept at the moment, or nothing."""
        return self._pen.problem

    def start(self, *, system: str = "", options: Mapping[str, Any] | None = None, owner: str = "") -> str:
        """Begin a chat, which is listed once something is said in it; its id."""
        with self._writing() as db:
            while True:
                chat_id, now = secrets.token_hex(5), self._clock()
                row = (chat_id, owner, "", system, json.dumps(options or {}), now, now)
                done = db.execute(
                    "INSERT INTO chats(id, owner, title, system, options, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    row,
                )
                if done.rowcount:
                    return chat_id

    def say(
        self, chat_id: str, role: Role, content: str, parent_id: int | None = None, *, tool_calls: Sequence[Mapping[str, str]] = ()
    ) -> int:
        """Add a whole message behind another, or as a first one; its id. The chat is now read up to it."""
        with self._writing() as db:
            message_id = self._add(db, chat_id, parent_id, role=role, content=content, state="whole", tool_calls=json.dumps([*tool_calls]))
            db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", [title_of(content), chat_id])
            return message_id

    def begin(self, chat_id: str, parent_id: int | None, model: str = "") -> Draft:
        """Add an answer in the making, which is kept as it grows. The chat is now read up to it."""
        with self._writing() as db:
            message_id = self._add(db, chat_id, parent_id, role="assistant", content="", state="writing", model=model)
        return self._pen.begin(message_id)

    def get(self, chat_id: str, owner: str | None = None) -> Chat:
        """A chat with all its branches; a unique beginning of its id will do. Raises ChatNotFoundError."""
        with self._reading() as db:
            row = _row(db, chat_id, owner)
            messages = db.execute("SELECT * FROM messages WHERE chat_id = ? ORDER BY id", [row["id"]]).fetchall()
            found = {message["id"]: self._pen.newest(_message(message, self._alive_since())) for message in messages}
        return Chat(**{**dict(row), "options": json.loads(row["options"])}, messages=found)

    def latest(self, *, limit: int = 50, before: float | None = None, before_id: str = "", owner: str | None = None) -> list[ChatSummary]:
        """The chats in which something was said, those first in which it was said last.

        `before` and `before_id` are the time and the id of a chat to go on from.
        """
        goes_on = "(:before IS NULL OR (updated_at, id) < (:before, :before_id))"
        where = f"leaf_id IS NOT NULL AND {goes_on} AND (:owner IS NULL OR owner = :owner)"
        named = {"alive": self._alive_since(), "before": before, "before_id": before_id, "owner": owner, "limit": limit}
        with self._reading() as db:
            rows = db.execute(f"{_SUMMARY} WHERE {where} ORDER BY updated_at DESC, id DESC LIMIT :limit", named).fetchall()
        return list(map(_summary, rows))

    def search(self, text: str, *, limit: int = 50, owner: str | None = None) -> list[Found]:
        """The chats in which all these words are said in one message, or stand in the title, the latest first."""
        with self._reading() as db:
            hits = search(db, text, limit, owner)
            rows = [db.execute(f"{_SUMMARY} WHERE id = :id", {"alive": self._alive_since(), "id": hit.chat_id}).fetchone() for hit in hits]
        return [Found(_summary(row), hit.message_id, hit.snippet, hit.spans) for row, hit in zip(rows, hits, strict=True)]

    def set_leaf(self, chat_id: str, message_id: int) -> None:
        """Read the chat up to this message from now on. Raises ChatNotFoundError where it has none such."""
        with self._writing() as db:
            self._require_message(db, chat_id, message_id)
            db.execute("UPDATE chats SET leaf_id = ? WHERE id = ?", [message_id, chat_id])

    def rename(self, chat_id: str, title: str) -> None:
        """Give it another title. Raises ChatNotFoundError."""
        self._set(chat_id, "title", title_of(title))

    def set_system(self, chat_id: str, system: str) -> None:
        """Give it another system message. Raises ChatNotFoundError."""
        self._set(chat_id, "system", system)

    def set_options(self, chat_id: str, options: Mapping[str, Any]) -> None:
        """Have it answered with these options of `QwQ.stream`. Raises ChatNotFoundError."""
        self._set(chat_id, "options", json.dumps(dict(options)))

    def delete(self, chat_id: str) -> None:
        """Away with it, and with all that was said in it. Raises ChatNotFoundError."""
        with self._writing() as db:
            if not db.execute("DELETE FROM chats WHERE id = ?", [chat_id]).rowcount:
                raise not_found(chat_id)

    def close(self) -> None:
        """Write what is left, and close the file. Raises HistoryError where that cannot be written."""
        try:
            self._pen.close()
        finally:
            with self._lock:
                self._connection.close()

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _tidy(self) -> None:
        with self._writing() as db:
            db.execute("UPDATE messages SET state = 'lost' WHERE state = 'writing' AND touched_at < ?", [self._alive_since()])
            db.execute("DELETE FROM chats WHERE leaf_id IS NULL AND created_at < ?", [self._clock() - UNUSED_SECONDS])

    def _set(self, chat_id: str, column: str, value: str) -> None:
        with self._writing() as db:
            if not db.execute(f"UPDATE chats SET {column} = ? WHERE id = ?", [value, chat_id]).rowcount:  # noqa: S608 - one of three names
                raise not_found(chat_id)

    def _add(self, db: sqlite3.Connection, chat_id: str, parent_id: int | None, **columns: str) -> int:
        if parent_id is not None:
            self._require_message(db, chat_id, parent_id)
        now = self._clock()
        row: dict[str, str | float | None] = {"chat_id": chat_id, "parent_id": parent_id, "created_at": now, "touched_at": now, **columns}
        if not db.execute("UPDATE chats SET updated_at = ? WHERE id = ?", [now, chat_id]).rowcount:
            raise not_found(chat_id)
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        message_id = db.execute(f"INSERT INTO messages({names}) VALUES ({places})", row).lastrowid  # noqa: S608 - names from this file
        assert message_id is not None, "an INSERT has a row"
        db.execute("UPDATE chats SET leaf_id = ? WHERE id = ?", [message_id, chat_id])
        return message_id

    @staticmethod
    def _require_message(db: sqlite3.Connection, chat_id: str, message_id: int) -> None:
        if db.execute("SELECT 1 FROM messages WHERE id = ? AND chat_id = ?", [message_id, chat_id]).fetchone() is None:
            raise ChatNotFoundError(f"The chat {chat_id!r} has no message {message_id}.", hint="It may have been deleted meanwhile.")

    def _alive_since(self) -> float:
        return self._clock() - LOST_SECONDS

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._attentive():
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Around changes that are made together or not at all."""
        with self._lock, self._attentive():
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                yield self._connection

    @contextmanager
    def _attentive(self) -> Iterator[None]:
        try:
            with as_history_error():
                yield
        except DamagedHistoryError:
            if self._path:
                suspect(self._path)
            raise


def title_of(text: str) -> str:
    """The first line of what was said, as the title of a chat."""
    line = " ".join(text.strip().partition("\n")[0].split())
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"


def not_found(chat_id: str) -> ChatNotFoundError:
    """What is said of a chat that is not there."""
    return ChatNotFoundError(f"There is no chat {chat_id[:80]!r}.", hint="qwq history lists those that there are.")


def _row(db: sqlite3.Connection, chat_id: str, owner: str | None) -> sqlite3.Row:
    where = "substr(id, 1, length(:id)) = :id AND (:owner IS NULL OR owner = :owner)"
    rows: list[sqlite3.Row] = db.execute(f"SELECT * FROM chats WHERE {where} LIMIT 2", {"id": chat_id, "owner": owner}).fetchall()  # noqa: S608 - a constant
    if not rows or not chat_id:
        raise not_found(chat_id)
    if len(rows) > 1:
        raise ChatNotFoundError(f"Several chats begin with {chat_id!r}.", hint="Give more letters of its id.")
    return rows[0]


def _summary(row: sqlite3.Row) -> ChatSummary:
    return ChatSummary(**{**dict(row), "is_writing": bool(row["is_writing"])})


def _message(row: sqlite3.Row, alive_since: float) -> ChatMessage:
    found = dict(row)
    found.pop("chat_id")
    if found.pop("touched_at") < alive_since and found["state"] == "writing":
        state: State = "lost"
        found["state"] = state
    calls, usage = json.loads(found.pop("tool_calls")), json.loads(found.pop("usage"))
    return ChatMessage(**found, tool_calls=tuple(calls), usage=usage)
