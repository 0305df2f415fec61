"""What this program leaves in a user's folders, by name: a function for each who writes there.

A file is only found under a name that the program itself gives, in a folder that is its own. A whole folder is only taken for ours where
all in it is some other program's work done for us: a browser's profile, a package that was set aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from qwq_local.cli.completing.installing import installed
from qwq_local.configuration import Folders
from qwq_local.models.download import PARTS_FOLDER
from qwq_local.models.record import record_path

Kept: TypeAlias = Literal["chats", "evaluations", "models", "settings"]
"""What stays unless it is asked for."""

CACHE_FILES: Final = ("hardware.json*", "tuning.json*", "models.json", "models.new", "amx.json")
"""machine.measured, machine.tuned, models.description, llama._amx; some are written under another name first."""
PREFIXES: Final = "chats/*/*.prefix"
WHEELS: Final = "kit-wheels/*/*.whl"
"""What `qwq kit make` compiled, for the next kit."""
CACHE_FOLDERS: Final = ("chats/*", "chats", "kit-wheels/*", "kit-wheels", ".")
CHATS: Final = ("chats.db", "chats.db-wal", "chats.db-shm", "chats.db-suspect", "chats.damaged-*.db*")
EVALUATIONS: Final = "evaluations/*.jsonl"
BUILD: Final = "builds/" + "[0-9a-f]" * 12
BUILD_FILES: Final = tuple(f"{BUILD}/{name}" for name in ("going.json*", "done.json", "lock"))
DESKTOP_FILES: Final = tuple(
    f"desktop/{name}" for name in ("running.json*", "joined", "lock", "desktop.log", "desktop.log.old", "trouble.html")
)
PACKED_BROWSERS: Final = (".var/app/*/qwq-local", "snap/chromium/common/qwq-local")
"""Where a browser of Flatpak or Snap keeps the profile of the desktop window, in the home folder."""
MODEL_SUFFIX: Final = ".gguf"
RECORD_SUFFIXES: Final = (".json", ".json.new")
"""Behind a model's own: its record, also one whose writer was killed."""
PART_SUFFIXES: Final = (".part", ".part.json", ".part.json.new", ".lock")


@dataclass(frozen=True)
class Trace:
    """What belongs together: files, folders that go with all in them, and folders that go once they are empty, the deepest first."""

    title: str
    files: tuple[Path, ...]
    trees: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    kept: Kept | None = None

    def __bool__(self) -> bool:
        """Whether there is anything of it; empty folders are nothing to speak of."""
        return bool(self.files or self.trees)

    @property
    def n_bytes(self) -> int:
        """What they take on the disk, as far as that may be looked at."""
        inside = (path for tree in self.trees for path in tree.rglob("*"))
        return sum(map(_size, (*self.files, *inside)))

    @property
    def paths(self) -> tuple[Path, ...]:
        """What is removed, but for empty folders."""
        return (*self.files, *self.trees)


def find_traces(folders: Folders, settings: Path, home: Path) -> list[Trace]:
    """All of them, those that stay unless asked for at the end."""
    data, cache = folders.data, folders.cache
    return [
        _completions(),
        _found("what was measured, tuned and kept", cache, (*CACHE_FILES, PREFIXES, WHEELS), empty=CACHE_FOLDERS),
        _builds(data),
        _desktop(data, home),
        _found("chats", data, CHATS, kept="chats"),
        _found("evaluations", data, (EVALUATIONS,), empty=("evaluations",), kept="evaluations"),
        _models(folders),
        _settings(settings),
        Trace("folders of data", (), folders=(data,)),
    ]


def foreign_models(folders: Folders) -> list[Path]:
    """Model files in the folder of models that are left alone, since somebody else may have put them there."""
    ours = set(_models(folders).files)
    return [path for path in _matching(folders.models, f"**/*{MODEL_SUFFIX}") if path not in ours]


def _completions() -> Trace:
    files = tuple(installed())
    return Trace("completion in shells", files, folders=tuple(folder for path in files for folder in (path.parent, path.parent.parent)))


def _builds(data: Path) -> Trace:
    packages = tuple(path for path in _matching(data, f"{BUILD}/kept-*") if path.is_dir() and not path.is_symlink())
    found = _found("builds of llama.cpp that were set aside", data, BUILD_FILES, empty=(BUILD, "builds"))
    return Trace(found.title, found.files, packages, found.folders)


def _desktop(data: Path, home: Path) -> Trace:
    profiles = [data / "desktop" / "browser", *(path for pattern in PACKED_BROWSERS for path in _matching(home, pattern))]
    found = _found("the desktop window's profile", data, DESKTOP_FILES, empty=("desktop",))
    return Trace(found.title, found.files, tuple(path for path in profiles if path.is_dir() and not path.is_symlink()), found.folders)


def _models(folders: Folders) -> Trace:
    """Those that were pulled or came with a kit, which have a record; in a folder that nobody named, all model files."""
    folder = folders.models
    is_own = folder == folders.data / "models" and not folder.is_symlink()
    files = [path for path in _matching(folder, f"**/*{MODEL_SUFFIX}") if not path.is_dir()]
    ours = [path for path in files if is_own or record_path(path).is_file()]
    named = [model.with_name(f"{model.name}{suffix}") for model in ours for suffix in RECORD_SUFFIXES]
    orphans = [path for suffix in RECORD_SUFFIXES for path in _matching(folder, f"**/*{MODEL_SUFFIX}{suffix}")] if is_own else []
    records = [path for path in dict.fromkeys((*named, *orphans)) if path.is_symlink() or path.is_file()]
    parts = [path for path in _matching(folder / PARTS_FOLDER, "*") if path.name.endswith(PART_SUFFIXES)]
    inner = sorted({parent for path in ours for parent in path.parents if folder in parent.parents}, key=lambda path: -len(path.parts))
    return Trace("models", (*ours, *records, *parts), folders=(*inner, folder / PARTS_FOLDER, folder), kept="models")


def _settings(path: Path) -> Trace:
    own_folder = (path.parent,) if path.parent.name == "qwq" else ()
    return Trace("settings", (path,) if path.is_file() else (), folders=own_folder, kept="settings")


def _found(title: str, folder: Path, patterns: tuple[str, ...], *, empty: tuple[str, ...] = (), kept: Kept | None = None) -> Trace:
    files = tuple(path for pattern in patterns for path in _matching(folder, pattern) if path.is_symlink() or not path.is_dir())
    inner = tuple(path for pattern in empty for path in _matching(folder, pattern) if path.is_dir() and not path.is_symlink())
    return Trace(title, files, folders=inner, kept=kept)


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    """What is there under such a name, in order; nothing where the folder may not be read."""
    if pattern == ".":
        yield folder
        return
    with suppress(OSError):
        yield from sorted(folder.glob(pattern))


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
