"""Where a draft model goes, beside the model that it guesses for (pure).

It takes its place first, and the other is placed with what remains: a draft model is small, and of no use where it is slow. So it goes
whole onto the GPU with most room, as long as that GPU is of help to the other model afterwards, and else into RAM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qwq_local.machine.machine import LEAST_HELP_BYTES, Machine
from qwq_local.plan.memory import DeviceBytes
from qwq_local.plan.placement import Placement, Placer, Shortage
from qwq_local.plan.shape import ModelShape
from qwq_local.settings import KvType

KV_TYPE: Final[KvType] = "f16"


@dataclass(frozen=True)
class DraftPlace:
    """A draft model's place, and the machine that is left to the model it guesses for; `shortage` says why it does not fit."""

    name: str
    placement: Placement
    left: Machine
    shortage: Shortage | None = None

    @property
    def memory(self) -> tuple[DeviceBytes, ...]:
        """The bytes on each device, the host's first."""
        return self.placement.memory

    def bytes_on(self, device: str) -> int:
        """Its part of a GPU, or of the RAM, which is everything else."""
        host, *on_gpus = self.memory
        return next((part.total_bytes for part in on_gpus if part.device == device), host.total_bytes)


@dataclass(frozen=True)
class DraftPlacer:
    """Finds a draft model's place on a machine. `tensors` are bytes by name; `n_sequences` share its context."""

    name: str
    shape: ModelShape
    tensors: Mapping[str, int]
    machine: Machine
    n_sequences: int

    def place(self, n_ctx: int, *, may_use_gpu: bool = True) -> DraftPlace:
        """Its place with so many tokens of context; where there is none, that in RAM, with its shortage."""
        usable = [gpu.usable_bytes for gpu in self.machine.gpus]
        if usable and may_use_gpu:
            roomiest = usable.index(max(usable))
            on_gpu = self._put(n_ctx, tuple(self.shape.n_layers + 1 if i == roomiest else 0 for i in range(len(usable))))
            if on_gpu.shortage is None and on_gpu.left.gpus[roomiest].usable_bytes >= LEAST_HELP_BYTES:
                return on_gpu
        return self._put(n_ctx, (0,) * len(usable))

    def shorten(self, place: DraftPlace, n_ctx: int) -> DraftPlace:
        """The same place with no more context than that; what is left stays as it was, since the other model was placed in it."""
        return replace(self._put(min(n_ctx, place.placement.n_ctx), place.placement.gpu_shares), left=place.left)

    def _put(self, n_ctx: int, gpu_shares: tuple[int, ...]) -> DraftPlace:
        placer = Placer(self.shape, self.tensors, self.machine, self.n_sequences)
        placement = placer.place_so(n_ctx, KV_TYPE, gpu_shares)
        return DraftPlace(self.name, placement, left_beside(self.machine, placement.memory), placer.shortage(placement))


def left_beside(machine: Machine, memory: Sequence[DeviceBytes]) -> Machine:
    """What a machine has once a model has taken so much of it: the host's part first, then that of each GPU."""
    host, *on_gpus = memory
    taken = list(zip(machine.gpus, (part.total_bytes for part in on_gpus), strict=True))
    gpus = tuple(replace(gpu, free_bytes=max(0, gpu.free_bytes - size_bytes)) for gpu, size_bytes in taken)
    ram_bytes = host.total_bytes + sum(size_bytes for gpu, size_bytes in taken if gpu.shares_ram)
    return replace(machine, gpus=gpus, ram_available_bytes=max(0, machine.ram_available_bytes - ram_bytes))
