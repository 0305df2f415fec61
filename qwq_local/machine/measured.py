"""What was measured on this machine, and kept: how fast its CPU works, and how fast models ran against what was predicted."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from qwq_local.machine.machine import Shared, rate_name
from qwq_local.quants import TensorType
from qwq_local.settings import KvType

FILE_NAME: Final = "hardware.json"
ENOUGH_ROUNDS: Final = 5
"""One measurement may meet a slow moment, or a fast one that does not last; the median of so many is believed."""
SURPRISE: Final = 0.1
"""A rate that turns out to differ by more was wrong before, and so was what was predicted from it."""
KEPT_RATIOS: Final = 9
LEAST_RATIO, MOST_RATIO = 0.05, 5.0
"""What lies outside says more about the moment than about the machine."""


class RateMeter(Protocol):
    """What measures the CPU: `llama.CpuMeter`, or a fake in the tests."""

    @property
    def is_disturbed(self) -> bool:
        """Whether the rates are too low because other programs needed the CPU."""
        ...

    def weights_rate(self, tensor_type: TensorType, n_streams: int = 1) -> float:
        """Bytes a second of weights of this type, read once for so many streams."""
        ...

    def cache_rate(self, kv_type: KvType) -> float:
        """Bytes a second of keys and values in this number format."""
        ...


OpenMeter: TypeAlias = Callable[[], AbstractContextManager[RateMeter]]
Work: TypeAlias = TensorType | KvType | Shared
"""What the CPU reads: weights of a type, for one stream or for several, or a cache."""


@dataclass(frozen=True)
class Measurements:
    """Of the processor called `cpu`, with its threads and what computes on it.

    `rates` are bytes a second by `machine.rate_name`, `ratios` measured / predicted speed by `Placement.kind`; the oldest come first.
    """

    cpu: str
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    ratios: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def cpu_rates(self) -> dict[str, float]:
        """Bytes a second, for `Machine.cpu_rates`."""
        return {name: statistics.median(found) for name, found in self.rates.items() if found}

    @property
    def corrections(self) -> dict[str, float]:
        """What a predicted speed is to be multiplied with, for the kinds that ran here."""
        return {kind: statistics.median(found) for kind, found in self.ratios.items() if found}


def read(folder: Path, cpu: str) -> Measurements:
    """What is kept for this processor; nothing where the file is missing, damaged or of another machine."""
    try:
        said: Any = json.loads((folder / FILE_NAME).read_text("utf-8"))
        rates, ratios = ({str(key): tuple(map(float, found)) for key, found in said[part].items()} for part in ("rates", "ratios"))
        is_sound = (
            said["cpu"] == cpu
            and all(0 < rate < math.inf for found in rates.values() for rate in found)
            and all(LEAST_RATIO <= ratio <= MOST_RATIO for found in ratios.values() for ratio in found)
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Measurements(cpu)
    return Measurements(cpu, rates, ratios) if is_sound else Measurements(cpu)


def write(folder: Path, measurements: Measurements) -> bool:
    """Keep them; False where the folder cannot be written, which costs the next plan some tenths of a second."""
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


def with_rate(measurements: Measurements, name: str, bytes_a_second: float) -> Measurements:
    """The same after one more measurement; where that changes much, the ratios to former predictions are forgotten."""
    before = measurements.rates.get(name, ())
    after = (*before, bytes_a_second)
    is_surprise = before and abs(statistics.median(after) / statistics.median(before) - 1) > SURPRISE
    return replace(measurements, rates={**measurements.rates, name: after}, ratios={} if is_surprise else measurements.ratios)


def _with_work(before: Measurements, work: Work, meter: RateMeter) -> Measurements:
    match work:
        case Shared(tensor_type, n_streams):
            after = with_rate(before, rate_name(work), meter.weights_rate(tensor_type, n_streams))
            return replace(after, ratios=before.ratios)  # which are those of single streams
        case TensorType():
            return with_rate(before, rate_name(work), meter.weights_rate(work))
        case _:
            return with_rate(before, rate_name(work), meter.cache_rate(work))


def measure(folder: Path, cpu: str, wanted: Iterable[Work], open_meter: OpenMeter) -> Measurements:
    """What is kept in `folder`, with the rates that are wanted; those not measured often enough are measured once more.

    What is measured while other programs need the CPU is not kept. Raises what `open_meter` does.
    """
    found = kept = read(folder, cpu)
    due = [work for work in sorted(set(wanted), key=rate_name) if len(kept.rates.get(rate_name(work), ())) < ENOUGH_ROUNDS]
    if not due:
        return kept
    with open_meter() as meter:
        for work in due:
            found = _with_work(found, work, meter)
            if meter.is_disturbed:
                return kept
    write(folder, found)
    return found
