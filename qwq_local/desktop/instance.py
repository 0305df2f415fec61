"""One app for one user: the first that starts holds a lock, and tells those that come later where its page is.

The lock is the system's own (flock, or a locked byte on Windows), which it takes back from whatever way a process ends: no file that a
crash left behind can be taken for an app that runs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from qwq_local.errors import QwqError

LOCK_NAME: Final = "lock"
RUNNING_NAME: Final = "running.json"
START_SECONDS: Final = 30.0
"""What an app gets from its lock to its address, which takes it about a second."""


@dataclass(frozen=True)
class Running:
    """An app that runs: its process, and its page."""

    pid: int
    address: str


@contextmanager
def only_app(folder: Path) -> Iterator[bool]:
    """Whether this is the only app of the folder's user; if so, it stays that within the context. Raises QwqError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_NAME).open("a+b")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        is_only = _lock(lock)
        if is_only:
            (folder / RUNNING_NAME).unlink(missing_ok=True)
        try:
            yield is_only
        finally:
            if is_only:
                (folder / RUNNING_NAME).unlink(missing_ok=True)


def announce(folder: Path, address: str) -> None:
    """Tell those that come later where the page is. Raises QwqError."""
    new = folder / f"{RUNNING_NAME}.new"
    try:
        new.write_text(json.dumps({"pid": os.getpid(), "address": address}), "utf-8")
        new.replace(folder / RUNNING_NAME)
    except OSError as error:
        raise _unwritable(folder, error) from error


def running_app(folder: Path, patience_seconds: float = START_SECONDS) -> Running:
    """The app that holds the lock, waited for where it has only just started. Raises QwqError."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            told = json.loads((folder / RUNNING_NAME).read_text("utf-8"))
            return Running(int(told["pid"]), str(told["address"]))
        except (OSError, ValueError, KeyError, TypeError):  # not yet
            if time.monotonic() > deadline:
                raise QwqError(
                    f"QwQ runs already, and has not said where its page is for {patience_seconds:g} s.",
                    hint=f"End it and start again: {folder / LOCK_NAME} is held by it.",
                ) from None
        time.sleep(0.05)


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
