"""How much memory a graph needs on each device: where each operation runs, what is copied between devices, what lives at once (pure).

Three steps of ggml are followed: operations are placed, and the graph is cut where the device changes (`ggml_backend_sched_split_graph` in
ggml/src/ggml-backend.cpp); then tensors are given memory in turn and give it back after their last use (`ggml_gallocr_alloc_graph_impl`
in ggml/src/ggml-alloc.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from qwq_local.plan.compute_graph import UNPLACED, Graph, Tensor

PIPELINE_COPIES: Final = 4
"""GGML_SCHED_MAX_COPIES (ggml/src/ggml-backend.cpp): inputs that are kept where several GPUs work at several batches at once."""

OFFLOAD_ROWS: Final = 32
"""From so many rows on, a GPU takes over operations on weights in host memory (GGML_OP_OFFLOAD_MIN_BATCH; `offload_op` of CUDA)."""


@dataclass(frozen=True)
class Device:
    """What of a device matters here.

    `takes_host_work`: large batches are computed there with a copy of the host's weights. `copies_cache`: flash attention makes an f16
    copy of a layer's cache.
    """

    alignment_bytes: int
    takes_host_work: bool
    copies_cache: bool


def buffer_bytes(graph: Graph, devices: Sequence[Device], *, is_pipelined: bool) -> list[int]:
    """Bytes on each of `devices`, the last of which is the CPU. The graph is used up: its tensors are written to."""
    host = len(devices) - 1
    _place(graph, devices, host)
    schedule = _Schedule(PIPELINE_COPIES if is_pipelined else 1, host)
    schedule.cut(graph)
    return _Allocator(devices).run(schedule)


def _is_plain_view(node: Tensor) -> bool:
    """Not an operation that writes through a view, which is the storing of keys and values."""
    return node.base is not None and len(node.sources) == 1


def _place(graph: Graph, devices: Sequence[Device], host: int) -> None:
    for tensor in graph.inputs:
        tensor.device = host
    taker = next((index for index, device in enumerate(devices) if device.takes_host_work), host)
    for node in graph.nodes:
        if node.device == UNPLACED:
            node.device = _fixed_device(node, host, taker)
    computed = [node for node in graph.nodes if not _is_plain_view(node)]
    # GPUs claim what is before and after their operations, up to one of the host's; what is then left joins whatever is beside it.
    for order, barrier in ((computed, host), (computed[::-1], host), (computed, UNPLACED), (computed[::-1], UNPLACED)):
        _spread(order, barrier)
    for node in graph.nodes:
        if node.device == UNPLACED:
            assert node.base is not None, "all operations are placed by now"
            node.device = node.base.device


def _fixed_device(node: Tensor, host: int, taker: int) -> int:
    if node.base is not None and node.base.is_stored:
        return node.base.device
    weight = next((source for source in node.sources if source.is_weight), None)
    if weight is None:
        return UNPLACED
    return taker if weight.device == host and node.rows >= OFFLOAD_ROWS else weight.device


def _spread(nodes: Iterable[Tensor], barrier: int) -> None:
    current = UNPLACED
    for node in nodes:
        if node.device == UNPLACED:
            node.device = current
        else:
            current = UNPLACED if node.device == barrier else node.device


@dataclass(frozen=True)
class _Step:
    """Memory for `made`, if anything, on `device`; then `used` has been read."""

    made: Tensor | None
    device: int
    used: Sequence[Tensor]


class _Schedule:
    """The graph's operations with the copies between devices in their places; `leaves` are given memory before all."""

    def __init__(self, n_copies: int, host: int) -> None:
        self._n_copies = n_copies
        self._host = host
        self._copies: dict[tuple[int, int], Tensor] = {}
        self.leaves: list[tuple[Tensor, int]] = []
        self.steps: list[_Step] = []

    def cut(self, graph: Graph) -> None:
        """Split where the device changes, or where a weight must be brought, and copy what each split reads from elsewhere."""
        split: list[Tensor] = []
        copied: list[Tensor] = []
        current = self._host
        for node in graph.nodes:
            if not _is_plain_view(node):
                if node.device != current or (copied and _brings_weight(node)):
                    self._close(split, copied, current)
                    split, copied, current = [], [], node.device
                self._copy_sources(node, copied)
            split.append(node)
        self._close(split, copied, current)
        if self._n_copies > 1:
            self.leaves[:0] = [leaf for tensor in graph.inputs for leaf in self._repeated(tensor, self._host)]
        self.leaves += [(tensor, self._host) for tensor in graph.inputs]

    def _copy_sources(self, node: Tensor, copied: list[Tensor]) -> None:
        device = node.device
        for position, source in enumerate(node.sources):
            if source.device == device:
                continue
            key = (id(source), device)
            if key not in self._copies:
                self._copies[key] = Tensor(source.size_bytes, device=device)
                copied.append(source)
            node.sources[position] = self._copies[key]

    def _close(self, split: list[Tensor], copied: list[Tensor], device: int) -> None:
        for source in copied:
            copy = self._copies[id(source), device]
            self.steps += [_Step(None, self._host, [source]), _Step(copy, device, [])]
            if self._n_copies > 1:
                self.leaves += self._repeated(copy, device)
        self.steps += [_Step(node, node.device, node.sources) for node in split]

    def _repeated(self, tensor: Tensor, device: int) -> list[tuple[Tensor, int]]:
        tensor.is_output = True
        return [(tensor, device), *((Tensor(tensor.size_bytes, is_output=True), device) for _ in range(self._n_copies - 1))]


