"""One GGUF file in the making: NAME.part on the disk, which goes on from where a former run was ended, and is renamed when it is whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import Self

from qwq_convert.journal import Binding, Journal, Record, write_all
from qwq_convert.quantize import Encoded
from qwq_local.errors import ConversionError
from qwq_local.gguf import padded
from qwq_local.quants import TensorType

CHECK_BYTES = 2**22
"""How much of a half-written file is read at once."""


@dataclass(frozen=True)
class PlannedFile:
    """A file to be made: its final path, its header, and type and size in bytes of each of its tensors, in order."""

    path: Path
    header: bytes
    types: Mapping[str, TensorType]
    sizes: Mapping[str, int]

    @property
    def part(self) -> Path:
        """Where it lies until it is whole."""
        return self.path.with_name(f"{self.path.name}.part")

    @cached_property
    def borders(self) -> tuple[int, ...]:
        """Bytes of the file up to the end of its header and of each of its tensors."""
        return tuple(accumulate(map(padded, self.sizes.values()), initial=len(self.header)))

    @property
    def file_bytes(self) -> int:
        """Its length when it is whole."""
        return self.borders[-1]

    @property
    def header_sha256(self) -> str:
        """What its header is known by."""
        return hashlib.sha256(self.header).hexdigest()


@dataclass(frozen=True)
class Standing:
    """What is there already and was found right: the sums up to `len(sums)` borders, and the hash to go on with."""

    sums: list[str]
    digest: hashlib._Hash
    is_final: bool = False
    """Whether it has its final name already."""


def nothing() -> Standing:
    """How a file stands that is made anew."""
    return Standing([], hashlib.sha256())


def inspect(planned: PlannedFile, record: Record, on_bytes: Callable[[int], object]) -> Standing:
    """Read what lies under the .part name, else under the final one, as far as it agrees with the `record` of a former run.

    `on_bytes` hears how many bytes were read. Raises ConversionError where the file cannot be read.
    """
    is_final = not planned.part.exists()
    path = planned.path if is_final else planned.part
    digest, good = hashlib.sha256(), nothing()
    try:
        with FileIO(path) as file:
            start = 0
            for border, due in zip(planned.borders, record.sums, strict=False):
                for piece in _read(file, border - start):
                    digest.update(piece)
                    on_bytes(len(piece))
                if file.tell() != border or digest.hexdigest() != due:
                    break
                start = border
                good = Standing([*good.sums, due], digest.copy(), is_final)
    except FileNotFoundError:
        return nothing()
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}.", hint="Check the disk, or remove the file.") from error
    if is_final and (len(good.sums) < len(planned.borders) or path.stat().st_size != planned.file_bytes):
        return nothing()
    return good


def _read(file: FileIO, n_bytes: int) -> Iterator[bytes]:
    while n_bytes > 0 and (piece := file.read(min(CHECK_BYTES, n_bytes))):
        n_bytes -= len(piece)
        yield piece


class GgufFile:
    """A file taking the bytes of its tensors in order, those that it lacks; to be used in a `with` block.

    Raises:
        ConversionError: the disk refuses. What was written stays, under its .part name.
    """

    def __init__(self, planned: PlannedFile, standing: Standing, journal: Journal, binding: Binding) -> None:
        self.planned = planned
        self._standing = standing
        self._journal = journal
        self._binding = binding
        self._digest = standing.digest
        self._n_borders = len(standing.sums)
        self._position_bytes = planned.borders[self._n_borders - 1] if self._n_borders else 0
        self._names = tuple(planned.sizes)
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        if self._standing.is_final:
            return self
        with ExitStack() as undo:
            try:
                self.planned.part.touch()
                self._file = undo.enter_context(FileIO(self.planned.part, "r+"))
                self._file.truncate(self._position_bytes)
                self._file.seek(self._position_bytes)
            except OSError as error:
                raise self._unwritable(error) from error
            self._journal.begin(self.planned.path.name, self._binding, list(self._standing.sums))
            if self._n_borders == 0:
                self._write(self.planned.header)
                self._reach_border()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def sha256(self) -> str:
        """Of all that is in the file, in hexadecimal."""
        return self._digest.hexdigest()

    def lacks(self, name: str) -> bool:
        """Whether the tensor `name` is still to come."""
        return name in self.planned.sizes and self._names.index(name) >= self._n_borders - 1

    def append(self, name: str, encoded: Encoded) -> None:
        """Write more rows of the tensor `name`, the first of those that it lacks."""
        assert name == self._names[self._n_borders - 1], f"{name} came where {self._names[self._n_borders - 1]} was due"
        self._write(encoded.data.cast("B"))
        end_bytes = self.planned.borders[self._n_borders - 1] + self.planned.sizes[name]
        assert self._position_bytes <= end_bytes, f"{name} has {self._position_bytes - end_bytes} bytes too many"
        if self._position_bytes == end_bytes:
            self._write(bytes(padded(end_bytes) - end_bytes))
            self._reach_border()

    def bring_to_disk(self) -> None:
        """Wait until the whole file is on the disk."""
        assert self._n_borders == len(self.planned.borders), "a tensor is missing"
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self._file.close()

    def give_name(self) -> None:
        """Put the file, whole and closed, under its final name."""
        if self._standing.is_final:
            return
        try:
            self.planned.part.replace(self.planned.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _write(self, content: bytes | memoryview) -> None:
        assert self._file is not None, "it is open, and not final already"
        try:
            write_all(self._file, content)
        except OSError as error:
            raise self._unwritable(error) from error
        self._digest.update(content)
        self._position_bytes += len(content)

    def _reach_border(self) -> None:
        self._n_borders += 1
        self._journal.reached(self.planned.path.name, self.sha256)

    def _unwritable(self, error: OSError) -> ConversionError:
        return ConversionError(
            f"{self.planned.part} cannot be written: {error.strerror}.",
            hint="When there is room again, the same command goes on from here.",
        )
