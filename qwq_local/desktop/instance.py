"""One app for one user: the first that starts holds a lock, and tells those that come later where its page is.

The lock is the system's own (flock, or a locked byte on Windows), which it takes back from whatever way a process ends: no file that a
crash left behind can be taken for an app that runs. An app that ends takes back what it told before its server stops, and holds the lock
until all of it has ended; who comes meanwhile waits, to be the only one or to join whoever is it then.

Who joins leaves a note, and then looks whether the page is still announced; who ends takes that back, and then looks for notes. So one of
them sees the other, whatever the moment.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from qwq_local.errors import QwqError

LOCK_NAME: Final = "lock"
RUNNING_NAME: Final = "running.json"
JOINED_NAME: Final = "joined"
"""A line for each that joined: where it shows the page."""
START_SECONDS: Final = 30.0
"""What an app gets to end, and the next one from its lock to its address; each takes about a second."""
ANSWER_SECONDS: Final = 1.0
"""On this machine a server that listens is reached at once."""


@dataclass(frozen=True)
class Running:
    """An app that runs: its process, and its page."""

    pid: int
    address: str


@contextmanager
def only_app(folder: Path, browser: str, patience_seconds: float = START_SECONDS) -> Iterator[Running | None]:
    """The app to join, told of the browser; None where this is the only one of the folder's user, which it stays within the context.

    Waits where one ends or has only just started. Raises QwqError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_NAME).open("a+b")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        running = _other_app(lock, folder, browser, patience_seconds)
        if running:
            yield running
            return
        _clear(folder)  # of what a killed one left
        try:
            yield None
        finally:
            _clear(folder)


def announce(folder: Path, address: str) -> None:
    """Tell those that come later where the page is. Raises QwqError."""
    new = folder / f"{RUNNING_NAME}.new"
    try:
        new.write_text(json.dumps({"pid": os.getpid(), "address": address}), "utf-8")
        new.replace(folder / RUNNING_NAME)
    except OSError as error:
        raise _unwritable(folder, error) from error


def stand_down(folder: Path) -> None:
    """Take back what was announced: nobody is to join any more."""
    _take_away(folder / RUNNING_NAME)


def joined(folder: Path) -> list[str]:
    """The browsers of those that joined, in their order."""
    try:
        return (folder / JOINED_NAME).read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return []


def _clear(folder: Path) -> None:
    for name in (RUNNING_NAME, JOINED_NAME):
        _take_away(folder / name)


def _take_away(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError:  # on Windows, while another start reads it
        path.write_bytes(b"")


def _other_app(lock: IO[bytes], folder: Path, browser: str, patience_seconds: float) -> Running | None:
    """One that was joined, or None once the lock is ours."""
    deadline = time.monotonic() + patience_seconds
    while not _lock(lock):
        running = _announced(folder)
        if running and _answers(running.address):
            _leave_note(folder, browser)
            if _announced(folder) == running:
                return running
        if time.monotonic() > deadline:
            raise QwqError(
                f"QwQ runs already, and has not said where its page is for {patience_seconds:g} s.",
                hint=f"End it and start again: {folder / LOCK_NAME} is held by it.",
            )
        time.sleep(0.05)
    return None


def _leave_note(folder: Path, browser: str) -> None:
    try:
        with (folder / JOINED_NAME).open("a", encoding="utf-8", errors="surrogateescape") as note:
            note.write(f"{browser}\n")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _announced(folder: Path) -> Running | None:
    try:
        told = json.loads((folder / RUNNING_NAME).read_text("utf-8"))
        return Running(int(told["pid"]), str(told["address"]))
    except (OSError, ValueError, KeyError, TypeError):  # not yet, or not any more
        return None


def _answers(address: str) -> bool:
    """Whether a server listens there: one that was told to end, or was killed, does not."""
    try:
        parts = urlsplit(address)
        socket.create_connection((parts.hostname, parts.port), ANSWER_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True


def _lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unwritable(folder: Path, error: OSError) -> QwqError:
    return QwqError(
        f"{folder} cannot be written: {error.strerror}.", hint="Make room there, or let QWQ_DATA name a folder that is yours to write."
    )
