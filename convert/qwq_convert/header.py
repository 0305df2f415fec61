"""The header of a GGUF file as bytes (pure): the format is that of ggml/include/gguf.h, version 3.

It is made in memory, before any file is opened: what no metadata can hold is refused in time, the size of the file is known exactly, and a
half-written file can be told from one that was made with other choices.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from qwq_convert.metadata import KeyValue, Kind
from qwq_local.errors import ConversionError
from qwq_local.gguf import MAGIC, ValueType, padded
from qwq_local.quants import TensorType, tensor_bytes

VERSION = 3

_SCALARS: Mapping[Kind, tuple[ValueType, str]] = {
    "uint16": (ValueType.UINT16, "<H"),
    "uint32": (ValueType.UINT32, "<I"),
    "int32": (ValueType.INT32, "<i"),
    "float32": (ValueType.FLOAT32, "<f"),
    "bool": (ValueType.BOOL, "<?"),
}


def encode_header(metadata: Sequence[KeyValue], shapes: Mapping[str, Sequence[int]], types: Mapping[str, TensorType]) -> bytes:
    """All that stands before the weights, padded to where they begin; `shapes` in the order of the file, the row length last.

    Raises:
        ConversionError: a value does not fit its type.
    """
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(shapes), len(metadata)), *map(_entry, metadata)]
    offset_bytes = 0
    for name, shape in shapes.items():
        parts += [_string(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), types[name].id, offset_bytes)]
        offset_bytes += padded(tensor_bytes(types[name], shape))
    header = b"".join(parts)
    return header.ljust(padded(len(header)), b"\0")


def _entry(entry: KeyValue) -> bytes:
    try:
        return _string(entry.key) + _value(entry.kind, entry.value)
    except (struct.error, OverflowError, UnicodeEncodeError) as error:
        raise ConversionError(
            f"{entry.key} cannot be written as metadata: {error}.", hint="Correct generation_config.json or tokenizer.json."
        ) from error


def _value(kind: Kind, value: object) -> bytes:
    if kind in _SCALARS:
        value_type, code = _SCALARS[kind]
        return struct.pack("<I", value_type) + struct.pack(code, value)
    if kind == "string":
        return struct.pack("<I", ValueType.STRING) + _string(value)
    assert isinstance(value, Sequence), f"{kind} are a sequence"
    if kind == "strings":
        return _array(ValueType.STRING, len(value), map(_string, value))
    return _array(ValueType.INT32, len(value), [struct.pack(f"<{len(value)}i", *value)])


def _array(item_type: ValueType, count: int, items: Iterable[bytes]) -> bytes:
    return struct.pack("<IIQ", ValueType.ARRAY, item_type, count) + b"".join(items)


def _string(value: object) -> bytes:
    assert isinstance(value, str), f"{value!r} is due to be a text"
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded
