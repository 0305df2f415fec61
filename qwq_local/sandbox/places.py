"""What a confined program sees of this machine's files: the Python interpreter and the libraries it stands on, nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
_STORES: Final = ("/nix/store", "/gnu/store")
"""Where some distributions keep every library in a folder of its own."""


@dataclass(frozen=True)
class Places:
    """An interpreter, the folders and files to show (no links in their paths), and the links that lead to them with their targets."""

    executable: str
    trees: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


def interpreter() -> str:
    """The file of the interpreter that runs this, not of its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def readable_places() -> Places:
    """Those of the interpreter that runs this."""
    executable = interpreter()
    own = [
        executable,
        os.path.join(sys.base_prefix, "lib"),
        os.path.join(sys.base_prefix, "lib64"),
        os.path.join(sys.base_exec_prefix, "lib"),
    ]  # noqa: PTH118 - texts
    stores = [store for store in _STORES if executable.startswith(store + os.sep)]
    return arranged(executable, [*own, *_LIBRARIES, *stores])


def arranged(executable: str, paths: Iterable[str]) -> Places:
    """Those of the paths that there are, none inside another."""
    real = {path: os.path.realpath(path) for path in paths if os.path.exists(path)}  # noqa: PTH110 - they stay texts
    trees = _outermost(real.values())
    links = _outermost(path for path, target in real.items() if path != target and not _is_below(path, trees))
    return Places(executable, trees, tuple((path, real[path]) for path in links))


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not _is_below(path, kept):
            kept.append(path)
    return tuple(kept)


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)
