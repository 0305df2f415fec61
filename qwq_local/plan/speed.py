"""How fast a placement will write (pure).

Each token reads all the weights and all the keys and values once, device after device, so the time is the sum of bytes / rate. On the CPU
a rate is what was measured for that type of weights or that cache, where it was; elsewhere it is the memory's bandwidth, of which an
`efficiency` is reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from qwq_local.machine.machine import Gpu, Machine, rate_name
from qwq_local.plan.gpu_kinds import gpu_kind
from qwq_local.plan.placement import Placement
from qwq_local.plan.shape import layer_of
from qwq_local.quants import TensorType
from qwq_local.quants.choice import EMBEDDING, OUTPUT

TYPICAL_TOKENS: Final = 4096
"""The speed told is that with so many tokens in the context, a moment in the middle of QwQ's answers."""

RAM_EFFICIENCY: Final = 0.91
"""Reached with a Q4_K_M file of QwQ-32B's size on two channels of DDR5: 4.2 of 4.6 tokens/s."""


def tokens_per_second(
    placement: Placement, tensors: Mapping[str, int], types: Mapping[str, TensorType], machine: Machine, n_filled: int = TYPICAL_TOKENS
) -> float:
    """Tokens a second of one stream with so many tokens in its context; `tensors` are bytes by name."""
    ram_rate = machine.ram_bandwidth * RAM_EFFICIENCY
    work = host_work(placement, tensors, types)
    seconds = sum(n_bytes / machine.cpu_rates.get(name, ram_rate) for name, n_bytes in work.items())
    seconds += gpu_weights_seconds(placement, machine) + cache_seconds(placement, machine, n_filled)
    return 1 / seconds if seconds > 0 else 0.0


def gpu_weights_seconds(placement: Placement, machine: Machine) -> float:
    """The time that it takes to read the weights on GPUs once."""
    on_gpus = zip(machine.gpus, placement.memory[1:], strict=True)
    return sum(part.weights_bytes / _gpu_rate(gpu) for gpu, part in on_gpus)


def cache_seconds(placement: Placement, machine: Machine, n_filled: int) -> float:
    """The time that it takes to read the keys and values of so many tokens once."""
    host, *on_gpus = placement.memory
    host_rate = machine.cpu_rates.get(rate_name(placement.kv_type), machine.ram_bandwidth * RAM_EFFICIENCY)
    seconds = host.kv_bytes / host_rate + sum(part.kv_bytes / _gpu_rate(gpu) for gpu, part in zip(machine.gpus, on_gpus, strict=True))
    return seconds * min(1.0, n_filled / placement.n_ctx)


def _gpu_rate(gpu: Gpu) -> float:
    return gpu.bandwidth * gpu_kind(gpu.name).efficiency


def bytes_per_token(
    placement: Placement, tensors: Mapping[str, int], types: Mapping[str, TensorType], n_filled: int = TYPICAL_TOKENS
) -> tuple[int, ...]:
    """What a token reads from the RAM, then from each GPU's memory: weights, and keys and values of `n_filled` tokens."""
    host, *on_gpus = placement.memory
    filled = min(1.0, n_filled / placement.n_ctx)
    from_ram = sum(host_work(placement, tensors, types).values()) + round(host.kv_bytes * filled)
    return from_ram, *(part.weights_bytes + round(part.kv_bytes * filled) for part in on_gpus)


def host_work(placement: Placement, tensors: Mapping[str, int], types: Mapping[str, TensorType]) -> Counter[str]:
    """What a token reads of the weights that are not on GPUs: bytes by `rate_name`.

    Of the embeddings it is one row, unless they are the output matrix too.
    """
    host_layers = placement.all_layers - placement.gpu_layers
    work: Counter[str] = Counter()
    for name, size_bytes in tensors.items():
        if (name != EMBEDDING or OUTPUT not in tensors) and layer_of(name, placement.all_layers) < host_layers:
            work[rate_name(types[name])] += size_bytes
    return work