def _brings_weight(node: Tensor) -> bool:
    """A weight of another device starts a new split, so that the copy of the one before can be overwritten."""
    return any(source.is_weight and source.device != node.device for source in node.sources)


class _Allocator:
    """Gives each tensor memory where it runs, and takes it back after its last use."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._devices = devices
        self._arenas = [_Arena(device.alignment_bytes) for device in devices]

    def run(self, schedule: _Schedule) -> list[int]:
        for tensor, device in schedule.leaves:
            self._hold(tensor, device)
        for step in schedule.steps:
            if step.made is not None and step.made.base is not None:
                step.made.base.n_views += 1
            for source in step.used:
                source.n_children += 1
        for step in schedule.steps:
            if step.made is not None:
                self._hold(step.made, step.device)
            for source in step.used:
                self._used(source)
        return [arena.peak_bytes for arena in self._arenas]

    def _hold(self, tensor: Tensor, device: int) -> None:
        if tensor.is_held or tensor.is_stored or tensor.base is not None:
            return
        tensor.is_held = True
        victim = next((source for source in tensor.sources if _can_be_overwritten(source, tensor)), None)
        if victim is not None:
            tensor.arena, tensor.offset_bytes = victim.arena, victim.offset_bytes
            victim.is_held = False
            return
        tensor.arena = device
        tensor.offset_bytes = self._arenas[device].take(self._size_bytes(tensor))

    def _used(self, source: Tensor) -> None:
        source.n_children -= 1
        if source.n_children or source.n_views:
            return
        if source.base is None:
            self._release(source)
            return
        source.base.n_views -= 1
        if not source.base.n_views and not source.base.n_children:
            self._release(source.base)

    def _release(self, tensor: Tensor) -> None:
        if tensor.is_held and not tensor.is_output:
            self._arenas[tensor.arena].give_back(tensor.offset_bytes, self._size_bytes(tensor))
            tensor.is_held = False

    def _size_bytes(self, tensor: Tensor) -> int:
        return tensor.size_bytes + (tensor.scratch_bytes if self._devices[tensor.arena].copies_cache else 0)


def _can_be_overwritten(source: Tensor, by: Tensor) -> bool:
    is_last_use = source.n_children == 1 and not source.n_views
    return by.in_place and source.is_held and not source.is_output and is_last_use and source.size_bytes == by.size_bytes


class _Arena:
    """One device's memory: the smallest gap that is large enough is taken, else the end grows (`ggml_dyn_tallocr_alloc`)."""

    def __init__(self, alignment_bytes: int) -> None:
        self._alignment_bytes = alignment_bytes
        self._gaps: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._end_bytes = 0
        self.peak_bytes = 0

    def take(self, size_bytes: int) -> int:
        """The offset of so many bytes."""
        size_bytes = self._padded(size_bytes)
        # Of gaps of one size ggml takes the last.
        found = min(((gap, -offset) for offset, gap in self._gaps.items() if gap >= size_bytes), default=None)
        if found is None:
            self._end_bytes += size_bytes
            self.peak_bytes = max(self.peak_bytes, self._end_bytes)
            return self._end_bytes - size_bytes
        offset = -found[1]
        self._close(offset)
        self._open(offset + size_bytes, found[0] - size_bytes)
        return offset

    def give_back(self, offset: int, size_bytes: int) -> None:
        """Return what was taken; neighbouring gaps become one."""
        size_bytes = self._padded(size_bytes)
        if offset + size_bytes in self._gaps:
            size_bytes += self._close(offset + size_bytes)
        if offset in self._ends:
            offset = self._ends[offset]
            size_bytes += self._close(offset)
        if offset + size_bytes == self._end_bytes:
            self._end_bytes = offset
        else:
            self._open(offset, size_bytes)

    def _open(self, offset: int, size_bytes: int) -> None:
        if size_bytes:
            self._gaps[offset] = size_bytes
            self._ends[offset + size_bytes] = offset

    def _close(self, offset: int) -> int:
        size_bytes = self._gaps.pop(offset)
        del self._ends[offset + size_bytes]
        return size_bytes

    def _padded(self, size_bytes: int) -> int:
        return -(-size_bytes // self._alignment_bytes) * self._alignment_bytes
