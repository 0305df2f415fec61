"""A kit's models, put where `qwq list` looks for them: linked or copied, and compared with their hashes on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .files import READ_BYTES, flaw_of, sha256_of
from .lock import locked
from .manifest import AGAIN, MODELS, KitFile, Manifest
from .trouble import InstallError

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
        elif target.stat().st_size != file.size_bytes or sha256_of(target) != file.sha256:
            raise InstallError(
                f"{target} is there already, and is not the kit's.",
                "Rename or remove it (qwq rm), or leave the kit's out: ./install --no-model",
            )
    return lacking


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
    shutil.copyfile(record, part.with_name(part.name + RECORD))
    is_linked = not part.exists() and _link(source, part)
    found = sha256_of(part, on_bytes) if is_linked else copy(source, part, on_bytes)
    if found != file.sha256 or part.stat().st_size != file.size_bytes:
        part.unlink()
        part.with_name(part.name + RECORD).unlink()
        flaw = flaw_of(kit, file)
        raise InstallError(
            f"The kit is damaged: {flaw}." if flaw else f"{target} did not arrive whole.", AGAIN if flaw else "Run ./install again."
        )
    shutil.copyfile(record, target.with_name(target.name + RECORD))
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
    """Copy what is not there yet; the SHA-256 of what is there then."""
    digest = hashlib.sha256()
    n_bytes = 0
    with source.open("rb", buffering=0) as reader, target.open("a+b") as writer:
        writer.seek(0)
        while block := writer.read(READ_BYTES):
            digest.update(block)
            n_bytes += len(block)
        reader.seek(n_bytes)
        while block := reader.read(READ_BYTES):
            writer.write(block)
            digest.update(block)
            n_bytes += len(block)
            on_bytes(n_bytes)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()
