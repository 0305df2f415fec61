"""An installed package kept as a wheel, from which it can be put back byte for byte without network or compiler.

A wheel as PEP 427 has it, which pip would install as well. Beside the package's own files it holds what the installer wrote into the
dist-info folder (INSTALLER, REQUESTED, direct_url.json), the files' times, and the installed RECORD under another name, since a wheel's own
has a hash for every file. A link is kept as a link, which pip would make a file of, unless it leads to a file elsewhere.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Final

from qwq_local.errors import InstallationError

INSTALLED_RECORD: Final = "RECORD.installed"
TIMES: Final = "TIMES.installed"
"""When each file was changed, in nanoseconds: Python's compiled files are of no use beside a source of another time."""
FASTEST: Final = 1
"""The level of deflate: a library for CUDA has hundreds of megabytes, and there are several."""
CHUNK_BYTES: Final = 2**20
_TAG: Final = re.compile(r"^Tag: *([\w.]+)-([\w.]+)-([\w.]+)\s*$", re.MULTILINE | re.ASCII)


def keep(site: Path, info: PurePosixPath, files: Iterable[PurePosixPath], folder: Path) -> Path:
    """Write a wheel of `files` into `folder`, checked before it gets its name; `info` is the dist-info folder. All are relative to `site`.

    Raises OSError, and InstallationError where what was written is not what was read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / _name(site, info)
    part = wheel.with_suffix(".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=FASTEST, strict_timestamps=False) as archive:
            kept = [path for path in sorted(files) if path not in (info / INSTALLED_RECORD, info / TIMES)]  # pip's, of a wheel of ours
            rows = [_add(archive, site, site / path, _kept_as(path, info)) for path in kept]
            times = json.dumps({_kept_as(path, info): _changed_ns(site, site / path) for path in kept}).encode()
            archive.writestr((info / TIMES).as_posix(), times)
            record = (info / "RECORD").as_posix()
            archive.writestr(record, _record([*rows, _row((info / TIMES).as_posix(), times), (record, "", "")]))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        check(part)
        part.replace(wheel)
    except UnicodeEncodeError as error:
        message = f"{error.object!r} in {site} has a name that no wheel can hold, so that it cannot be kept."
        raise InstallationError(message, hint="Give it another name, or move it away, then try again.") from error
    finally:
        part.unlink(missing_ok=True)
    return wheel


def check(wheel: Path) -> None:
    """Raise InstallationError where a file in the wheel is not what its RECORD says, or the wheel cannot be read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            record = archive.read(f"{_info_of(wheel)}/RECORD").decode("utf-8")
            bad = [name for name, digest, *_ in csv.reader(io.StringIO(record)) if digest and digest != _digest_in(archive, name)]
            _times(archive, wheel)
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise InstallationError(f"{wheel} cannot be read: {error}.", hint="Run qwq doctor --fix for a new build.") from error
    if bad:
        raise InstallationError(f"{wheel} is damaged: {bad[0]} is not what was written.", hint="Run qwq doctor --fix for a new build.")


def unpack(wheel: Path, folder: Path) -> None:
    """Write the files of a kept wheel as they were installed. Raises OSError, and InstallationError for a damaged wheel."""
    check(wheel)
    with zipfile.ZipFile(wheel) as archive:
        for name, changed_ns in _times(archive, wheel).items():
            path = PurePosixPath(name)
            target = folder / (path.with_name("RECORD") if path.name == INSTALLED_RECORD else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = archive.getinfo(name).external_attr >> 16
            if stat.S_ISLNK(mode):
                target.symlink_to(os.fsdecode(archive.read(name)))
                continue
            with archive.open(name) as source, target.open("wb") as written:
                shutil.copyfileobj(source, written, CHUNK_BYTES)
            target.chmod(mode)
            os.utime(target, ns=(changed_ns, changed_ns))


def _kept_as(path: PurePosixPath, info: PurePosixPath) -> str:
    return (info / INSTALLED_RECORD if path == info / "RECORD" else path).as_posix()


def _times(archive: zipfile.ZipFile, wheel: Path) -> dict[str, int]:
    """When each file was changed, by its name in the wheel."""
    return dict(json.loads(archive.read(f"{_info_of(wheel)}/{TIMES}")))


def _info_of(wheel: Path) -> str:
    """The dist-info folder of the wheel's own RECORD: that of another version may be kept in it as well."""
    return f"{wheel.stem.rsplit('-', 3)[0]}.dist-info"


def _is_link(site: Path, source: Path) -> bool:
    """Whether it is kept as a link. One to a file elsewhere is not, such as into uv's cache: that may be gone when the build comes back."""
    return source.is_symlink() and not (source.is_file() and not source.resolve().is_relative_to(site.resolve()))


def _changed_ns(site: Path, source: Path) -> int:
    return (source.lstat() if _is_link(site, source) else source.stat()).st_mtime_ns


def _add(archive: zipfile.ZipFile, site: Path, source: Path, name: str) -> tuple[str, str, str]:
    """Add a file with its mode, or a link; gives its row in RECORD."""
    if _is_link(site, source):
        entry, target = zipfile.ZipInfo(name), os.fsencode(source.readlink())
        entry.external_attr = stat.S_IFLNK << 16
        archive.writestr(entry, target)
        return _row(name, target)
    archive.write(source, name)
    with source.open("rb") as file:
        return name, _digest(file), str(source.stat().st_size)


def _row(name: str, content: bytes) -> tuple[str, str, str]:
    return name, _digest(io.BytesIO(content)), str(len(content))


def _record(rows: Iterable[tuple[str, str, str]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue()


def _digest_in(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as file:
        return _digest(file)


def _digest(file: IO[bytes]) -> str:
    """As RECORD has it (PEP 376): URL-safe base64 without padding."""
    found = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        found.update(chunk)
    return "sha256=" + base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode()


def _name(site: Path, info: PurePosixPath) -> str:
    """By the tags in the file WHEEL (PEP 427, "File name convention"); where it tells none, as for any machine."""
    told = site / info / "WHEEL"
    text = told.read_text("utf-8", errors="replace") if told.is_file() else ""
    tags = [list(tag) for tag in _TAG.findall(text)] or [["py3", "none", "any"]]
    compressed = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    return f"{info.name.removesuffix('.dist-info')}-{compressed}.whl"
