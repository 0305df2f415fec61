"""Which layers go on which device (pure): every question about memory is put to `memory.estimate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

from qwq_local.machine.machine import Gpu, Machine
from qwq_local.plan.memory import ContextWish, DeviceBytes, estimate, kv_layer_bytes
from qwq_local.plan.shape import ModelShape, layer_of
from qwq_local.quants.choice import EMBEDDING
from qwq_local.settings import N_IDLE, N_PARALLEL, KvType
from qwq_local.tuning import UNTUNED, Tuning

RAM: Final = "RAM"


@dataclass(frozen=True)
class Placement:
    """A context and a division of the layers, with the bytes on each device: the host's first, then each GPU's.

    Of `all_layers`, the output layer among them, the last `gpu_layers` are on GPUs; `gpu_shares` says how many each of these takes.
    """

    n_ctx: int
    kv_type: KvType
    all_layers: int
    gpu_layers: int
    gpu_shares: tuple[int, ...]
    memory: tuple[DeviceBytes, ...]

    @property
    def weights_bytes(self) -> int:
        """The weights on all devices."""
        return sum(part.weights_bytes for part in self.memory)

    @property
    def kind(self) -> str:
        """Where the layers are: `cpu`, `gpu` or `both`. Predictions of speed err alike where the same devices work."""
        if self.gpu_layers == 0:
            return "cpu"
        return "gpu" if self.gpu_layers == self.all_layers else "both"


@dataclass(frozen=True)
class Shortage:
    """A device that a placement asks too much of."""

    device: str
    needed_bytes: int
    usable_bytes: int


class Placer:
    """Finds placements of one model on one machine. `tensors` are bytes by name, `n_sequences` share the context."""

    def __init__(
        self,
        shape: ModelShape,
        tensors: Mapping[str, int],
        machine: Machine,
        n_sequences: int = N_PARALLEL + N_IDLE,
        tuning: Tuning = UNTUNED,
    ) -> None:
        self.all_layers = shape.n_layers + 1
        self._shape = shape
        self._tensors = tensors
        self._bytes_before = _bytes_before(tensors, self.all_layers)
        self._machine = machine
        self._n_sequences = n_sequences
        self._tuning = tuning
        self._memory = lru_cache(maxsize=None)(self._estimate)

    def most_layers(self, n_ctx: int, kv_type: KvType) -> Placement:
        """As many layers on the GPUs as they take, the others in RAM, whether or not that holds them."""
        n_layers = self._guess(n_ctx, kv_type, 0)
        if n_layers > 0 and self._split(n_ctx, kv_type, n_layers) is None:
            # One look at the compute buffers tells nearly how many layers must make room for them.
            on_gpus = self.place(n_ctx, kv_type, n_layers).memory[1:]
            n_layers = min(n_layers - 1, self._guess(n_ctx, kv_type, sum(part.compute_bytes for part in on_gpus)) + 1)
        while n_layers > 0 and self._split(n_ctx, kv_type, n_layers) is None:
            n_layers -= 1
        return self.place(n_ctx, kv_type, n_layers)

    def _guess(self, n_ctx: int, kv_type: KvType, compute_bytes: int) -> int:
        """Layers that the GPUs would hold, were they one and had to hold so much beside."""
        usable_bytes = sum(gpu.usable_bytes for gpu in self._machine.gpus) - compute_bytes
        return last_true(0, self.all_layers, lambda n: self._least_bytes(n_ctx, kv_type, (n,), 0) <= usable_bytes)

    def place(self, n_ctx: int, kv_type: KvType, gpu_layers: int) -> Placement:
        """So many layers on the GPUs, divided so that each takes its part where that can be, else by what is free."""
        shares = self._split(n_ctx, kv_type, gpu_layers) or _proportional(gpu_layers, self._machine.gpus)
        return self.place_so(n_ctx, kv_type, shares)

    def place_so(self, n_ctx: int, kv_type: KvType, gpu_shares: tuple[int, ...]) -> Placement:
        """So many layers on each GPU, whether or not it holds them."""
        memory = self._memory(n_ctx, kv_type, gpu_shares)
        return Placement(n_ctx, kv_type, self.all_layers, sum(gpu_shares), gpu_shares, memory)

    def shortage(self, placement: Placement) -> Shortage | None:
        """The first device that cannot hold its part, the GPUs before the RAM; None where everything fits."""
        host, *on_gpus = placement.memory
        gpus = self._machine.gpus
        for gpu, part in zip(gpus, on_gpus, strict=True):
            if part.total_bytes > gpu.usable_bytes:
                return Shortage(gpu.name, part.total_bytes, gpu.usable_bytes)
        ram_bytes = host.total_bytes + sum(part.total_bytes for gpu, part in zip(gpus, on_gpus, strict=True) if gpu.shares_ram)
        usable_bytes = self._machine.ram_usable_bytes
        return Shortage(RAM, ram_bytes, usable_bytes) if ram_bytes > usable_bytes else None

    def _split(self, n_ctx: int, kv_type: KvType, gpu_layers: int) -> tuple[int, ...] | None:
        """Layers for each GPU such that all of them hold theirs: in proportion to what is free, or filling one after the other."""
        gpus = self._machine.gpus
        if not gpus:
            return () if gpu_layers == 0 else None
        even = _proportional(gpu_layers, gpus)
        if all(self._holds(n_ctx, kv_type, even, i) for i in range(len(gpus))):
            return even
        return self._fill(n_ctx, kv_type, gpu_layers) if len(gpus) > 1 else None

    def _fill(self, n_ctx: int, kv_type: KvType, gpu_layers: int) -> tuple[int, ...] | None:
        shares = (gpu_layers, *[0] * (len(self._machine.gpus) - 1))
        for i in range(len(shares)):
            shares = self._fill_one(n_ctx, kv_type, shares, i)
        return shares if self._holds(n_ctx, kv_type, shares, len(shares) - 1) else None

    def _fill_one(self, n_ctx: int, kv_type: KvType, shares: tuple[int, ...], i: int) -> tuple[int, ...]:
        """Leave GPU `i` as many of its layers as it holds, and pass the others on to the next."""
        if i + 1 == len(shares):
            return shares

        def passing_on(n_kept: int) -> tuple[int, ...]:
            return (*shares[:i], n_kept, shares[i] - n_kept, *shares[i + 2 :])

        return passing_on(last_true(0, shares[i], lambda n: self._holds(n_ctx, kv_type, passing_on(n), i)))

    def _holds(self, n_ctx: int, kv_type: KvType, shares: tuple[int, ...], i: int) -> bool:
        usable_bytes = self._machine.gpus[i].usable_bytes
        if self._least_bytes(n_ctx, kv_type, shares, i) > usable_bytes:
            return False
        return self._memory(n_ctx, kv_type, shares)[i + 1].total_bytes <= usable_bytes

    def _least_bytes(self, n_ctx: int, kv_type: KvType, shares: tuple[int, ...], i: int) -> int:
        """Weights and cache on a GPU: without the compute buffer, quickly told, and enough to see what is far too much."""
        end = self.all_layers - sum(shares[i + 1 :])
        first = end - shares[i]
        n_cached = min(end, self.all_layers - 1) - first
        weights_bytes = self._bytes_before[end] - self._bytes_before[first]
        return weights_bytes + max(0, n_cached) * kv_layer_bytes(self._shape, self._context(n_ctx, kv_type))

    def _estimate(self, n_ctx: int, kv_type: KvType, shares: tuple[int, ...]) -> tuple[DeviceBytes, ...]:
        names = tuple(gpu.name for gpu in self._machine.gpus)
        # The parts that a GPU takes say nothing where none takes any, and may not all be 0.
        parts = shares if any(shares) else (1,) * len(shares)
        return estimate(self._shape, self._tensors, self._context(n_ctx, kv_type), sum(shares), parts, names)

    def _context(self, n_ctx: int, kv_type: KvType) -> ContextWish:
        tuning = self._tuning
        return ContextWish(
            n_ctx,
            kv_type,
            n_sequences=self._n_sequences,
            n_batch=tuning.n_batch,
            n_ubatch=tuning.n_ubatch,
            flash_attention=tuning.uses_flash_attention(kv_type),
            n_outputs=self._n_sequences,
            offloads_batches=tuning.offloads_batches,
        )


def _bytes_before(tensors: Mapping[str, int], all_layers: int) -> list[int]:
    """The bytes of all layers before each, and at the end those of all; the output is the last layer, the embeddings are in none."""
    sizes = [0] * all_layers
    for name, size_bytes in tensors.items():
        if name != EMBEDDING:
            sizes[layer_of(name, all_layers)] += size_bytes
    return [0, *accumulate(sizes)]


def last_true(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The largest number from `low` to `high` that `holds`, where it holds for `low` and, once it fails, for none above."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _proportional(gpu_layers: int, gpus: Sequence[Gpu]) -> tuple[int, ...]:
    """Layers in proportion to what each GPU has free, as llama.cpp divides them by itself (src/llama-model.cpp, `load_tensors`)."""
    usable = [gpu.usable_bytes for gpu in gpus]
    total = sum(usable) or 1
    bounds = [round(gpu_layers * sum(usable[: i + 1]) / total) for i in range(len(gpus))]
    bounds[-1:] = [gpu_layers] if gpus else []
    return tuple(bound - before for bound, before in zip(bounds, [0, *bounds], strict=False))
