"""Only one process at a time works on something; the system itself lets go when a process is killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .trouble import InstallError


@contextmanager
def locked(path: Path, complaint: str) -> Iterator[None]:
    """Hold the lock of a file, as the package `filelock` does. Raises InstallError where another process has it, OSError from the disk."""
    with path.open("a+b") as lock:
        try:
            _lock(lock.fileno())
        except (BlockingIOError, PermissionError) as error:
            raise InstallError(complaint, "Wait until it has ended.") from error
        yield


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
