"""What was measured on this machine, and kept: the RAM's bandwidth, and how fast models ran against what was predicted."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

FILE_NAME: Final = "hardware.json"
BLOCK_BYTES: Final = 64 * 2**20
"""Larger than what the caches of most processors hold."""
MEASURE_SECONDS: Final = 0.1
ENOUGH_ROUNDS: Final = 5
"""One measurement may meet a busy moment, which only makes it too low; after so many the best is believed."""
KEPT_RATIOS: Final = 9
LEAST_RATIO, MOST_RATIO = 0.05, 5.0
"""What lies outside says more about the moment than about the machine."""


@dataclass(frozen=True)
class Measurements:
    """Of the processor called `cpu`.

    `ram_bandwidth` is in bytes a second, the best of `ram_rounds` measurements; `ratios` are measured / predicted speed by
    `speed.placement_kind`.
    """

    cpu: str
    ram_bandwidth: float = 0.0
    ram_rounds: int = 0
    ratios: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def corrections(self) -> dict[str, float]:
        """What a predicted speed is to be multiplied with, for the kinds that ran here."""
        return {kind: statistics.median(found) for kind, found in self.ratios.items() if found}


def read(folder: Path, cpu: str) -> Measurements:
    """What is kept for this processor; nothing where the file is missing, damaged or of another machine."""
    try:
        said: Any = json.loads((folder / FILE_NAME).read_text("utf-8"))
        ratios = {str(kind): tuple(float(ratio) for ratio in found) for kind, found in said["ratios"].items()}
        bandwidth, rounds = float(said["ram_bandwidth"]), int(said["ram_rounds"])
        is_sound = said["cpu"] == cpu and all(LEAST_RATIO <= ratio <= MOST_RATIO for found in ratios.values() for ratio in found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Measurements(cpu)
    if not is_sound or not (math.isfinite(bandwidth) and bandwidth >= 0):
        return Measurements(cpu)
    return Measurements(cpu, bandwidth, rounds if bandwidth else 0, ratios)


def write(folder: Path, measurements: Measurements) -> bool:
    """Keep them; False where the folder cannot be written, which costs the next plan a tenth of a second."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{FILE_NAME}.new"
        draft.write_text(json.dumps(asdict(measurements), indent=2) + "\n", "utf-8")
        draft.replace(folder / FILE_NAME)
    except OSError:
        return False
    return True


def with_ratio(measurements: Measurements, kind: str, ratio: float) -> Measurements:
    """The same with one more measured / predicted; the oldest of many is dropped, and one that cannot be is not taken."""
    if not LEAST_RATIO <= ratio <= MOST_RATIO:
        return measurements
    kept = (*measurements.ratios.get(kind, ()), ratio)[-KEPT_RATIOS:]
    return replace(measurements, ratios={**measurements.ratios, kind: kept})


def ram_bandwidth(folder: Path, cpu: str, n_threads: int) -> float:
    """Bytes a second, as kept in `folder` or, the first times, measured now."""
    kept = read(folder, cpu)
    if kept.ram_rounds < ENOUGH_ROUNDS:
        best = max(kept.ram_bandwidth, measure_ram_bandwidth(n_threads))
        kept = replace(kept, ram_bandwidth=best, ram_rounds=kept.ram_rounds + 1)
        write(folder, kept)
    return kept.ram_bandwidth


def measure_ram_bandwidth(n_threads: int) -> float:
    """Bytes a second that so many threads read from RAM together: the best of some rounds, since anything else only slows one down."""
    import numpy as np

    block = np.zeros(BLOCK_BYTES // 4, np.float32)
    block.fill(1)  # so that every page is really there
    parts = np.array_split(block, n_threads)
    best_seconds = math.inf
    ends_at = time.perf_counter() + MEASURE_SECONDS
    with ThreadPoolExecutor(n_threads) as pool:
        while best_seconds == math.inf or time.perf_counter() < ends_at:
            started_at = time.perf_counter()
            list(pool.map(np.sum, parts))
            best_seconds = min(best_seconds, time.perf_counter() - started_at)
    return BLOCK_BYTES / best_seconds
