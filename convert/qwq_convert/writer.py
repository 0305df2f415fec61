"""One GGUF file in the making: gguf-py writes its header, the weights are streamed after it, and it gets its name when it is whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

import gguf
import numpy as np

from qwq_convert.metadata import KeyValue, Kind
from qwq_convert.quantize import Encoded
from qwq_local.errors import ConversionError
from qwq_local.gguf import DEFAULT_ALIGNMENT_BYTES
from qwq_local.quants import TensorType, tensor_bytes

_TYPES: Mapping[Kind, tuple[gguf.GGUFValueType, gguf.GGUFValueType | None]] = {
    "uint32": (gguf.GGUFValueType.UINT32, None),
    "int32": (gguf.GGUFValueType.INT32, None),
    "float32": (gguf.GGUFValueType.FLOAT32, None),
    "bool": (gguf.GGUFValueType.BOOL, None),
    "string": (gguf.GGUFValueType.STRING, None),
    "int32s": (gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT32),
    "strings": (gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.STRING),
}


class GgufFile:
    """A GGUF file whose header stands, taking the bytes of its tensors in order."""

    def __init__(self, path: Path, file: BufferedWriter, types: Mapping[str, TensorType], sizes: Mapping[str, int]) -> None:
        self.path = path
        self.types = types
        self._file = file
        self._sizes = iter(sizes.items())
        self._name = ""
        self._left_bytes = 0

    def append(self, name: str, encoded: Encoded) -> None:
        """Write more rows of the tensor `name`; raises ConversionError where the disk refuses them."""
        if self._left_bytes == 0:
            self._name, self._left_bytes = next(self._sizes)
        assert name == self._name, f"{name} came where {self._name} was due"
        assert encoded.nbytes <= self._left_bytes, f"{name} has {encoded.nbytes - self._left_bytes} bytes too many"
        self._left_bytes -= encoded.nbytes
        try:
            self._file.write(encoded.data)
            if self._left_bytes == 0:
                _pad(self._file)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def finish(self) -> None:
        """Bring the file to the disk once every tensor is in it."""
        assert self._left_bytes == 0, f"{self._name} lacks {self._left_bytes} bytes"
        assert next(self._sizes, None) is None, "a tensor is missing"
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def create(
    path: Path, metadata: Sequence[KeyValue], shapes: Mapping[str, Sequence[int]], types: Mapping[str, TensorType]
) -> Iterator[GgufFile]:
    """Make the file at `path`: it stands there when the block ends well, and otherwise nothing is left of it.

    `shapes` gives the tensors in the order in which their bytes will come, the row length last.

    Raises:
        ConversionError: the disk refuses, or a value fits no metadata.
    """
    part = path.with_name(f"{path.name}.part")
    sizes = {name: tensor_bytes(types[name], shape) for name, shape in shapes.items()}
    try:
        _write_header(part, metadata, shapes, types)
        with part.open("ab") as file:
            _pad(file)
            output = GgufFile(path, file, types, sizes)
            yield output
            output.finish()
        part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def data_bytes(shapes: Mapping[str, Sequence[int]], types: Mapping[str, TensorType]) -> int:
    """Bytes that the tensors will take in a file, each padded to the alignment."""
    return sum(_padded(tensor_bytes(types[name], shape)) for name, shape in shapes.items())


def _write_header(part: Path, metadata: Sequence[KeyValue], shapes: Mapping[str, Sequence[int]], types: Mapping[str, TensorType]) -> None:
    architecture, *values = metadata
    writer = gguf.GGUFWriter(part, architecture.value)  # which writes general.architecture first by itself
    for entry in values:
        writer.add_key_value(entry.key, entry.value, *_TYPES[entry.kind])
    for name, shape in shapes.items():
        raw_type = gguf.GGMLQuantizationType(types[name].id)
        writer.add_tensor_info(name, shape, np.dtype(np.float32), tensor_bytes(types[name], shape), raw_dtype=raw_type)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    except (struct.error, OverflowError, UnicodeEncodeError) as error:
        raise ConversionError(
            f"A value of the metadata cannot be written: {error}.", hint="Correct generation_config.json or tokenizer.json."
        ) from error
    finally:
        writer.close()


def _pad(file: BufferedWriter) -> None:
    file.write(bytes(_padded(file.tell()) - file.tell()))


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // DEFAULT_ALIGNMENT_BYTES) * DEFAULT_ALIGNMENT_BYTES


def _unwritable(path: Path, error: OSError) -> ConversionError:
    return ConversionError(f"{path} cannot be written: {error.strerror}.", hint="Choose another folder: --out DIR")
