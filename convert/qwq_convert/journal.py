"""What a run remembers, so that the next can go on from its last finished tensor.

Beside the half-written files lies one journal, NAME.journal.part: lines of JSON that are only ever appended. A file's first line binds it
to how it is made (see `Binding`); then one line for the header and one for each tensor gives the SHA-256 of the file up to there. A line is
written after the bytes it tells of, so a run that was killed has lost nothing but what it was writing; and because what lies on the disk is
read and compared with these sums before it is relied on, a power failure does no more harm. One line closes all the files of a run at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Self, TypeAlias

from qwq_local.errors import ConversionError

Binding: TypeAlias = Mapping[str, str]
"""All that a file's bytes depend on, each as a short text under a name that can be told to a user."""


@dataclass
class Record:
    """What the journal says of one file: its binding, and the SHA-256 up to its header's end and each tensor's end, in hexadecimal."""

    binding: Binding
    sums: list[str] = field(default_factory=list)


class Journal:
    """The journal at `path`, open and locked against a second run, until the block ends.

    Raises:
        ConversionError: another run holds it, or the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Record] = {}

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            try:
                self.path.touch()
                self._file = undo.enter_context(FileIO(self.path, "r+"))
                self._lock()
                self._replay(self._file.readall())
            except OSError as error:
                raise _unwritable(self.path, error) from error
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.records:
            self.path.unlink(missing_ok=True)

    def begin(self, name: str, binding: Binding, sums: list[str]) -> None:
        """From here on the file `name` is made as `binding` says, and has already what `sums` tell of."""
        self.records[name] = Record(binding, sums)
        self._append({"file": name, "binding": dict(binding), "sums": sums})

    def reached(self, name: str, sha256: str) -> None:
        """The file `name` has got its header, or one more tensor."""
        self.records[name].sums.append(sha256)
        self._append({"file": name, "sha256": sha256})

    def close_files(self, names: Iterable[str]) -> None:
        """These files are finished, all at once: forget them."""
        closed = list(names)
        for name in closed:
            self.records.pop(name, None)
        self._append({"closed": closed})

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            write_all(self._file, json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _replay(self, content: bytes) -> None:
        *lines, torn = content.split(b"\n")
        for line in lines:
            self._apply(line)
        if torn:  # its writer was killed: the next line must not continue it
            write_all(self._file, b"\n")

    def _apply(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return  # a torn line, ended by the run after; the sums that follow belong to a new beginning
        match entry:
            case {"file": str(name), "binding": dict(binding), "sums": list(sums)}:
                self.records[name] = Record(binding, sums)
            case {"file": str(name), "sha256": str(sha256)} if name in self.records:
                self.records[name].sums.append(sha256)
            case {"closed": list(names)}:
                for name in names:
                    self.records.pop(name, None)

    def _lock(self) -> None:
        try:
            if sys.platform == "win32":
                import msvcrt

                self._file.seek(2**40)  # a byte beyond the content, since Windows keeps others from reading what is locked
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
                self._file.seek(0)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConversionError(
                f"Another run is at work on {self.path.parent}.", hint="Wait for it, stop it, or choose another folder: --out DIR"
            ) from error


def write_all(file: FileIO, content: bytes | memoryview) -> None:
    """Write without a buffer of our own, so that closing a file after a failure has nothing left to fail on."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _unwritable(path: Path, error: OSError) -> ConversionError:
    return ConversionError(f"{path} cannot be written: {error.strerror}.", hint="Choose another folder: --out DIR")
