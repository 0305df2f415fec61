"""An installed package kept as a wheel, from which it can be put back byte for byte without network or compiler.

A wheel as PEP 427 has it, which pip would install as well. Beside the package's own files it holds what the installer wrote into the
dist-info folder (INSTALLER, REQUESTED, direct_url.json), the files' times, and the installed RECORD under another name, since a wheel's own
has a hash for every file.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import shutil
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


def keep(site: Path, info: PurePosixPath, files: Iterable[PurePosixPath], folder: Path) -> Path:
    """Write a wheel of `files` into `folder`, checked before it gets its name; `info` is the dist-info folder. All are relative to `site`.

    Raises OSError, and InstallationError where what was written is not what was read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / _name(site, info)
    part = wheel.with_suffix(".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=FASTEST, strict_timestamps=False) as archive:
            rows = [_add(archive, site / path, _kept_as(path, info)) for path in sorted(files)]
            times = {_kept_as(path, info): (site / path).stat().st_mtime_ns for path in files}
            archive.writestr((info / TIMES).as_posix(), json.dumps(times))
            record = (info / "RECORD").as_posix()
            archive.writestr(record, _record([*rows, ((info / TIMES).as_posix(), "", ""), (record, "", "")]))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        check(part)
        part.replace(wheel)
    finally:
        part.unlink(missing_ok=True)
    return wheel


def check(wheel: Path) -> None:
    """Raise InstallationError where a file in the wheel is not what its RECORD says, or the wheel cannot be read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            [record] = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
            rows = csv.reader(io.StringIO(archive.read(record).decode("utf-8")))
            bad = [name for name, digest, *_ in rows if digest and digest != _digest_in(archive, name)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InstallationError(f"{wheel} cannot be read: {error}.", hint="Run qwq doctor --fix for a new build.") from error
    if bad:
        raise InstallationError(f"{wheel} is damaged: {bad[0]} is not what was written.", hint="Run qwq doctor --fix for a new build.")


def unpack(wheel: Path, folder: Path) -> None:
    """Write the files of a kept wheel as they were installed. Raises OSError, and InstallationError for a damaged wheel."""
    check(wheel)
    with zipfile.ZipFile(wheel) as archive:
        [times_name] = [name for name in archive.namelist() if name.endswith(f".dist-info/{TIMES}")]
        for name, changed_ns in json.loads(archive.read(times_name)).items():
            path = PurePosixPath(name)
            target = folder / (path.with_name("RECORD") if path.name == INSTALLED_RECORD else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as written:
                shutil.copyfileobj(source, written, CHUNK_BYTES)
            target.chmod(archive.getinfo(name).external_attr >> 16)
            os.utime(target, ns=(changed_ns, changed_ns))


def _kept_as(path: PurePosixPath, info: PurePosixPath) -> str:
    return (info / INSTALLED_RECORD if path == info / "RECORD" else path).as_posix()


def _add(archive: zipfile.ZipFile, source: Path, name: str) -> tuple[str, str, str]:
    """Add a file with its mode; gives its row in RECORD."""
    archive.write(source, name)
    with source.open("rb") as file:
        return name, _digest(file), str(source.stat().st_size)


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
    """By the tags in the file WHEEL (PEP 427, "File name convention")."""
    lines = (site / info / "WHEEL").read_text("utf-8").splitlines()
    tags = [line.partition(":")[2].strip().split("-") for line in lines if line.startswith("Tag:")] or [["py3", "none", "any"]]
    compressed = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    return f"{info.name.removesuffix('.dist-info')}-{compressed}.whl"
