"""The files of llama-cpp-python where Python finds them, and their exchange for others.

Both happen by renaming within the folder of packages: it takes a moment, needs no room, and is undone by renaming back.
"""

from __future__ import annotations

import csv
import json
import shutil
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final

import qwq_local
from qwq_local.errors import InstallationError

DISTRIBUTION: Final = "llama-cpp-python"
PACKAGE: Final = "llama_cpp"
_INFO: Final = "llama_cpp_python-*.dist-info"
STAGE: Final = "~qwq-new"
"""Where a build waits, beside the one that it is to replace: a name that no package can have."""
ASIDE: Final = "~qwq-old"
_PACKAGES: Final = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class Installed:
    """A build in a folder: `info` is its dist-info folder, `files` all that is its own, both relative to `site`."""

    site: Path
    info: PurePosixPath
    version: str
    files: tuple[PurePosixPath, ...]


def find_site() -> Path:
    """The folder that llama-cpp-python is in, or would be put into."""
    try:
        return Path(str(distribution(DISTRIBUTION).locate_file("")))
    except PackageNotFoundError:
        spec = find_spec(PACKAGE)
    if spec and spec.submodule_search_locations:
        found = Path(next(iter(spec.submodule_search_locations))).parent
        if found.name in _PACKAGES:  # elsewhere it is somebody's source, whose files are not to be exchanged
            return found
    beside = Path(qwq_local.__file__).parent.parent
    return beside if beside.name in _PACKAGES else Path(sysconfig.get_path("platlib"))


def find_installed(site: Path) -> Installed | None:
    """What is installed there; None where nothing is, or only pieces of it.

    Raises InstallationError where another program than pip or uv has installed it, which keeps other records.
    """
    infos = [path.parent for path in site.glob(f"{_INFO}/METADATA")]
    if not infos:
        return None
    info = infos[-1]
    if not (info / "RECORD").is_file():
        by = _text(info / "INSTALLER").strip() or "Some other program"
        raise InstallationError(
            f"{by} installed llama-cpp-python in {site} and keeps no list of its files: they cannot be exchanged.",
            hint="Install qwq-local with pip, in an environment of its own: pipx install qwq-local",
        )
    if json.loads(_text(info / "direct_url.json") or "{}").get("dir_info", {}).get("editable"):
        raise InstallationError(
            f"llama-cpp-python in {site} is an editable install: its files are a source folder's.",
            hint=f"Install a usual one first: pip install --force-reinstall --no-deps {DISTRIBUTION}",
        )
    version = HeaderParser().parsestr(_text(info / "METADATA")).get("Version", "")
    return Installed(site, PurePosixPath(info.name), version, files_in(site))


def files_in(site: Path) -> tuple[PurePosixPath, ...]:
    """All of llama-cpp-python there, whole or in pieces, with what somebody added to its folder; its RECORD comes first."""
    infos = sorted(path for path in site.glob(_INFO) if path.is_dir())
    found = {path for folder in (site / PACKAGE, *infos) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}
    records = [info / "RECORD" for info in infos if (info / "RECORD").is_file()]
    named = {site / name for record in records for name in _names(record)}
    found |= {path for path in named if ".." not in path.parts and path.is_file()}  # what lies outside, as programs do, stays
    return tuple(PurePosixPath(path.relative_to(site).as_posix()) for path in sorted(found, key=lambda path: (path not in records, path)))


def _files_of(stage: Path) -> list[PurePosixPath]:
    """All that is to be put in place, RECORD first; uv leaves a hidden file of its own beside it."""
    paths = [path for path in sorted(stage.rglob("*")) if path.is_file() and not path.relative_to(stage).parts[0].startswith(".")]
    return [PurePosixPath(path.relative_to(stage).as_posix()) for path in sorted(paths, key=lambda path: path.name != "RECORD")]


def in_the_way(site: Path, stage: Path) -> tuple[PurePosixPath, ...]:
    """Files of others where the build of `stage` has one of the same name, as packages with headers may have."""
    own = set(files_in(site))
    return tuple(path for path in _files_of(stage) if path not in own and (site / path).exists())


@contextmanager
def exchanged(site: Path, stage: Path) -> Iterator[None]:
    """Put the build of `stage`, a folder in `site`, in the place of the one there; what is raised within puts the old one back.

    Raises OSError where a file cannot be moved: then nothing is changed.
    """
    aside = site / ASIDE
    if aside.exists():
        shutil.rmtree(aside)
    old, new = (*files_in(site), *in_the_way(site, stage)), _files_of(stage)
    with ExitStack() as undo:
        undo.callback(_prune, site, new)
        # RECORD leaves last and comes first, so that at any moment it tells of every file that is there.
        for path in reversed(old):
            undo.callback(_move_back, site / path, aside / path)
            _move(site / path, aside / path)
        _prune(site, old)
        for path in new:
            undo.callback(_move_back, stage / path, site / path)
            _move(stage / path, site / path)
        yield
        undo.pop_all()
    clear(site)


def left_aside(site: Path) -> bool:
    """Whether files of the old build still lie aside, as after a rollback that was itself broken off."""
    return any(not path.is_dir() for path in (site / ASIDE).rglob("*"))


def clear(site: Path) -> None:
    """Away with what an exchange leaves beside the packages; what a program still uses, on Windows, stays until the next one."""
    for folder in (site / STAGE, site / ASIDE):
        shutil.rmtree(folder, ignore_errors=True)


def is_writable(site: Path) -> bool:
    """Try it: what permissions say is not all that counts."""
    try:
        with tempfile.TemporaryDirectory(prefix=f"{STAGE}-", dir=site):
            return True
    except OSError:
        return False


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _move_back(source: Path, target: Path) -> None:
    """Undo `_move`, which may not have come to it."""
    if target.exists() and not source.exists():
        _move(target, source)


def _prune(site: Path, paths: Iterable[PurePosixPath]) -> None:
    """Delete the folders that these files have left empty, and empty ones of the package: a dist-info folder would still count as one."""
    own = [folder for top in (site / PACKAGE, *site.glob(_INFO)) for folder in (top, *top.rglob("*")) if folder.is_dir()]
    folders = {site / parent for path in paths for parent in path.parents if parent.parts} | set(own)
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _names(record: Path) -> list[str]:
    """The paths in a RECORD (PEP 376: CSV)."""
    return [row[0] for row in csv.reader(_text(record).splitlines()) if row]


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""
