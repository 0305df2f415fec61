"""One model in several files (pure), as llama.cpp's tools/gguf-split makes them and its model loader reads them.

The first file carries the model's metadata, and each its own number, their count and the count of all tensors. A file is full when the next
tensor would bring its tensors, each padded, over the limit; its metadata does not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from qwq_convert.metadata import KeyValue
from qwq_local.errors import SettingsError

_UNITS = {"M": 10**6, "G": 10**9}
MAX_FILES = 2**16 - 1
"""`split.count` is a uint16."""


def parse_size(text: str) -> int:
    """Bytes of "40G" or "500M" (10^9 and 10^6, as with llama-gguf-split); raises SettingsError for anything else."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})([MG])", text.strip().upper())
    if found is None:
        raise SettingsError(f"--split {text!r} is no size.", hint="Give megabytes or gigabytes: --split 40G")
    return int(found[1]) * _UNITS[found[2]]


def distribute(sizes: Mapping[str, int], limit_bytes: int) -> tuple[tuple[str, ...], ...]:
    """The tensors of each file; `sizes` gives the padded bytes of each tensor in order.

    Raises:
        SettingsError: a tensor alone is larger than a file may be, or there would be too many files.
    """
    files: list[list[str]] = []
    left_bytes = 0
    for name, size_bytes in sizes.items():
        if size_bytes > limit_bytes:
            raise SettingsError(
                f"Tensor {name} takes {size_bytes:,} bytes, more than the {limit_bytes:,} of --split.",
                hint=f"Tensors are not cut: give at least --split {-(-max(sizes.values()) // 10**6)}M",
            )
        if not files or size_bytes > left_bytes:
            files.append([])
            left_bytes = limit_bytes
        files[-1].append(name)
        left_bytes -= size_bytes
    if len(files) > MAX_FILES:
        raise SettingsError(f"--split would make {len(files):,} files, and {MAX_FILES:,} are possible.", hint="Give a larger size.")
    return tuple(map(tuple, files))


def split_path(path: Path, number: int, count: int) -> Path:
    """What file `number` (from 0) of `count` is called: NAME-00001-of-00003.gguf (`llama_split_path`, src/llama.cpp)."""
    return path.with_name(f"{path.stem}-{number + 1:05d}-of-{count:05d}{path.suffix}")


def split_values(number: int, count: int, n_tensors: int) -> tuple[KeyValue, ...]:
    """What each of the files says of itself, in gguf-split's order; `n_tensors` counts those of all files."""
    return (
        KeyValue("split.no", "uint16", number),
        KeyValue("split.tensors.count", "int32", n_tensors),
        KeyValue("split.count", "uint16", count),
    )
