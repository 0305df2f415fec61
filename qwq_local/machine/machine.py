"""A machine as the plan sees it, found (`hardware`) or described (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from qwq_local.errors import SettingsError
from qwq_local.machine.bandwidth import TYPICAL_RAM_BANDWIDTH, typical_unified_bandwidth, typical_vram_bandwidth
from qwq_local.quants import TensorType
from qwq_local.settings import KvType

GIB: Final = 2**30
MOST_GIB: Final = 16_384.0
MOST_GB_A_SECOND: Final = 100_000.0

METAL: Final = "MTL"
"""How llama.cpp begins the names of Apple's devices (ggml/src/ggml-metal)."""

DEVICE_RESERVE_BYTES: Final = 1024 * 2**20
"""Left free on each GPU, as llama.cpp's --fit does (common/common.h, `fit_params_target`): drivers and desktops take what they need."""
RAM_RESERVE_BYTES: Final = 1 * GIB
"""Left available in RAM, so that nothing is swapped out when a program opens."""
LEAST_HELP_BYTES: Final = 1 * GIB
"""What a GPU must be able to hold to be of use: with every layer in RAM it still takes up to 0.9 GiB for QwQ-32B's compute buffer."""
SYSTEM_BYTES: Final = 2 * GIB
"""What an operating system and its desktop hold on a machine that is described and so cannot be asked."""

LARGE_UNIFIED_BYTES: Final = 36 * GIB
"""From here on macOS lets the GPU take 3/4 of unified memory, below it 2/3 (`recommendedMaxWorkingSetSize` as llama.cpp's users report it:
10,923 of 16,384 MiB in llama-cpp-python issue 687, 49,152 of 65,536 in llama.cpp issue 1870)."""


@dataclass(frozen=True)
class Gpu:
    """A device that layers can be put on.

    `bandwidth` is in bytes a second; `shares_ram` where its memory is a part of the RAM.
    """

    name: str
    description: str
    total_bytes: int
    free_bytes: int
    bandwidth: float
    shares_ram: bool = False

    @property
    def is_metal(self) -> bool:
        """Whether it is Apple's."""
        return self.name.startswith(METAL)

    @property
    def usable_bytes(self) -> int:
        """What a model may take."""
        return max(0, self.free_bytes - DEVICE_RESERVE_BYTES)


@dataclass(frozen=True)
class Machine:
    """What there is to run on; `notes` are things that its user should know.

    `ram_bandwidth` is in bytes a second, and so are the `cpu_rates` by `rate_name`: how fast the CPU works through weights and caches.
    `corrections` are what answers here taught: measured / predicted speed, by `Placement.kind`.
    """

    gpus: tuple[Gpu, ...]
    ram_total_bytes: int
    ram_available_bytes: int
    ram_bandwidth: float
    cpu_rates: Mapping[str, float] = field(default_factory=dict)
    corrections: Mapping[str, float] = field(default_factory=dict)
    cores: int | None = None
    disk_free_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def ram_usable_bytes(self) -> int:
        """What a model may take, that of GPUs which share the RAM included."""
        return max(0, self.ram_available_bytes - RAM_RESERVE_BYTES)


class Shared(NamedTuple):
    """Weights of a type that several streams are multiplied with at once."""

    tensor_type: TensorType
    n_streams: int


def rate_name(work: TensorType | KvType | Shared) -> str:
    """What weights of a type, for one stream or for several, or a cache in a number format, are called among the rates."""
    if isinstance(work, Shared):
        return shared_rate_name(work.tensor_type.name, work.n_streams)
    return work.name if isinstance(work, TensorType) else f"{work} cache"


def shared_rate_name(name: str, n_streams: int) -> str:
    """What the rate of that name is called for so many streams."""
    return name if n_streams == 1 else f"{name} for {n_streams} streams"


