"""This very program as a wheel: built where it runs from its source, packed again from what was installed where it does not."""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Final

import qwq_local
from qwq_local import installation
from qwq_local.errors import InstallationError
from qwq_local.kit import pip_runs

_NOT_PACKED: Final = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}
"""What an installer added (PEP 376, PEP 610); RECORD is written anew."""
_SCRIPTS: Final = {"bin", "scripts"}
"""The folders of an environment whose files an installer makes of entry points."""
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold; one time for all makes equal wheels of equal files."""


def make_own_wheel(folder: Path) -> Path:
    """Put it into the folder and return its path. Raises InstallationError, or OSError where the disk refuses."""
    source = Path(qwq_local.__file__).resolve().parents[1]
    if _is_own_source(source / "pyproject.toml"):
        before = set(folder.glob("*.whl"))
        pip_runs.build(str(source), folder)
        [path] = set(folder.glob("*.whl")) - before
        return path
    try:
        return repack(distribution(installation.DISTRIBUTION), folder)
    except PackageNotFoundError as error:
        raise InstallationError("This program is not an installed package.", hint="Make the kit with one installed by pip.") from error


def _is_own_source(path: Path) -> bool:
    """Whether it is this project's; a package may have left one of its own where packages are installed."""
    if not path.is_file():
        return False
    try:
        return bool(tomllib.loads(path.read_text("utf-8"))["project"]["name"] == installation.DISTRIBUTION)
    except (ValueError, LookupError, TypeError):  # not TOML, or it names no project
        return False


def repack(found: Distribution, folder: Path) -> Path:
    """The wheel that a distribution was installed from, made of its files (PEP 427). Raises InstallationError where one was changed."""
    said = found.read_text("WHEEL") or ""
    tags = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("Tag: ")]
    stem = f"{found.name.replace('-', '_')}-{found.version}"
    path = folder / f"{stem}-{_compressed(tags)}.whl"
    draft = path.with_name(path.name + ".part")
    lines = []
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _files(found, stem):
            _write(archive, name, content)
            lines.append(f"{name},sha256={_digest(content)},{len(content)}")
        record = f"{stem}.dist-info/RECORD"
        _write(archive, record, ("\n".join([*lines, f"{record},,"]) + "\n").encode())
    return draft.replace(path)


def _files(found: Distribution, stem: str) -> Iterator[tuple[str, bytes]]:
    """What belongs into the wheel, by its name there: not what its installer added, compiled, or made of entry points."""
    if found.files is None:
        raise InstallationError(f"Nobody knows which files {found.name} consists of.", hint="Install it again with pip.")
    for file in found.files:
        name = _name_in_wheel(PurePosixPath(file.as_posix()), stem)
        if name is None:
            continue
        try:
            content = file.read_binary()
        except OSError as error:
            raise InstallationError(f"{found.name} is damaged: {file} cannot be read.", hint="Install it again.") from error
        if file.hash and file.hash.value != _digest(content):
            raise InstallationError(f"{found.name} is damaged: {file} is not what was installed.", hint="Install it again.")
        yield name, content


def _name_in_wheel(path: PurePosixPath, stem: str) -> str | None:
    """An installed file's name in the wheel; what lies outside the folder of packages is in `data`, which goes below the environment."""
    is_added = path.name in _NOT_PACKED and path.parent.name.endswith(".dist-info")
    if path.is_absolute() or path.suffix == ".pyc" or is_added:
        return None
    inside = [part for part in path.parts if part != ".."]
    if len(inside) == len(path.parts):
        return str(path)
    return None if inside[0].lower() in _SCRIPTS else "/".join([f"{stem}.data", "data", *inside])


def _compressed(tags: list[str]) -> str:
    """One tag that stands for several (PEP 425, "Compressed Tag Sets")."""
    columns = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(column)) for column in columns)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
