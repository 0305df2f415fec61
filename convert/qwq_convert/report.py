"""What a conversion made (pure): the report, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ConvertedFile:
    """A file that was made; `tensor_types` counts its tensors by type, `sha256` is in hexadecimal."""

    path: Path
    quantization: str
    file_bytes: int
    tensor_types: Mapping[str, int]
    sha256: str


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion made of which checkpoint.

    `source_sha256` is None where it is not known (see `provenance`), `seconds` is the wall time of this run, and `resumed_bytes` counts
    what a former one had written.
    """

    name: str
    n_parameters: int
    repository: str | None
    revision: str | None
    source_sha256: str | None
    files: tuple[ConvertedFile, ...]
    seconds: float
    resumed_bytes: int


def to_json(report: ConversionReport) -> dict[str, Any]:
    """The report as JSON knows it; paths are texts."""
    files = [{**vars(file), "path": str(file.path), "tensor_types": dict(file.tensor_types)} for file in report.files]
    return {**vars(report), "files": files}


def to_lines(report: ConversionReport) -> list[str]:
    """The report as a table of text; hashes are cut to their first 16 digits, SHA256SUMS has them whole."""
    rows = [("file", "type", "bytes", "tensors", "sha256")]
    for file in report.files:
        types = ", ".join(f"{count} {name}" for name, count in sorted(file.tensor_types.items()))
        rows.append((file.path.name, file.quantization, f"{file.file_bytes:,}", types, file.sha256[:16]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(cell, width, index) for index, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]
    made_bytes = sum(file.file_bytes for file in report.files)
    resumed = f", {report.resumed_bytes:,} of them by a former run" if report.resumed_bytes else ""
    return [*map(str.rstrip, lines), f"{made_bytes:,} bytes in {report.seconds:,.1f} s{resumed}"]


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column == 2 else cell.ljust(width)
