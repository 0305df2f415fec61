"""What `qwq tune` found on this machine, kept for the loads to come: a JSON file with an entry for each model file and machine.

A model is known by its file's name and size, wherever it stands. What was found holds for one processor, number of cores, set of GPUs and
build of llama.cpp, and is of no use to another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from qwq_local.errors import SettingsError
from qwq_local.tuning import Tuning, tuning_of

FILE_NAME: Final = "tuning.json"
VERSION: Final = 1


@dataclass(frozen=True)
class TunedFor:
    """What a tuning holds for: the model's first file by its name, the bytes of all of them, where its layers are, and what computes.

    `kind` is that of the placement: `cpu`, `gpu` or `both`.
    """

    file_name: str
    file_bytes: int
    kind: str
    machine: str


@dataclass(frozen=True)
class Kept:
    """A tuning that was measured, on `date` (ISO 8601); `gains` are how many times as fast it was as the defaults, by what was timed."""

    key: TunedFor
    tuning: Tuning
    gains: Mapping[str, float]
    date: str


@dataclass(frozen=True)
class AllKept:
    """Every tuning of the file; `problem` says why it cannot be read, or nothing."""

    entries: tuple[Kept, ...] = ()
    problem: str = ""

    def find(self, key: TunedFor) -> Kept | None:
        """What is kept for this file on this machine."""
        return next((kept for kept in self.entries if kept.key == key), None)


def read(folder: Path) -> AllKept:
    """What is kept in a folder; nothing where there is no file, and nothing but a problem where it cannot be understood."""
    path = folder / FILE_NAME
    try:
        said: Any = json.loads(path.read_text("utf-8"))
        if said["version"] != VERSION:
            return AllKept(problem=f"{path} is of another version of this program ({said['version']!r}): what was tuned there is not used.")
        return AllKept(tuple(map(_entry, said["tuned"])))
    except FileNotFoundError:
        return AllKept()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SettingsError) as error:
        return AllKept(problem=f"{path} cannot be used, and so nothing that was tuned: {str(error) or type(error).__name__}")


def keep(folder: Path, found: Kept) -> None:
    """Keep one, in the place of what was kept for the same file and machine. Raises OSError where the folder cannot be written."""
    _write(folder, (*(kept for kept in read(folder).entries if kept.key != found.key), found))


def forget(folder: Path, is_meant: Callable[[Kept], bool]) -> int:
    """Drop those that are meant, and tell how many; a file that cannot be understood is dropped. Raises OSError."""
    kept = read(folder)
    left = tuple(each for each in kept.entries if not is_meant(each))
    if kept.problem or len(left) < len(kept.entries):
        _write(folder, left)
    return len(kept.entries) - len(left)


def _entry(said: dict[str, Any]) -> Kept:
    key = TunedFor(str(said["file_name"]), int(said["file_bytes"]), str(said["kind"]), str(said["machine"]))
    return Kept(key, tuning_of(said["tuning"]), {str(name): float(gain) for name, gain in said["gains"].items()}, str(said["date"]))


def _write(folder: Path, entries: tuple[Kept, ...]) -> None:
    """All at once, so that whoever reads meanwhile finds the old file or the new one, and of two writers the later one's."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(kept.key), "tuning": kept.tuning.changes, "gains": dict(kept.gains), "date": kept.date} for kept in entries]
    draft = folder / f"{FILE_NAME}.{os.getpid()}.new"
    draft.write_text(json.dumps({"version": VERSION, "tuned": rows}, indent=2) + "\n", "utf-8")
    draft.replace(folder / FILE_NAME)
