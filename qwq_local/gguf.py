"""Read the header of a GGUF file: its metadata and its table of tensors, never its weights.

The format is that of ggml's docs/gguf.md, and the limits are those that ggml/src/gguf.cpp sets. Every count and length is held against
the bytes that are left before anything is allocated for it, so a hostile or damaged file costs an error and no memory.
"""

from __future__ import annotations

import math
import mmap
import reprlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias

from qwq_local.errors import DamagedFileError, ModelNotFoundError, NotGgufError
from qwq_local.quants import TENSOR_TYPES, TensorType, tensor_bytes

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
DEFAULT_ALIGNMENT_BYTES: Final = 32
MAX_NAME_BYTES: Final = 63
MAX_STRING_BYTES: Final = 2**26
"""No metadata text comes near; it keeps a wrong length from being read as gigabytes of weights."""
MAX_ARRAY_ITEMS: Final = 2**24
"""Likewise: the largest vocabularies have 2**18 tokens."""

_HINT = "The file is damaged: download it or convert it again."
Scalar: TypeAlias = int | float | bool | str


class ValueType(IntEnum):
    """`enum gguf_type`: what a metadata value is."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_CODES: Final = "BbHhIif?--Qqd"
"""What the struct module calls each ValueType, by its number; text and arrays have no code."""


@dataclass(frozen=True)
class GgufArray:
    """A metadata array of `count` items; `items` is None where the reader was not asked for them. `span`: where in the file they stand."""

    item_type: ValueType
    count: int
    items: tuple[Scalar, ...] | None
    span: tuple[int, int] = field(default=(0, 0), compare=False)


Value: TypeAlias = Scalar | GgufArray
_Row: TypeAlias = tuple[str, tuple[int, ...], TensorType, int]
"""Name, shape, type and offset, as a row of the tensor table says them."""


@dataclass(frozen=True)
class GgufTensor:
    """One row of the tensor table.

    `shape` is in ggml's order: the fastest dimension, which is the length of a row, comes first. `offset_bytes` counts from the start of
    the file.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """All that a GGUF file says before its weights, which begin at `data_offset_bytes`."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: tuple[GgufTensor, ...]
    data_offset_bytes: int
    file_bytes: int

    def text(self, key: str, default: str | None = None) -> str:
        """The text under `key`; raises DamagedFileError where it is missing without a default, or is no text."""
        value = self.metadata.get(key, default)
        return value if isinstance(value, str) else self._refuse(key, value, "a text")

    def integer(self, key: str, default: int | None = None) -> int:
        """The whole number under `key`; raises DamagedFileError where it is missing without a default, or is no such number."""
        value = self.metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self._refuse(key, value, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """The number under `key`; raises DamagedFileError as `integer` does."""
        value = self.metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(key, value, "a number")
        return float(value)

    def _refuse(self, key: str, value: Value | None, wanted: str) -> NoReturn:
        what = "lacks" if value is None else f"says {reprlib.repr(value)} for"
        raise DamagedFileError(f"{self.path} {what} the metadata {key!r}, where {wanted} is due.", hint=_HINT)


def read_header(path: Path, *, arrays: bool = False) -> GgufHeader:
    """Read the header of the GGUF file at `path`; with `arrays`, the items of its arrays too.

    Raises:
        ModelNotFoundError: there is no such file, or it cannot be opened.
        NotGgufError: it is something else, or a GGUF of a version or byte order that llama.cpp does not read.
        DamagedFileError: it contradicts itself, or ends before its last tensor does.
    """
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            if file_bytes == 0:
                raise NotGgufError(f"{path} is empty.", hint=_HINT)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
                return _Reader(path, data, arrays=arrays).header()
    except OSError as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from error


class _Reader:
    """A position in the file's bytes, and what can stand there."""

    def __init__(self, path: Path, data: memoryview, *, arrays: bool) -> None:
        self._path = path
        self._data = data
        self._arrays = arrays
        self._position = 0

    def header(self) -> GgufHeader:
        self._require_format()
        n_tensors, n_values = self._unpack("QQ")
        self._bound(n_tensors, 24, "tensors")
        self._bound(n_values, 13, "metadata values")
        metadata: dict[str, Value] = {}
        for _ in range(n_values):
            key = self._string("a metadata key")
            if key in metadata:
                self._damaged(f"the metadata {key!r} stands there twice")
            metadata[key] = self._value(key, self._value_type(key))
        alignment = self._alignment(metadata)
        rows = [self._tensor_row() for _ in range(n_tensors)]
        data_offset_bytes = padded(self._position, alignment)
        tensors = self._place(rows, data_offset_bytes, alignment)
        return GgufHeader(self._path, MappingProxyType(metadata), tensors, data_offset_bytes, len(self._data))

    def _require_format(self) -> None:
        if (found := bytes(self._data[:4])) != MAGIC:
            raise NotGgufError(f"{self._path} is no GGUF file: it begins with {found!r}.", hint="Give a .gguf file.")
        self._position = 4
        (version,) = self._unpack("I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            what = "in big-endian byte order" if swapped else f"GGUF version {version}"
            raise NotGgufError(f"{self._path} is {what}, which cannot be read.", hint="Convert the model again.")

    def _alignment(self, metadata: Mapping[str, Value]) -> int:
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT_BYTES)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            self._damaged(f"general.alignment is {alignment!r}, which is no power of two")
        return alignment

    def _tensor_row(self) -> _Row:
        name = self._string("a tensor's name", MAX_NAME_BYTES)
        (n_dimensions,) = self._unpack("I")
        if not 1 <= n_dimensions <= 4:
            self._damaged(f"tensor {name!r} has {n_dimensions} dimensions")
        shape = self._unpack(f"{n_dimensions}Q")
        if not 1 <= math.prod(shape) < 2**63:
            self._damaged(f"tensor {name!r} has the shape {shape}")
        type_id, offset_bytes = self._unpack("IQ")
        if type_id not in TENSOR_TYPES:
            self._damaged(f"tensor {name!r} has the type {type_id}, which does not exist")
        return name, shape, TENSOR_TYPES[type_id], offset_bytes

    def _place(self, rows: list[_Row], data_offset_bytes: int, alignment: int) -> tuple[GgufTensor, ...]:
        """Tensors follow each other without gaps, in the table's order: llama.cpp accepts nothing else."""
        tensors: dict[str, GgufTensor] = {}
        next_bytes = end_bytes = 0
        for name, shape, tensor_type, offset_bytes in rows:
            if name in tensors:
                self._damaged(f"the tensor {name!r} stands there twice")
            if offset_bytes != next_bytes:
                self._damaged(f"tensor {name!r} begins at {offset_bytes:,} where {next_bytes:,} is due")
            if shape[0] % tensor_type.block_size:
                self._damaged(f"tensor {name!r} has rows of {shape[0]}, no whole number of {tensor_type.name} blocks")
            size_bytes = tensor_bytes(tensor_type, reversed(shape))
            tensors[name] = GgufTensor(name, shape, tensor_type, data_offset_bytes + offset_bytes, size_bytes)
            end_bytes = offset_bytes + size_bytes
            next_bytes = padded(end_bytes, alignment)
        missing_bytes = data_offset_bytes + end_bytes - len(self._data)
        if tensors and missing_bytes > 0:
            self._damaged(f"it ends {missing_bytes:,} bytes before its last tensor does")
        return tuple(tensors.values())

    def _value_type(self, key: str) -> ValueType:
        (number,) = self._unpack("I")
        try:
            return ValueType(number)
        except ValueError:
            self._damaged(f"the metadata {key!r} has the type {number}, which does not exist")

    def _value(self, key: str, value_type: ValueType) -> Value:
        if value_type is ValueType.ARRAY:
            return self._array(key)
        if value_type is ValueType.STRING:
            return self._string(f"the metadata {key!r}")
        value: Scalar = self._unpack(_CODES[value_type])[0]
        return value

    def _array(self, key: str) -> GgufArray:
        item_type = self._value_type(key)
        (count,) = self._unpack("Q")
        if item_type is ValueType.ARRAY or count > MAX_ARRAY_ITEMS:
            self._damaged(f"the metadata {key!r} counts {count:,} items of {item_type.name}")
        is_text = item_type is ValueType.STRING
        item_bytes = 8 if is_text else struct.calcsize(_CODES[item_type])
        self._bound(count, item_bytes, f"items of {key!r}")
        begin = self._position
        items: tuple[Scalar, ...] | None = None
        if self._arrays:
            what = f"an item of {key!r}"
            items = tuple(self._string(what) for _ in range(count)) if is_text else self._unpack(f"{count}{_CODES[item_type]}")
        elif is_text:
            self._skip_strings(key, count)
        else:
            self._position += count * item_bytes
        return GgufArray(item_type, count, items, (begin, self._position))

    def _skip_strings(self, key: str, count: int) -> None:
        # A vocabulary of 150,000 tokens is walked over here for each file listed, so this loop is kept bare.
        position, data, length_at = self._position, self._data, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                (size_bytes,) = length_at(data, position)
                position += size_bytes + 8
        except (struct.error, OverflowError):
            position = len(data) + 1
        if position > len(data):
            self._ends_within(f"the items of {key!r}")
        self._position = position

    def _string(self, what: str, limit_bytes: int = MAX_STRING_BYTES) -> str:
        (size_bytes,) = self._unpack("Q")
        if size_bytes > limit_bytes:
            self._damaged(f"{what} counts {size_bytes:,} bytes")
        end = self._position + size_bytes
        if end > len(self._data):
            self._ends_within(what)
        encoded = bytes(self._data[self._position : end])
        self._position = end
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            self._damaged(f"{what} is no UTF-8: {encoded[:40]!r}")

    def _unpack(self, code: str) -> tuple[Any, ...]:
        code = f"<{code}"
        end = self._position + struct.calcsize(code)
        if end > len(self._data):
            self._ends_within("its header")
        values = struct.unpack_from(code, self._data, self._position)
        self._position = end
        return values

    def _bound(self, count: int, least_bytes: int, what: str) -> None:
        left_bytes = len(self._data) - self._position
        if count * least_bytes > left_bytes:
            self._damaged(f"it counts {count:,} {what} where {left_bytes:,} bytes are left")

    def _ends_within(self, what: str) -> NoReturn:
        self._damaged(f"it ends within {what}, after {len(self._data):,} bytes")

    def _damaged(self, what: str) -> NoReturn:
        raise DamagedFileError(f"{self._path} contradicts itself: {what}.", hint=_HINT)


def padded(size_bytes: int, alignment_bytes: int = DEFAULT_ALIGNMENT_BYTES) -> int:
    """The size with what brings it to the alignment."""
    return -(-size_bytes // alignment_bytes) * alignment_bytes
