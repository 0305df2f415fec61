"""A kit's models, put where `qwq list` looks for them: linked or copied, and compared with their hashes on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from io import RawIOBase
from pathlib import Path

from .files import READ_BYTES, flaw_of, sha256_of
from .lock import locked
from .manifest import AGAIN, MODELS, KitFile, Manifest
from .trouble import InstallError, reading

RECORD = ".json"
"""A model's record lies beside it under its name with this added (qwq_local/models/record.py)."""
PARTS = ".partial"
"""Where files grow, as `qwq pull` has it, so that `qwq list` tells of them (qwq_local/models/download.py)."""


def wanted(manifest: Manifest, folder: Path) -> list[KitFile]:
    """The model files that are not in the folder yet. Raises InstallError where another file has the name of one."""
    lacking = []
    for file in manifest.under(MODELS):
        target = folder / Path(file.path).name
        if file.path.endswith(RECORD):
            continue
        if not target.exists():
            lacking.append(file)
        elif not _is_whole(target, file):
            raise InstallError(
                f"{target} is there already, and is not the kit's.",
                "Rename or remove it (qwq rm), or leave the kit's out: ./install --no-model",
            )
    return lacking


def _is_whole(target: Path, file: KitFile) -> bool:
    with reading(target, "Make it readable, or remove it (qwq rm)."):
        return target.stat().st_size == file.size_bytes and sha256_of(target) == file.sha256


def needed_bytes(kit: Path, files: list[KitFile], folder: Path, existing: Path) -> int:
    """What the files still take on the disk: nothing where they can be linked, and not what was copied before an interruption."""
    is_same_disk = existing.stat().st_dev == kit.stat().st_dev
    parts = [part_path(file, folder) for file in files]
    had_bytes = [part.stat().st_size if part.is_file() else 0 for part in parts]
    return sum(file.size_bytes - had for file, had in zip(files, had_bytes, strict=True) if had or not is_same_disk)


def put_model(kit: Path, file: KitFile, folder: Path, on_bytes: Callable[[int], None]) -> bool:
    """Put one file and its record into the folder; whether it was linked. Raises InstallError where it is damaged, OSError from the disk.

    What was copied before an interruption is not copied again.
    """
    part = part_path(file, folder)
    part.parent.mkdir(parents=True, exist_ok=True)
    with locked(part.with_suffix(".lock"), f"Another installation, or qwq pull, is writing {folder / Path(file.path).name}."):
        return _put(kit, file, part, on_bytes)


def part_path(file: KitFile, folder: Path) -> Path:
    """Where a file grows, and beside it the lock of whoever writes it, as `qwq pull` has it (qwq_local/models/download.py)."""
    return folder / PARTS / f"{Path(file.path).name}.{file.sha256[:12]}.part"


def _put(kit: Path, file: KitFile, part: Path, on_bytes: Callable[[int], None]) -> bool:
    source, target = kit / file.path, part.parent.parent / Path(file.path).name
    record = source.with_name(source.name + RECORD)
    with reading(record):
        said = record.read_bytes()
    part.with_name(part.name + RECORD).write_bytes(said)
    is_linked = not part.exists() and _link(source, part)
    with reading(source) if is_linked else nullcontext():
        found = sha256_of(part, on_bytes) if is_linked else copy(source, part, on_bytes)
    if found != file.sha256 or part.stat().st_size != file.size_bytes:
        part.unlink()
        part.with_name(part.name + RECORD).unlink()
        flaw = flaw_of(kit, file)
        raise InstallError(
            f"The kit is damaged: {flaw}." if flaw else f"{target} did not arrive whole.", AGAIN if flaw else "Run ./install again."
        )
    target.with_name(target.name + RECORD).write_bytes(said)
    part.replace(target)
    part.with_name(part.name + RECORD).unlink()
    return is_linked


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:  # another disk, one that knows no links, or somebody else's file
        return False
    return True


def copy(source: Path, target: Path, on_bytes: Callable[[int], None]) -> str:
    """Copy what is not there yet; the SHA-256 of what is there then. Raises ReadingError for the source, OSError for the target."""
    digest = hashlib.sha256()
    n_bytes = 0
    with reading(source):
        opened = source.open("rb", buffering=0)
    with opened as reader, target.open("a+b") as writer:
        writer.seek(0)
        while block := writer.read(READ_BYTES):
            digest.update(block)
            n_bytes += len(block)
        reader.seek(n_bytes)
        while block := _read(reader, source):
            writer.write(block)
            digest.update(block)
            n_bytes += len(block)
            on_bytes(n_bytes)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _read(reader: RawIOBase, source: Path) -> bytes:
    with reading(source):
        return reader.read(READ_BYTES) or b""
