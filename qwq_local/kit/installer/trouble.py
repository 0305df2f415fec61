"""What can go wrong while a kit is put in place, in words for whoever does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

READ_HINT = "Check the stick, or copy the kit again."


class InstallError(Exception):
    """It cannot be put in place: `str(error)` is what happened, `error.hint` what to do. What was installed before still is."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class ReadingError(OSError):
    """A file cannot be read: `filename` is which, `hint` what to do."""

    hint = READ_HINT


@contextmanager
def reading(path: object, hint: str = READ_HINT) -> Iterator[None]:
    """Errors of the disk are of reading this file, and raised as ReadingError."""
    try:
        yield
    except OSError as error:
        told = ReadingError(error.errno, error.strerror or str(error), str(path))
        told.hint = hint
        raise told from error


def from_os(error: OSError, path: object) -> InstallError:
    """An error of the disk, in such words."""
    named = error.filename or path
    if isinstance(error, ReadingError):
        return InstallError(f"{named} cannot be read: {error.strerror}.", error.hint)
    hint = (
        "Free some space and run ./install again."
        if error.errno == 28
        else "Make it writable, or name another folder: ./install --to FOLDER"
    )
    return InstallError(f"{named} cannot be written: {error.strerror or error}.", hint)
