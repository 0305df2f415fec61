"""A device that can hold a part of a model, as llama.cpp tells of it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DeviceKind = Literal["cpu", "gpu", "igpu", "accel"]
"""`igpu` shares the RAM; `accel` helps the CPU and holds nothing (ggml/include/ggml-backend.h, `enum ggml_backend_dev_type`)."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """A device that can hold a part of a model, and its memory now."""

    name: str
    description: str
    kind: DeviceKind
    total_bytes: int
    free_bytes: int
