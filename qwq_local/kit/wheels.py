"""The wheels in a folder: what each says it is, what it runs on, and what it needs."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from qwq_local.kit.platforms import Platform

_GLIBC_SYMBOL: Final = re.compile(rb"GLIBC_2\.(\d{1,2})\b")
_GLIBC_TAG: Final = re.compile(r"manylinux_2_(\d+)_")
_MACOS_TAG: Final = re.compile(r"macosx_(\d+)_(\d+)_")
_LEGACY: Final = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}


@dataclass(frozen=True)
class Wheel:
    """A wheel: `requires` are its Requires-Dist as they stand in its metadata, `unpacked_bytes` what it takes once installed."""

    path: Path
    name: str
    version: Version
    tags: frozenset[Tag]
    requires: tuple[str, ...]
    unpacked_bytes: int

    def runs_on(self, tags: Collection[Tag]) -> bool:
        """Whether one of its tags is among those of a Python on a platform."""
        return not self.tags.isdisjoint(tags)


def read_wheel(path: Path) -> Wheel | None:
    """What a wheel says of itself; None for a file that is none, or is damaged: every byte of it is read."""
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
            [metadata] = [entry for entry in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", entry)]
            fields = HeaderParser().parsestr(archive.read(metadata).decode("utf-8"))
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    except (InvalidWheelFilename, zipfile.BadZipFile, ValueError, OSError, EOFError):
        return None
    return Wheel(path, canonicalize_name(name), version, tags, tuple(fields.get_all("Requires-Dist", [])), unpacked_bytes)


def read_wheels(folder: Path) -> list[Wheel]:
    """The wheels of a folder; what is damaged is deleted, so that it is brought anew."""
    found = []
    for path in sorted(folder.glob("*.whl")):
        wheel = read_wheel(path)
        if wheel is None:
            path.unlink()
        else:
            found.append(wheel)
    return found


def glibc_of(wheels: Iterable[Wheel]) -> str:
    """The oldest glibc that all of them run on, by their tags, and where a tag says nothing by the symbols of their libraries."""
    minors = [minor for wheel in wheels for minor in _glibc_minors(wheel)]
    return f"2.{max(minors)}" if minors else ""


def macos_of(wheels: Iterable[Wheel]) -> str:
    """The oldest macOS that all of them run on."""
    oldest = [
        min((int(match[1]), int(match[2])) for match in matches)
        for wheel in wheels
        if (matches := [match for tag in wheel.tags if (match := _MACOS_TAG.match(tag.platform))])
    ]
    return ".".join(str(number) for number in max(oldest)) if oldest else ""


def preferred(wheels: Iterable[Wheel], platform: Platform, python: str) -> Wheel:
    """Of wheels of one name, the one that pip would take: the newest, and of these the one with the most preferred tag."""
    places = {tag: place for place, tag in enumerate(platform.tags(python))}
    return max(wheels, key=lambda wheel: (wheel.version, -min(places.get(tag, len(places)) for tag in wheel.tags)))


def _glibc_minors(wheel: Wheel) -> list[int]:
    platforms = {tag.platform for tag in wheel.tags}
    named = [int(match[1]) for name in platforms if (match := _GLIBC_TAG.match(name))]
    named += [minor for name in platforms for legacy, minor in _LEGACY.items() if name.startswith(legacy + "_")]
    if named:
        return [min(named)]
    if not any(name.startswith("linux_") for name in platforms):
        return []
    with zipfile.ZipFile(wheel.path) as archive:
        libraries = [entry for entry in archive.namelist() if re.search(r"\.so(\.\d+)*$", entry)]
        return [int(minor) for entry in libraries for minor in _GLIBC_SYMBOL.findall(archive.read(entry))]
