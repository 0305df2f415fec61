"""The files of llama-cpp-python where Python finds them, and their exchange for others.

Both happen by renaming within the folder of packages: it takes a moment, needs no room, and is undone by renaming back.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
UNKNOWN: Final = "(version unknown)"
"""The version of what has lost its dist-info folder."""
_NO_INFO: Final = PurePosixPath("llama_cpp_python-0.dist-info")
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
    """What is installed there, also in pieces; None where nothing is.

    Raises InstallationError where another program than pip or uv has installed it, which keeps other records, or its files are others'.
    """
    infos = _infos(site)
    for info in infos:
        _refuse_others(site, info)
    folders = {site / PACKAGE, *(parent for path in _named(site) for parent in path.parents if site in parent.parents)}
    for folder in sorted(folders):
        if folder.is_symlink():
            raise InstallationError(
                f"{folder} is a link to {folder.readlink()}: its files are that folder's.",
                hint="Delete the link, then run qwq doctor --fix again.",
            )
    files = files_in(site)
    if not files:
        return None
    if not infos:
        return Installed(site, _NO_INFO, UNKNOWN, files)
    name = infos[-1].name
    return Installed(site, PurePosixPath(name), name.removesuffix(".dist-info").partition("-")[2], files)


def _infos(site: Path) -> list[Path]:
    """The dist-info folders, of which an install that was broken off may leave several; the whole one that came last is the last."""
    found = [path for path in site.glob(_INFO) if path.is_dir()]
    return sorted(found, key=lambda info: ((info / "METADATA").is_file(), info.stat().st_mtime_ns, info))


def _refuse_others(site: Path, info: Path) -> None:
    """Raise InstallationError where what this dist-info folder tells of is not to be exchanged."""
    if (info / "METADATA").is_file() and not (info / "RECORD").is_file():
        by = _text(info / "INSTALLER").strip() or "Some other program"
        raise InstallationError(
            f"{by} installed llama-cpp-python in {site} and keeps no list of its files: they cannot be exchanged.",
            hint="Install qwq-local with pip, in an environment of its own: pipx install qwq-local",
        )
    if _is_editable(info):
        raise InstallationError(
            f"llama-cpp-python in {site} is an editable install: its files are a source folder's.",
            hint=f"Install a usual one first: pip install --force-reinstall --no-deps {DISTRIBUTION}",
        )


def _is_editable(info: Path) -> bool:
    """As direct_url.json tells (PEP 610); one that cannot be understood tells of no source folder."""
    try:
        return bool(json.loads(_text(info / "direct_url.json"))["dir_info"]["editable"])
    except (ValueError, LookupError, TypeError):
        return False


def files_in(site: Path) -> tuple[PurePosixPath, ...]:
    """All of llama-cpp-python there, whole or in pieces, with what somebody added to its folder; its RECORD comes first."""
    infos = _infos(site)
    found = {path for folder in (site / PACKAGE, *infos) for path in folder.rglob("*") if _is_file(path)}
    found |= {path for path in _named(site) if _is_file(path)}
    records = [info / "RECORD" for info in infos]
    return tuple(PurePosixPath(path.relative_to(site).as_posix()) for path in sorted(found, key=lambda path: (path not in records, path)))


def _named(site: Path) -> set[Path]:
    """What the dist-info folders say was installed; what lies outside, as programs do, stays."""
    named = {site / name for info in _infos(site) for name in _names(info / "RECORD")}
    return {path for path in named if ".." not in path.parts and path.is_relative_to(site)}


def _files_of(stage: Path) -> list[PurePosixPath]:
    """All that is to be put in place, RECORD first; uv leaves a hidden file of its own beside it."""
    paths = [path for path in sorted(stage.rglob("*")) if _is_file(path) and not path.relative_to(stage).parts[0].startswith(".")]
    return [PurePosixPath(path.relative_to(stage).as_posix()) for path in sorted(paths, key=lambda path: path.name != "RECORD")]


def in_the_way(site: Path, stage: Path) -> tuple[PurePosixPath, ...]:
    """Files of others where the build of `stage` has one of the same name, as packages with headers may have."""
    own = set(files_in(site))
    return tuple(path for path in _files_of(stage) if path not in own and os.path.lexists(site / path))


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
    return bool(_files_of(site / ASIDE))


def bring_back(site: Path) -> bool:
    """Put back what lies aside, wherever an exchange was broken off; False, with nothing moved, where none of the old build is left.

    Raises OSError where a file cannot be moved; then the next call goes on from there.
    """
    stage, aside = site / STAGE, site / ASIDE
    if not any(stage.glob(f"{_INFO}/RECORD")):  # RECORD comes first: what is in place is the new build's
        if not left_aside(site):
            return False
        for path in reversed(files_in(site)):
            _move(site / path, stage / path)
    _prune(site, _files_of(stage))
    for path in _files_of(aside):
        _move(aside / path, site / path)
    return True


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
    if os.path.lexists(target) and not os.path.lexists(source):
        _move(target, source)


def _prune(site: Path, paths: Iterable[PurePosixPath]) -> None:
    """Delete the folders that these files have left empty, and empty ones of the package: a dist-info folder would still count as one."""
    own = [folder for top in (site / PACKAGE, *site.glob(_INFO)) for folder in (top, *top.rglob("*")) if _is_folder(folder)]
    folders = {site / parent for path in paths for parent in path.parents if parent.parts} | set(own)
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        if _is_folder(folder) and not any(folder.iterdir()):
            folder.rmdir()


def _is_file(path: Path) -> bool:
    """Whether it is one thing to move: a file or a link, be that to a folder or to nothing."""
    return path.is_symlink() or path.is_file()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _names(record: Path) -> list[str]:
    """The paths in a RECORD (PEP 376: CSV)."""
    return [row[0] for row in csv.reader(_text(record).splitlines()) if row]


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""
