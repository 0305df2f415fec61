"""What can go wrong while a kit is put in place, in words for whoever does it."""

from __future__ import annotations


class InstallError(Exception):
    """It cannot be put in place: `str(error)` is what happened, `error.hint` what to do. What was installed before still is."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def from_os(error: OSError, path: object) -> InstallError:
    """An error of the disk, in such words."""
    named = error.filename or path
    hint = (
        "Free some space and run ./install again."
        if error.errno == 28
        else "Make it writable, or name another folder: ./install --to FOLDER"
    )
    return InstallError(f"{named} cannot be written: {error.strerror or error}.", hint)
