"""Where a model file came from and what it must contain: a small JSON file beside each one that was pulled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """A file of a repository on the hub at one commit (`revision`), with its length and the SHA-256 of its content, in hexadecimal."""

    repository: str
    revision: str
    file: str
    size_bytes: int
    sha256: str


def record_path(path: Path) -> Path:
    """Where the record of a model file lies."""
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> Record | None:
    """The record of a model file; None where there is none, or what is there says something else."""
    try:
        return Record(**json.loads(record_path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Write it, at once or not at all. Raises OSError."""
    target = record_path(path)
    draft = target.with_name(target.name + ".new")
    draft.write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")
    draft.replace(target)