def helpful(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Those that can hold more than a compute buffer, which llama.cpp puts on every GPU it uses."""
    return tuple(gpu for gpu in gpus if gpu.usable_bytes >= LEAST_HELP_BYTES)


def described_gpus(vram_gib: Sequence[float], bandwidth_gb: float | None = None) -> tuple[Gpu, ...]:
    """GPUs with so many GiB each, empty. Raises SettingsError for a size that cannot be."""
    gpus = []
    for i, size_gib in enumerate(vram_gib):
        size_bytes = _gib("vram", size_gib)
        bandwidth, like = _bandwidth(bandwidth_gb, typical_vram_bandwidth(size_bytes))
        gpus.append(Gpu(f"GPU{i}", f"GPU with {size_gib:g} GiB{like}", size_bytes, size_bytes, bandwidth))
    return tuple(gpus)


def described(
    vram_gib: Sequence[float] = (), ram_gib: float | None = None, unified_gib: float | None = None, bandwidth_gb: float | None = None
) -> Machine:
    """A machine that is not here, from its sizes in GiB; `bandwidth_gb` (GB/s) is that of its GPUs, or of the RAM where it has none.

    Raises:
        SettingsError: a size that cannot be, or unified memory beside VRAM or RAM.
    """
    if unified_gib is not None:
        if vram_gib or ram_gib is not None:
            raise SettingsError(
                "A machine with unified memory has no VRAM or RAM beside it.", hint="Give --unified alone, or --vram and --ram."
            )
        return _unified(unified_gib, bandwidth_gb)
    if ram_gib is None:
        raise SettingsError("The machine's RAM is missing.", hint="Add --ram GiB.")
    total_bytes = _gib("ram", ram_gib)
    ram_bandwidth = TYPICAL_RAM_BANDWIDTH if vram_gib or bandwidth_gb is None else checked_bandwidth(bandwidth_gb)
    return Machine(helpful(described_gpus(vram_gib, bandwidth_gb)), total_bytes, max(0, total_bytes - SYSTEM_BYTES), ram_bandwidth)


def working_set_bytes(unified_bytes: int) -> int:
    """How much of its unified memory macOS lets the GPU take."""
    return unified_bytes * 3 // 4 if unified_bytes >= LARGE_UNIFIED_BYTES else unified_bytes * 2 // 3


def _unified(unified_gib: float, bandwidth_gb: float | None) -> Machine:
    total_bytes = _gib("unified", unified_gib)
    bandwidth, like = _bandwidth(bandwidth_gb, typical_unified_bandwidth(total_bytes))
    share_bytes = working_set_bytes(total_bytes)
    gpu = Gpu(f"{METAL}0", f"unified memory of {unified_gib:g} GiB{like}", share_bytes, share_bytes, bandwidth, shares_ram=True)
    return Machine(helpful((gpu,)), total_bytes, max(0, total_bytes - SYSTEM_BYTES), bandwidth)


def _bandwidth(said_gb: float | None, typical: tuple[float, str]) -> tuple[float, str]:
    """Bytes a second of what is described, and whose they are where nobody said."""
    return (typical[0], f", as fast as {typical[1]}") if said_gb is None else (checked_bandwidth(said_gb), "")


def _gib(option: str, size_gib: float) -> int:
    if not (math.isfinite(size_gib) and 0 < size_gib <= MOST_GIB):
        raise SettingsError(f"{option} is {size_gib} GiB, but must lie between 0 and {MOST_GIB:g}.", hint=f"Such as --{option} 24")
    return round(size_gib * GIB)


def checked_bandwidth(bandwidth_gb: float) -> float:
    """Bytes a second of a bandwidth in GB/s; raises SettingsError for what cannot be."""
    if not (math.isfinite(bandwidth_gb) and 0 < bandwidth_gb <= MOST_GB_A_SECOND):
        raise SettingsError(
            f"bandwidth is {bandwidth_gb} GB/s, but must lie between 0 and {MOST_GB_A_SECOND:g}.",
            hint="An RTX 3090 has --bandwidth 936, two channels of DDR5 about --bandwidth 77.",
        )
    return bandwidth_gb * 1e9
