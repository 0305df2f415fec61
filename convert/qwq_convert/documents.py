"""The JSON documents of a checkpoint, read so that what is wrong with one is said of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from qwq_local.errors import ConversionError

Document: TypeAlias = Mapping[str, Any]

MAX_DOCUMENT_BYTES = 2**28
"""QwQ-32B's tokenizer.json, the largest, has 7 MB."""


def read_document(path: Path) -> Document:
    """The JSON object in the file at `path`.

    Raises:
        ConversionError: no such file, or no valid JSON object.
    """
    try:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise ConversionError(f"{path} has {path.stat().st_size:,} bytes.", hint="Download the checkpoint again.")
        encoded = path.read_bytes()
    except FileNotFoundError:
        raise ConversionError(
            f"{path.parent} has no {path.name}.", hint="Give the folder of a whole checkpoint, as downloaded from its repository."
        ) from None
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    return parse_document(encoded, str(path))


def read_document_if_there(path: Path) -> Document:
    """The same, for a file that a checkpoint may lack: then the document is empty."""
    return read_document(path) if path.exists() else {}


def parse_document(encoded: bytes, where: str) -> Document:
    """The JSON object in `encoded`; `where` is what errors call it.

    Raises:
        ConversionError: no valid JSON object, or a key given twice.
    """
    try:
        document = json.loads(encoded.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{where} is no valid JSON: {error}.", hint="Download the checkpoint again.") from error
    if not isinstance(document, dict):
        raise ConversionError(f"{where} holds a {type(document).__name__}, no JSON object.", hint="Download it again.")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return document
