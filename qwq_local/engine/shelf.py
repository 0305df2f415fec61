"""Prefixes that outlive the engine: what the KV cache held of idle chats, kept on disk.

One file for each, in a folder that belongs to one model and KV type: a line of JSON, the tokens as little-endian int32, and llama.cpp's
state of the sequence. What a file holds is checked against its CRC before llama.cpp sees it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from qwq_local.backend import Rope
from qwq_local.engine.cache import SavedPrefix

FORMAT: Final = "qwq prefix 1"
SUFFIX: Final = ".prefix"


@dataclass(frozen=True)
class PrefixShelf:
    """The files in `folder`, which holds at most `most_bytes`."""

    folder: Path
    most_bytes: int

    def read(self) -> list[SavedPrefix]:
        """What is there, the latest first; a file that is damaged is removed, since it can only be made anew. Raises OSError."""
        if not self.folder.is_dir():
            return []
        paths = sorted(self.folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        found = [(path, _parse(path.read_bytes())) for path in paths]
        for path, prefix in found:
            if prefix is None:
                path.unlink()
        return [prefix for _, prefix in found if prefix is not None]

    def write(self, prefixes: Iterable[SavedPrefix]) -> None:
        """Keep these, the most lately used first, and nothing else. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = set()
        for prefix in reversed(list(prefixes)):
            path = self.folder / _name(prefix)
            kept.add(path)
            draft = path.with_suffix(".new")
            draft.write_bytes(_content(prefix))
            draft.replace(path)
        for path in self.folder.iterdir():
            if path not in kept:
                path.unlink()


def _name(prefix: SavedPrefix) -> str:
    return hashlib.sha256(repr((prefix.rope, prefix.tokens)).encode()).hexdigest()[:32] + SUFFIX


def _content(prefix: SavedPrefix) -> bytes:
    tokens = _little(array("i", prefix.tokens)).tobytes()
    body = tokens + prefix.state
    head = {"format": FORMAT, "rope": prefix.rope, "tokens": len(prefix.tokens), "bytes": len(body), "crc": zlib.crc32(body)}
    return json.dumps(head).encode() + b"\n" + body


def _parse(content: bytes) -> SavedPrefix | None:
    line, _, body = content.partition(b"\n")
    try:
        head: Any = json.loads(line)
        rope: Rope = head["rope"]
        n_tokens, due = int(head["tokens"]), (FORMAT, len(body), zlib.crc32(body))
        is_sound = due == (head["format"], head["bytes"], head["crc"]) and rope in get_args(Rope)
    except (ValueError, TypeError, KeyError):
        return None
    if not is_sound or not 0 < n_tokens * 4 <= len(body):
        return None
    tokens = _little(array("i", body[: 4 * n_tokens]))
    return SavedPrefix(rope, tuple(tokens), body[4 * n_tokens :])


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
