"""Files taken away one by one: what cannot go is named, and the rest goes nevertheless."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from qwq_local.cli.leaving.traces import Trace


class Left(NamedTuple):
    """What could not be removed, and why."""

    path: Path
    reason: str


def clear(trace: Trace) -> list[Left]:
    """Remove all of it; what is left. Whoever is interrupted finds the rest the next time."""
    left = [failure for path in trace.files for failure in remove_file(path)]
    left += [failure for tree in trace.trees for failure in remove_tree(tree)]
    for folder in trace.folders:
        with suppress(OSError):  # it is not there, or others have files in it
            folder.rmdir()
    return left


def remove_file(path: Path) -> list[Left]:
    """Remove a file, or a link itself; what is left of it."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return [Left(path, error.strerror or str(error))]
    return []


def remove_tree(folder: Path) -> list[Left]:
    """Remove a folder with all that is in it; no link is followed. What is left of it."""
    left: list[Left] = []
    for root, inner, files in os.walk(folder, topdown=False):
        for path in (Path(root, name) for name in (*files, *inner)):
            left += _remove_folder(path) if path.is_dir() and not path.is_symlink() else remove_file(path)
    return left + _remove_folder(folder)


def _remove_folder(folder: Path) -> list[Left]:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Left(folder, error.strerror or str(error))]
    return []
