"""How fast a placement will write (pure).

Each token reads all the weights and all the keys and values once, device after device, so the time is the sum of bytes / bandwidth; what
is reached of a bandwidth is `efficiency`, and where a machine has few cores they are the limit of what the CPU reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qwq_local.models.bandwidth import core_rate
from qwq_local.models.machine import Gpu, Machine
from qwq_local.models.placement import Placement
from qwq_local.quants.choice import EMBEDDING, OUTPUT

TYPICAL_TOKENS: Final = 4096
"""The speed told is that with so many tokens in the context, a moment in the middle of QwQ's answers."""

# What was reached of bandwidth / bytes with Q4_K_M files of QwQ-32B's size: 35 of 48 tokens/s on an RTX 3090, 25 of 28 on an M4 Max and
# 34 of 42 on an M3 Ultra, 4.2 of 4.6 on two channels of DDR5.
CUDA_EFFICIENCY: Final = 0.73
METAL_EFFICIENCY: Final = 0.85
RAM_EFFICIENCY: Final = 0.91


def tokens_per_second(placement: Placement, tensors: Mapping[str, int], quantization: str, machine: Machine) -> float:
    """Tokens a second of one stream; `tensors` are bytes by name."""
    host, *on_gpus = placement.memory
    filled = min(1.0, TYPICAL_TOKENS / placement.n_ctx)
    # Of the embeddings a token reads one row, unless they are the output matrix too.
    unread_bytes = tensors.get(EMBEDDING, 0) if OUTPUT in tensors else 0
    seconds = (max(0, host.weights_bytes - unread_bytes) + host.kv_bytes * filled) / _ram_rate(machine, quantization)
    for gpu, part in zip(machine.gpus, on_gpus, strict=True):
        seconds += (part.weights_bytes + part.kv_bytes * filled) / (gpu.bandwidth * efficiency(gpu))
    return 1 / seconds if seconds > 0 else 0.0


def _ram_rate(machine: Machine, quantization: str) -> float:
    """Bytes a second that the CPU works through: what the RAM gives, or what so many cores can take."""
    rate = machine.ram_bandwidth * RAM_EFFICIENCY
    per_core = core_rate(quantization)
    return rate if machine.cores is None or per_core is None else min(rate, machine.cores * per_core)


def efficiency(gpu: Gpu) -> float:
    """The share of a GPU's bandwidth that llama.cpp reaches."""
    return METAL_EFFICIENCY if gpu.is_metal else CUDA_EFFICIENCY


def placement_kind(gpu_layers: int, all_layers: int) -> str:
    """Where the layers are; predictions err alike where the same devices work."""
    if gpu_layers == 0:
        return "cpu"
    return "gpu" if gpu_layers >= all_layers else "both"
