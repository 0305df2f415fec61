"""What `benchmarks.side_by_side` finds, as it is kept: figures of several systems round by round, the machine, and the versions."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.report import Table
from qwq_local.llama import list_devices
from qwq_local.machine import hardware


@dataclass(frozen=True)
class Figure:
    """What each system came to in each round, in one unit: `tokens/s`, of which more is better, or `s`, of which less is."""

    what: str
    unit: str
    systems: Mapping[str, Sequence[float]]

    def median(self, system: str) -> float:
        """Over all rounds."""
        return statistics.median(self.systems[system])

    def ratios(self, one: str, other: str) -> tuple[float, float, float]:
        """The first system's figure over the second's: median, least and most of the rounds' ratios."""
        found = [a / b for a, b in zip(self.systems[one], self.systems[other], strict=True)]
        return statistics.median(found), min(found), max(found)


@dataclass(frozen=True)
class Comparison:
    """One run. `speculation` has a row for each task and way of guessing, as `benchmarks.speculation` shows them."""

    date: str
    machine: str
    versions: Mapping[str, str]
    model: str
    figures: Sequence[Figure]
    speculation_model: str
    speculation: Sequence[Mapping[str, str | int | float]]

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_comparison(path: Path) -> Comparison:
    """What `Comparison.write` has written."""
    told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return Comparison(**told | {"figures": [Figure(**figure) for figure in told["figures"]]})


def comparison_of(tools: Path, model: Path, figures: Sequence[Figure], speculation: Table) -> Comparison:
    """With what this run was made on and with."""
    rows = [dict(zip(speculation.columns, row, strict=True)) for row in speculation.rows]
    size = f"{model.stem}, {model.stat().st_size / 1e9:.2f} GB"
    return Comparison(f"{datetime.now(UTC):%Y-%m-%d}", this_machine(), versions(tools), size, figures, speculation.title, rows)


def this_machine() -> str:
    """Processor, cores, and the GPUs that llama.cpp sees."""
    gpus = [device.description for device in list_devices() if device.kind == "gpu"]
    return ", ".join([hardware.cpu_name() or platform.machine(), f"{hardware.usable_cores()} cores", *(gpus or ["no GPU"])])


def versions(tools: Path) -> dict[str, str]:
    """Of the systems, and of what they stand on."""
    told = subprocess.run([tools / "llama-server", "--version"], capture_output=True, text=True, check=True)
    server = next(line for line in (told.stdout + told.stderr).splitlines() if line.startswith("version"))
    packages = {name: version(name) for name in ("qwq-local", "llama-cpp-python")}
    return {**packages, "llama-server": server.partition(": ")[2], "Python": platform.python_version(), "system": platform.platform()}
