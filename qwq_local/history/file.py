"""The file that chats are kept in: opened, checked, and set aside where it is damaged; SQLite's errors in our words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from qwq_local.errors import DamagedHistoryError, HistoryError
from qwq_local.history.schema import migrate

BUSY_SECONDS: Final = 10.0
"""How long another program's writing is waited for."""
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PARTS: Final = ("", "-wal", "-shm")
_SUSPECT: Final = "-suspect"
"""A file of this ending lies beside one in which damage was met; whoever opens that next looks it all through."""
CHECKED_BYTES: Final = 32 * 2**20
"""A file up to this size is looked through whenever it is opened, which takes some 15 ms."""
_HINTS: Final = {
    sqlite3.SQLITE_FULL: "Free some space; what is being written is kept as soon as there is some.",
    sqlite3.SQLITE_BUSY: "Another program holds the file of chats: end it, or try again.",
    sqlite3.SQLITE_READONLY: "Make the folder QWQ_DATA writable.",
    sqlite3.SQLITE_CANTOPEN: "Make the folder QWQ_DATA writable, or name another one.",
}


@contextmanager
def as_history_error() -> Iterator[None]:
    """SQLite's errors become HistoryError, with what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bytes say more than is told here (sqlite.org/rescode.html)
        if code in _DAMAGED:
            raise DamagedHistoryError(
                f"The file of chats is damaged: {error}.",
                hint="Start again: it is then set aside, and what can be read of it is taken over.",
            ) from error
        raise HistoryError(f"The chats cannot be read or kept: {error}.", hint=_HINTS.get(code, "")) from error


def open_file(path: Path | None) -> tuple[sqlite3.Connection, list[str]]:
    """A connection to the chats in a file, or in memory, and what its user should know. Raises HistoryError."""
    if path is None:
        with as_history_error():
            return _connect(":memory:"), []
    _make(path)
    try:
        with as_history_error():
            return _open_sound(path), []
    except DamagedHistoryError as error:
        aside = _set_aside(path)
        with as_history_error():
            connection = _connect(str(path))
            n_saved = _take_over(aside, connection)
        saved = f"{n_saved:,} chats could be read and are here" if n_saved else "nothing in it could be read"
        Path(f"{path}{_SUSPECT}").unlink(missing_ok=True)
        return connection, [f"{error} It was set aside as {aside}; {saved}."]


def _make(path: Path) -> None:
    """A file that nobody else may read, as nobody else may read what is said in chats."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise HistoryError(
            f"The chats cannot be kept in {path}: {error.strerror}.", hint="Make it writable, or name another folder in QWQ_DATA."
        ) from error


def _connect(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last moments, and never the file
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def suspect(path: Path) -> None:
    """Have the file looked through when it is opened next."""
    with suppress(OSError):  # a folder that cannot be written: then it is met again where it was met
        Path(f"{path}{_SUSPECT}").touch()


def _is_suspect(path: Path) -> bool:
    """Whether it has to be looked through: it is small enough for that, or damage was met in it."""
    return path.stat().st_size <= CHECKED_BYTES or Path(f"{path}{_SUSPECT}").exists()


def _open_sound(path: Path) -> sqlite3.Connection:
    connection = _connect(str(path))
    try:
        if _is_suspect(path):
            _check(connection)
        Path(f"{path}{_SUSPECT}").unlink(missing_ok=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedHistoryError(f"The file of chats is damaged: {verdict}.")


def _set_aside(path: Path) -> Path:
    """The file under another name, with what SQLite keeps beside it. Raises HistoryError."""
    aside = path.with_name(f"{path.stem}.damaged-{datetime.now().astimezone():%Y-%m-%d-%H%M%S-%f}{path.suffix}")
    try:
        for part in _PARTS:
            with suppress(FileNotFoundError):  # WAL and its index are only there where something was not yet taken into the file
                Path(f"{path}{part}").rename(f"{aside}{part}")
    except OSError as error:
        raise HistoryError(f"The file of chats is damaged, and cannot be set aside: {error}.", hint=f"Move {path} away.") from error
    return aside


def _take_over(aside: Path, connection: sqlite3.Connection) -> int:
    """Copy every chat that can still be read into the new file; how many."""
    n_saved = 0
    try:
        old = sqlite3.connect(f"{aside.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return 0
    try:
        old.row_factory = sqlite3.Row
        for chat_id in _ids(old):
            with suppress(sqlite3.Error):  # this one cannot be read: the next may
                tables = {table: old.execute(f"SELECT * FROM {table} WHERE {key} = ?", [chat_id]).fetchall() for table, key in _KEYS}  # noqa: S608 - constants
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    _insert(connection, tables)
                n_saved += 1
    finally:
        old.close()
    return n_saved


_KEYS: Final = (("chats", "id"), ("messages", "chat_id"))


def _ids(old: sqlite3.Connection) -> list[str]:
    """The ids of the chats, as far as they can be read."""
    found: dict[str, None] = {}
    for query in ("SELECT id FROM chats", "SELECT DISTINCT chat_id FROM messages"):
        with suppress(sqlite3.Error):
            for row in old.execute(query):
                found[row[0]] = None
    return list(found)


def _insert(connection: sqlite3.Connection, tables: dict[str, list[sqlite3.Row]]) -> None:
    for table, rows in tables.items():
        for row in rows:
            names = row.keys()
            places = ", ".join("?" * len(names))
            connection.execute(f"INSERT INTO {table}({', '.join(names)}) VALUES ({places})", tuple(row))  # noqa: S608 - names from our own schema
