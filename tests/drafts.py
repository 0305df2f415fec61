"""Draft models of the built-in one, and files whose tokens are not quite its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qwq_convert.header import encode_header
from qwq_convert.metadata import KeyValue, Kind
from qwq_convert.pipeline import convert
from qwq_local.gguf import GgufArray, read_header
from qwq_local.models.inventory import demo_model
from tests.checkpoints import NANO

KINDS: dict[type, Kind] = {bool: "bool", int: "uint32", float: "float32", str: "string"}


def write_draft(folder: Path) -> Path:
    """Nano once more, in about four bits."""
    return convert(NANO, folder, ["Q4_0"]).files[0].path


def write_with_tokens(path: Path, change: Callable[[dict[str, Any]], object], source: Path | None = None) -> Path:
    """A copy of a model (the built-in one) with other metadata, arrays being lists in what `change` gets; returns `path`."""
    source = source or demo_model().path
    header = read_header(source, arrays=True)
    metadata: dict[str, Any] = {
        key: list(value.items or ()) if isinstance(value, GgufArray) else value for key, value in header.metadata.items()
    }
    change(metadata)
    shapes = {tensor.name: tensor.shape[::-1] for tensor in header.tensors}
    encoded = encode_header(
        [_key_value(*entry) for entry in metadata.items()], shapes, {tensor.name: tensor.type for tensor in header.tensors}
    )
    path.write_bytes(encoded + source.read_bytes()[header.data_offset_bytes :])
    return path


def _key_value(key: str, value: Any) -> KeyValue:
    if isinstance(value, list):
        return KeyValue(key, "strings" if isinstance(value[0], str) else "int32s", value)
    return KeyValue(key, KINDS[type(value)], value)
