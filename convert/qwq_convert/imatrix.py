"""Importance matrices: what passes through each weight on a text, which tells a quantizer where to be exact.

Two formats are read, llama.cpp's GGUF and its older .dat, and the former is written (tools/imatrix/imatrix.cpp, `save_imatrix` and
`save_imatrix_legacy`; common/imatrix-loader.cpp).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from qwq_convert.header import encode_header
from qwq_convert.metadata import KeyValue
from qwq_convert.weights import Column
from qwq_local.errors import ConversionError, ModelFileError
from qwq_local.gguf import MAGIC, GgufArray, GgufHeader, GgufTensor, ValueType, padded, read_header
from qwq_local.quants import F32

FILE_TYPE = "imatrix"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
SUMS, COUNTS = ".in_sum2", ".counts"
MAX_INT32 = 2**31 - 1
MAX_TEXT_BYTES = 127
"""llama-quantize keeps no more of a text (`val_str` of llama_model_kv_override, include/llama.h)."""

_HINT = "Make it again with qwq imatrix, or download it again."


@dataclass(frozen=True)
class Importance(Mapping[str, Column]):
    """What llama-quantize gives to ggml_quantize_chunk: for a weight's name in GGUF, the mean square of each column's input.

    `datasets` names the texts that it was computed on, `n_chunks` counts their pieces; 0 where the file does not say.
    """

    path: Path
    values_by_tensor: Mapping[str, Column]
    datasets: tuple[str, ...]
    n_chunks: int

    def __getitem__(self, name: str) -> Column:
        return self.values_by_tensor[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_tensor)

    def __len__(self) -> int:
        return len(self.values_by_tensor)

    def metadata(self) -> tuple[KeyValue, ...]:
        """What llama-quantize says of it in a file made with it (tools/quantize/quantize.cpp, `quantize.imatrix.*`)."""
        dataset = [KeyValue("quantize.imatrix.dataset", "string", _shortened(self.datasets[0]))] if self.datasets else []
        chunks = [KeyValue("quantize.imatrix.chunks_count", "uint32", self.n_chunks)] if self.n_chunks else []
        return (
            KeyValue("quantize.imatrix.file", "string", _shortened(str(self.path))),
            *dataset,
            KeyValue("quantize.imatrix.entries_count", "uint32", len(self)),
            *chunks,
        )


def _shortened(text: str) -> str:
    return _as_utf8(text).encode("utf-8")[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


def _as_utf8(text: str) -> str:
    """A file's name need not be UTF-8, and metadata must be."""
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class Dataset:
    """What a matrix was computed on: a text's name, and in how many chunks of how many tokens it was read."""

    name: str
    n_chunks: int
    chunk_tokens: int


def require_writable(path: Path, *, force: bool) -> None:
    """Raise ConversionError where a file could not be made at `path`, or stands there already and `force` does not say to replace it."""
    if path.exists() and (path.is_dir() or not force):
        raise ConversionError(f"{path} exists already.", hint="Choose another file, or replace a file with --force.")
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def write_importance(path: Path, sums: Mapping[str, tuple[NDArray[np.float64], int]], dataset: Dataset) -> None:
    """Write the GGUF file at `path`, which stands there only once it is whole.

    `sums` gives, by a weight's name in GGUF, the sum of the squares of each column's input (row length,) and over how many tokens.

    Raises:
        ConversionError: a sum is beyond float32, or the disk refuses.
    """
    metadata = (
        KeyValue("general.type", "string", FILE_TYPE),
        KeyValue(DATASETS, "strings", [_as_utf8(dataset.name)]),
        KeyValue(CHUNK_COUNT, "uint32", dataset.n_chunks),
        KeyValue(CHUNK_SIZE, "uint32", dataset.chunk_tokens),
    )
    tensors: dict[str, Column] = {}
    for name, (squares, n_tokens) in sorted(sums.items()):
        if not (squares <= np.finfo(np.float32).max).all():
            raise ConversionError(f"What passes through {name} is too large for float32.", hint="The model's file may be damaged.")
        tensors[name + SUMS] = squares.astype("<f4")
        tensors[name + COUNTS] = np.array([n_tokens], dtype="<f4")
    header = encode_header(metadata, {name: values.shape for name, values in tensors.items()}, dict.fromkeys(tensors, F32))
    part = _part(path)
    try:
        with part.open("wb") as file:
            file.write(header)
            file.writelines(values.tobytes().ljust(padded(values.nbytes), b"\0") for values in tensors.values())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _unwritable(path: Path, error: OSError) -> ConversionError:
    return ConversionError(f"{path} cannot be written: {error.strerror}.", hint="Choose another file: --out FILE")


def read_importance(path: Path) -> Importance:
    """Read an importance matrix, GGUF or .dat.

    Values are those that llama-quantize computes from the file (tools/quantize/quantize.cpp, `load_imatrix`): sums over counts, and 1
    where a count is 0. A value for each column of a weight is not checked here, since no weight is known here.

    Raises:
        ConversionError: the file is missing, is something else, contradicts itself, or holds values that no mean square can have.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
        importance = _read_gguf(path) if magic == MAGIC else _read_dat(path)
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from error
    except ModelFileError as error:
        raise ConversionError(str(error), hint=_HINT) from error
    for name, values in importance.items():
        impossible = values[~(np.isfinite(values) & (values >= 0))]
        if impossible.size:
            _refuse(path, f"{name!r} holds {impossible[0]}, which no mean square can be")
    return importance


def _read_gguf(path: Path) -> Importance:
    header = read_header(path, arrays=True)
    tensors = {tensor.name: tensor for tensor in header.tensors}
    names = {name.removesuffix(suffix) for suffix in (SUMS, COUNTS) for name in tensors if name.endswith(suffix)}
    if not names:
        raise ConversionError(f"{path} holds no importance matrix.", hint="Give a file made by qwq imatrix or llama-imatrix.")
    values = {name: _mean_squares(path, name, tensors) for name in sorted(names)}
    n_chunks = header.integer(CHUNK_COUNT)
    header.integer(CHUNK_SIZE)  # llama-quantize refuses a file without it
    if not 0 <= n_chunks <= MAX_INT32:
        _refuse(path, f"it counts {n_chunks:,} chunks")
    return Importance(path, values, _datasets(header), n_chunks)


def _datasets(header: GgufHeader) -> tuple[str, ...]:
    array = header.metadata.get(DATASETS)
    if not isinstance(array, GgufArray) or array.item_type is not ValueType.STRING:
        _refuse(header.path, f"it says {array!r} for {DATASETS}, where texts are due")
    return tuple(map(str, array.items or ()))


def _mean_squares(path: Path, name: str, tensors: Mapping[str, GgufTensor]) -> Column:
    for suffix in (SUMS, COUNTS):
        if name + suffix not in tensors:
            _refuse(path, f"it lacks {name + suffix!r}")
        if (found := tensors[name + suffix].type) is not F32:
            _refuse(path, f"{name + suffix!r} is {found.name}, where F32 is due")
    sums, counts = (_read_floats(path, tensors[name + suffix]) for suffix in (SUMS, COUNTS))
    if sums.size % counts.size:
        _refuse(path, f"{name!r} has {sums.size:,} sums for {counts.size:,} counts")
    if not (np.isfinite(counts) & (counts >= 0)).all():
        _refuse(path, f"{name!r} has a count that is negative or no number")
    counts = np.floor(counts.astype(np.float64) + 0.5).astype(np.float32).reshape(-1, 1)
    sums = sums.reshape(len(counts), -1)
    with np.errstate(invalid="ignore"):  # what is no number is refused by name
        return np.divide(sums, counts, out=np.ones_like(sums), where=counts > 0).ravel()


def _read_floats(path: Path, tensor: GgufTensor) -> Column:
    count = tensor.size_bytes // 4
    floats = np.fromfile(path, "<f4", count, offset=tensor.offset_bytes)
    if floats.size != count:
        _refuse(path, f"it ended within {tensor.name!r}")
    return floats


def _read_dat(path: Path) -> Importance:
    with path.open("rb") as file:
        reader = _DatReader(path, file)
        values: dict[str, Column] = {}
        for _ in range(reader.integer("the number of its entries", 1)):
            name = reader.text("a weight's name", 1).partition("\0")[0]
            if name in values:
                _refuse(path, f"the weight {name!r} stands there twice")
            n_calls = reader.integer(f"the calls of {name!r}")
            sums = reader.floats(f"the values of {name!r}")
            with np.errstate(invalid="ignore"):  # what is no number is refused by name
                values[name] = sums / np.float32(n_calls) if n_calls > 0 else sums
        # What follows was added to the format later, and may be missing.
        n_chunks = reader.integer("the number of chunks", 0) if reader.left_bytes else 0
        dataset = reader.text("the dataset's name", 0) if reader.left_bytes else ""
        if reader.left_bytes:
            _refuse(path, f"{reader.left_bytes:,} bytes follow its end")
    return Importance(path, values, (dataset,) if dataset else (), n_chunks)


class _DatReader:
    """What stands next in a .dat file: int32 numbers, and texts and values behind their lengths, little-endian."""

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self._path = path
        self._file = file
        self.left_bytes = path.stat().st_size

    def integer(self, what: str, least: int = -MAX_INT32 - 1) -> int:
        number = int.from_bytes(self._take(4, what), "little", signed=True)
        if number < least:
            _refuse(self._path, f"{what} is {number:,}")
        return number

    def text(self, what: str, least_bytes: int) -> str:
        encoded = self._take(self.integer(f"the length of {what}", least_bytes), what)
        try:
            return encoded.decode("utf-8")
        except UnicodeDecodeError:
            _refuse(self._path, f"{what} is no UTF-8: {encoded[:40]!r}")

    def floats(self, what: str) -> Column:
        count = self.integer(f"the number of {what}", 1)
        return np.frombuffer(self._take(4 * count, what), "<f4").astype(np.float32)

    def _take(self, n_bytes: int, what: str) -> bytes:
        if n_bytes > self.left_bytes:
            _refuse(self._path, f"{what} would take {n_bytes:,} bytes, and {self.left_bytes:,} are left")
        self.left_bytes -= n_bytes
        taken = self._file.read(n_bytes)
        if len(taken) != n_bytes:
            _refuse(self._path, f"it ended within {what}")
        return taken


def _refuse(path: Path, fault: str) -> NoReturn:
    raise ConversionError(f"{path} is no importance matrix, or damaged: {fault}.", hint=_HINT)
