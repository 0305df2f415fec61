"""How fast memory is read: figures and formulas (pure). All are bytes a second."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

TYPICAL_RAM_BANDWIDTH: Final = 76.8e9
"""Two channels of DDR5-4800: 2 x 8 bytes x 4.8e9."""

# What a machine that is described probably has: a common card of at most that many GiB, by its maker's specification.
_TYPICAL_CARDS: Final = (
    (8, 272e9, "an RTX 4060"),
    (12, 504e9, "an RTX 4070"),
    (16, 448e9, "an RTX 5060 Ti"),
    (24, 936e9, "an RTX 3090"),
    (32, 1792e9, "an RTX 5090"),
    (48, 960e9, "an RTX 6000 Ada"),
    (80, 2039e9, "an A100 80GB"),
)
_LARGER_CARD: Final = (4800e9, "an H200")
_TYPICAL_MACS: Final = ((32, 120e9, "an M4"), (64, 273e9, "an M4 Pro"), (128, 546e9, "an M4 Max"))
_LARGER_MAC: Final = (819e9, "an M3 Ultra")

# Apple's technical specifications of each chip; where one name was sold with two widths, by the count of CPU cores.
_APPLE: Final[Mapping[str, float]] = MappingProxyType(
    {
        "M1": 68e9,
        "M1 Pro": 200e9,
        "M1 Max": 400e9,
        "M1 Ultra": 800e9,
        "M2": 100e9,
        "M2 Pro": 200e9,
        "M2 Max": 400e9,
        "M2 Ultra": 800e9,
        "M3": 100e9,
        "M3 Pro": 150e9,
        "M3 Max": 400e9,
        "M3 Ultra": 819e9,
        "M4": 120e9,
        "M4 Pro": 273e9,
        "M4 Max": 546e9,
        "M5": 153e9,
    }
)
_APPLE_NARROW: Final[Mapping[tuple[str, int], float]] = MappingProxyType({("M3 Max", 14): 300e9, ("M4 Max", 14): 410e9})

# Cards that NVML knows nothing of, by their makers' specifications; the longer name first where one begins like another.
_OTHER_CARDS: Final = (
    ("RX 9070 XT", 640e9),
    ("RX 9070", 640e9),
    ("RX 7900 XTX", 960e9),
    ("RX 7900 XT", 800e9),
    ("RX 7900 GRE", 576e9),
    ("RX 7800 XT", 624e9),
    ("RX 7700 XT", 432e9),
    ("RX 7600 XT", 288e9),
    ("RX 6950 XT", 576e9),
    ("RX 6900 XT", 512e9),
    ("RX 6800", 512e9),
    ("PRO W7900", 864e9),
    ("MI300X", 5300e9),
    ("MI210", 1638e9),
    ("Arc(TM) A770", 560e9),
    ("Arc(TM) B580", 456e9),
)


def nvidia_bandwidth(memory_clock_hz: float, bus_width_bits: int) -> float:
    """Memory bandwidth from what NVML says: two transfers a clock, as CUDA's deviceQuery computes it (an RTX 3090: 9751 MHz, 384 bits)."""
    return 2 * memory_clock_hz * bus_width_bits / 8


def apple_bandwidth(brand: str, n_cores: int) -> float | None:
    """Bandwidth of the chip that macOS calls `brand` (`Apple M4 Max`), or None where it is unknown."""
    chip = re.search(r"M\d+(?: (?:Pro|Max|Ultra))?", brand)
    if chip is None:
        return None
    return _APPLE_NARROW.get((chip[0], n_cores), _APPLE.get(chip[0]))


def card_bandwidth(description: str) -> float | None:
    """Bandwidth of a card that is no NVIDIA, by the name that its driver gives, or None where it is unknown."""
    return next((bandwidth for name, bandwidth in _OTHER_CARDS if name.lower() in description.lower()), None)


def typical_vram_bandwidth(size_bytes: int) -> tuple[float, str]:
    """What a card of that size probably has, and the card it is taken from."""
    return _first_that_holds(size_bytes, _TYPICAL_CARDS, _LARGER_CARD)


def typical_unified_bandwidth(size_bytes: int) -> tuple[float, str]:
    """What a Mac of that size probably has, and the chip it is taken from."""
    return _first_that_holds(size_bytes, _TYPICAL_MACS, _LARGER_MAC)


def _first_that_holds(size_bytes: int, known: Sequence[tuple[int, float, str]], larger: tuple[float, str]) -> tuple[float, str]:
    return next(((bandwidth, name) for most_gib, bandwidth, name in known if size_bytes <= most_gib * 2**30), larger)
