"""Prefixes that outlive the engine: what the KV cache held of idle chats, kept on disk.

One file for each, in a folder that belongs to one model and KV type: a line of JSON, the tokens as little-endian int32, and llama.cpp's
state of the sequence. What a file holds is checked against its CRC before llama.cpp sees it, so that one whose writing was cut short is
found out as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from qwq_local.backend import Rope
from qwq_local.engine.prefix import SavedPrefix

FORMAT: Final = "qwq prefix 1"
SUFFIX: Final = ".prefix"


@dataclass(frozen=True)
class PrefixShelf:
    """The files in `folder`, which holds at most `most_bytes`."""

    folder: Path
    most_bytes: int

    def read(self, most_bytes: int) -> list[SavedPrefix]:
        """What is there, the latest first, as far as so many bytes hold it. Raises OSError.

        A file that is damaged is removed, since it can only be made anew.
        """
        found = []
        for path in self._paths():
            most_bytes -= path.stat().st_size
            if most_bytes < 0:
                break
            prefix = _parse(path.read_bytes())
            if prefix is None or path.name != _name(prefix):
                path.unlink(missing_ok=True)
            else:
                found.append(prefix)
        return found

    def write(self, prefixes: Iterable[SavedPrefix]) -> None:
        """Keep these too, the most lately used first; what is too much goes, the oldest first. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        now_ns = time.time_ns()
        for age, prefix in enumerate(prefixes):
            path = self.folder / _name(prefix)
            with path.open("wb") as file:
                file.writelines(_content(prefix))
            os.utime(path, ns=(now_ns - age, now_ns - age))
        left_bytes = self.most_bytes
        for path in self._paths():
            left_bytes -= path.stat().st_size
            if left_bytes < 0:
                path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """The latest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _name(prefix: SavedPrefix) -> str:
    return hashlib.sha256(repr((prefix.rope, prefix.tokens)).encode()).hexdigest()[:32] + SUFFIX


def _content(prefix: SavedPrefix) -> tuple[bytes, bytes, bytes]:
    tokens = _little(array("i", prefix.tokens)).tobytes()
    crc = zlib.crc32(prefix.state, zlib.crc32(tokens))
    n_bytes = len(tokens) + len(prefix.state)
    head = {"format": FORMAT, "rope": prefix.rope, "tokens": len(prefix.tokens), "bytes": n_bytes, "crc": crc}
    return json.dumps(head).encode() + b"\n", tokens, prefix.state


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
