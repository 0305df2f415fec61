"""One safetensors file: its header, checked before anything is allocated by it, and its tensors, whole or in pieces of some rows.

The format is that of github.com/huggingface/safetensors: eight bytes of length, a JSON header, then the tensors without holes. Rows are
read with plain reads, because pages of a memory map would count as this process's memory until the kernel takes them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwq_convert.documents import parse_document
from qwq_local.errors import ConversionError

Rows: TypeAlias = NDArray[np.float32]
"""Rows of weights: (rows, row length), float32, contiguous."""

Column: TypeAlias = NDArray[np.float32]
"""One number for each column of a weight: (row length,), or (matrices x row length,) for a weight of several matrices."""

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library itself."""

_HINT = "Download this shard again."

DTYPE_BYTES: Mapping[str, int] = {"BF16": 2, "F16": 2, "F32": 4}
"""The number formats of weights that can be converted."""


@dataclass(frozen=True)
class SourceTensor:
    """A tensor in a file: `shape` has the row length last, `offset_bytes` counts from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset_bytes: int

    @property
    def size_bytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]

    @property
    def n_rows(self) -> int:
        """Rows that it has; a vector is one row."""
        return math.prod(self.shape[:-1])

    def pieces(self, piece_bytes: int) -> Iterator[SourceTensor]:
        """Tensors of its successive rows, each of at least one and at most `piece_bytes` as float32."""
        row_length = self.shape[-1]
        rows_at_once = max(1, piece_bytes // (4 * row_length))
        bytes_of_row = self.size_bytes // self.n_rows
        for first in range(0, self.n_rows, rows_at_once):
            shape = min(rows_at_once, self.n_rows - first), row_length
            yield replace(self, shape=shape, offset_bytes=self.offset_bytes + first * bytes_of_row)

    def read(self) -> Rows:
        """All of its rows.

        Raises:
            ConversionError: the file cannot be read, or has become shorter.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset_bytes)
                encoded = file.read(self.size_bytes)
        except OSError as error:
            raise ConversionError(f"{self.path} cannot be read: {error.strerror}.", hint="Check the disk.") from error
        if len(encoded) != self.size_bytes:
            raise ConversionError(f"{self.path} ended within {self.name}.", hint="Leave it alone while it is converted.")
        return _widened(encoded, self.dtype).reshape(-1, self.shape[-1])


def _widened(encoded: bytes, dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":
        return (np.frombuffer(encoded, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(encoded, "<f2" if dtype == "F16" else "<f4").astype(np.float32, copy=False)


def read_tensor_table(path: Path) -> dict[str, SourceTensor]:
    """The tensors of the safetensors file at `path`, in the order of their names.

    Raises:
        ConversionError: the file is missing, truncated, or its header contradicts it.
    """
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            header_bytes = int.from_bytes(file.read(8), "little")
            if file_bytes < 8 or header_bytes > min(MAX_HEADER_BYTES, file_bytes - 8):
                _refuse(path, f"it has {file_bytes:,} bytes, and a header that claims {header_bytes:,}")
            header = parse_document(file.read(header_bytes), f"The header of {path}")
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error
    tensors = [_parse_entry(path, name, entry, 8 + header_bytes) for name, entry in header.items() if name != "__metadata__"]
    _require_seamless(path, tensors, 8 + header_bytes, file_bytes)
    return {tensor.name: tensor for tensor in sorted(tensors, key=lambda tensor: tensor.name)}


def _parse_entry(path: Path, name: str, entry: object, data_start_bytes: int) -> SourceTensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            _refuse(path, f"its header says {entry!r} of {name}")
    if dtype not in DTYPE_BYTES:
        raise ConversionError(f"Tensor {name} in {path} has the dtype {dtype}.", hint=f"Only {', '.join(DTYPE_BYTES)} can be converted.")
    if not shape or not all(type(size) is int and size > 0 for size in shape):
        _refuse(path, f"its header gives {name} the shape {shape}")
    tensor = SourceTensor(name, dtype, tuple(shape), path, data_start_bytes + begin)
    if begin < 0 or end - begin != tensor.size_bytes:
        _refuse(path, f"its header gives {name} the bytes {begin} to {end}, where {tensor.size_bytes:,} bytes are due")
    return tensor


def _require_seamless(path: Path, tensors: list[SourceTensor], data_start_bytes: int, file_bytes: int) -> None:
    position = data_start_bytes
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset_bytes):
        if tensor.offset_bytes != position:
            _refuse(path, f"{tensor.name} begins at byte {tensor.offset_bytes:,}, where {position:,} is due")
        position += tensor.size_bytes
    if position != file_bytes:
        _refuse(path, f"its tensors end at byte {position:,}, and the file at {file_bytes:,}")


def _refuse(path: Path, fault: str) -> NoReturn:
    raise ConversionError(f"{path} is damaged: {fault}.", hint=_HINT)
