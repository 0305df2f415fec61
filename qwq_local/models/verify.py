"""Is a model's content what it should be?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from qwq_local.errors import ModelFileError
from qwq_local.gguf import read_header
from qwq_local.models.download import file_sha256
from qwq_local.models.elsewhere import content_sha256
from qwq_local.models.inventory import LocalModel
from qwq_local.models.record import read_record

Verdict: TypeAlias = Literal["sound", "unrecorded", "damaged"]
"""`sound`: the hash is the recorded one; `unrecorded`: the structure is right, and no hash is known; `damaged`: either is wrong."""


@dataclass(frozen=True)
class Finding:
    """What was found of one file; `detail` says what is wrong, or what was compared."""

    path: Path
    verdict: Verdict
    detail: str


def verify(model: LocalModel, on_bytes: Callable[[int], None] = lambda _: None) -> list[Finding]:
    """A finding for each file of a model; `on_bytes` is told the bytes read, of all files together. Raises OSError."""
    findings = []
    for number, path in enumerate(model.paths):
        before_bytes = sum(earlier.stat().st_size for earlier in model.paths[:number] if earlier.is_file())
        findings.append(_verify_file(path, partial(_add, on_bytes, before_bytes)))
    return findings


def _add(on_bytes: Callable[[int], None], before_bytes: int, n_bytes: int) -> None:
    on_bytes(before_bytes + n_bytes)


def _verify_file(path: Path, on_bytes: Callable[[int], None]) -> Finding:
    try:
        header = read_header(path)
    except ModelFileError as error:
        return Finding(path, "damaged", str(error))
    record = read_record(path)
    expected = record.sha256 if record else content_sha256(path)
    if expected is None:
        return Finding(path, "unrecorded", f"{len(header.tensors)} tensors, all there; no hash is known to compare with")
    found = file_sha256(path, on_bytes)
    if found != expected:
        return Finding(path, "damaged", f"its SHA-256 is {found}, and was {expected}")
    return Finding(path, "sound", f"SHA-256 {found}" + (f", as in {record.repository} at {record.revision[:7]}" if record else ""))
