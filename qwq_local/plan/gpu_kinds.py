"""What ggml's backends for GPUs need of memory and reach of its speed: a line for each kind (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from qwq_local.machine.machine import METAL

# What was reached of bandwidth / bytes with Q4_K_M files of QwQ-32B's size: 35 of 48 tokens/s on an RTX 3090, 25 of 28 on an M4 Max and
# 34 of 42 on an M3 Ultra.
CUDA_EFFICIENCY: Final = 0.73
METAL_EFFICIENCY: Final = 0.85


@dataclass(frozen=True)
class GpuKind:
    """How a backend differs from others in the memory it needs, and the share of its bandwidth that llama.cpp reaches there."""

    alignment_bytes: int
    takes_host_work: bool
    copies_cache: Literal["never", "quantized", "always"]
    efficiency: float


CUDA: Final = GpuKind(128, takes_host_work=True, copies_cache="quantized", efficiency=CUDA_EFFICIENCY)
GPU_KINDS: Final[Mapping[str, GpuKind]] = {
    "CUDA": CUDA,
    "ROCm": CUDA,
    METAL: GpuKind(32, takes_host_work=True, copies_cache="always", efficiency=METAL_EFFICIENCY),
    "RPC": GpuKind(32, takes_host_work=False, copies_cache="never", efficiency=CUDA_EFFICIENCY),
    "Vulkan": GpuKind(128, takes_host_work=True, copies_cache="never", efficiency=CUDA_EFFICIENCY),
}
"""By how llama.cpp begins the names of their devices.

Sources are `offload_op` and `get_alloc_size` in ggml/src/ggml-cuda/ggml-cuda.cu with fattn.cu, ggml-metal/ggml-metal.cpp, and so on. A
server that speaks RPC is taken to compute on a CPU. Where no speed was measured, CUDA's is taken.
"""


def gpu_kind(name: str) -> GpuKind:
    """The kind of the GPU that llama.cpp calls so; others are taken for CUDA, which needs most."""
    return next((kind for prefix, kind in GPU_KINDS.items() if name.startswith(prefix)), CUDA)
