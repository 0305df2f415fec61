"""What a confined program sees of this machine's files: the Python interpreter and the libraries it stands on, nothing else."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
_PACKAGES: Final = "/usr/lib/python3/dist-packages"
"""Where Debian keeps them."""
_STORES: Final = ("/nix/store", "/gnu/store")
"""Where some distributions keep every library in a folder of its own."""


@dataclass(frozen=True)
class Places:
    """An interpreter, the folders and files to show (no links in their paths), and the links that lead to them with their targets.

    `hidden` are folders within these that are to look empty: packages that were installed, since what passes must not depend on them.
    """

    executable: str
    trees: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...] = ()


def interpreter() -> str:
    """The file of the interpreter that runs this, not of its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def readable_places() -> Places:
    """Those of the interpreter that runs this."""
    executable = interpreter()
    own = [executable, f"{sys.base_prefix}/lib", f"{sys.base_prefix}/lib64", f"{sys.base_exec_prefix}/lib"]
    stores = [store for store in _STORES if executable.startswith(store + os.sep)]
    packages = [*site.getsitepackages([sys.base_prefix, sys.base_exec_prefix]), _PACKAGES]
    return arranged(executable, [*own, *_LIBRARIES, *stores], packages)


def arranged(executable: str, paths: Iterable[str], hidden: Iterable[str] = ()) -> Places:
    """Those of the paths that there are, none inside another, and those of the hidden folders that are inside one."""
    real = {path: os.path.realpath(path) for path in paths if os.path.exists(path)}  # noqa: PTH110 - they stay texts
    trees = _outermost(real.values())
    links = _outermost(path for path, target in real.items() if path != target and not _is_below(path, trees))
    inside = {os.path.realpath(path) for path in hidden if os.path.isdir(path)}  # noqa: PTH112 - as above
    return Places(
        executable, trees, tuple((path, real[path]) for path in links), _outermost(path for path in inside if _is_below(path, trees))
    )


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not _is_below(path, kept):
            kept.append(path)
    return tuple(kept)


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)
