"""How many bytes a model takes on each device, before it is loaded (pure).

Weights and KV cache follow from the layer split (`load_tensors` in src/llama-model.cpp), compute buffers from the graph that llama.cpp
reserves memory for (`compute_graph`, `compute_buffers`).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, groupby
from typing import Final, get_args

from qwq_local.errors import SettingsError
from qwq_local.plan.compute_buffers import OFFLOAD_ROWS, Device, buffer_bytes
from qwq_local.plan.compute_graph import F32_BYTES, BatchShape, LayerPlaces, Place, build_graph
from qwq_local.plan.gpu_kinds import gpu_kind
from qwq_local.plan.shape import ModelShape, layer_of
from qwq_local.quants import CACHE_TYPES, TensorType, choose_types, find_quantization, tensor_bytes
from qwq_local.quants.choice import EMBEDDING, OUTPUT
from qwq_local.settings import MAX_SEQUENCES, KvType
from qwq_local.tuning import Tuning

HOST: Final = "CPU"
CELL_PADDING: Final = 256
"""Tokens to a whole number of which a context is rounded up (`llama_context` in src/llama-context.cpp)."""
N_BATCH: Final = Tuning.n_ubatch
"""Tokens of a batch, all computed at once: as many as llama.cpp takes by itself (`n_ubatch`, `llama_context_default_params`)."""
ENOUGH_LAYERS: Final = 3
"""Layers in a row on one device after which another adds nothing to its compute buffer: each gives back what it took."""


@dataclass(frozen=True)
class ContextWish:
    """The context that memory is asked for.

    `n_ctx` counts the tokens that `n_sequences` can hold together, in one unified cache; `n_batch` and `n_ubatch` the tokens of a batch and
    of what is computed at once; `n_outputs` those of a batch that may want logits (`n_outputs_max` in include/llama.h), by default all.
    `offloads_batches`: GPUs that can take over work on large batches do so.

    Raises SettingsError for what llama.cpp would refuse.
    """

    n_ctx: int
    kv_type: KvType = "f16"
    n_sequences: int = 1
    n_batch: int = N_BATCH
    n_ubatch: int = N_BATCH
    flash_attention: bool = True
    n_outputs: int | None = None
    offloads_batches: bool = True

    def __post_init__(self) -> None:
        for name, count, most in (
            ("ctx", self.n_ctx, 2**31 - 1),
            ("sequences", self.n_sequences, MAX_SEQUENCES),
            ("batch", self.n_batch, 2**31 - 1),
            ("ubatch", self.n_ubatch, 2**31 - 1),
            ("outputs", self.n_batch if self.n_outputs is None else self.n_outputs, 2**31 - 1),
        ):
            if not 1 <= count <= most:
                raise SettingsError(f"{name} is {count}, but must lie between 1 and {most}.", hint="It is a count.")
        if self.kv_type not in CACHE_TYPES:
            raise SettingsError(f"kv-type is {self.kv_type!r}, which is unknown.", hint=f"Choose one of {', '.join(get_args(KvType))}.")
        if CACHE_TYPES[self.kv_type].is_quantized and not self.flash_attention:
            raise SettingsError(
                f"A KV cache of {self.kv_type} needs flash attention.", hint="Switch it on, or keep keys and values in f16 (--kv-type f16)."
            )

    @property
    def n_cells(self) -> int:
        """Tokens that there is room for, after rounding."""
        return -(-self.n_ctx // CELL_PADDING) * CELL_PADDING


@dataclass(frozen=True)
class DeviceBytes:
    """What a device must hold; `device` is its name in llama.cpp."""

    device: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes


def tensor_bytes_of(shape: ModelShape, quantization: str) -> dict[str, int]:
    """Bytes of every tensor of a file that is not there, by GGUF name; raises SettingsError for an unknown quantization."""
    types = tensor_types_of(shape, quantization)
    return {name: tensor_bytes(types[name], dimensions) for name, dimensions in shape.tensor_shapes().items()}


def tensor_types_of(shape: ModelShape, quantization: str) -> dict[str, TensorType]:
    """The type of every tensor of such a file, by GGUF name; raises SettingsError for an unknown quantization."""
    return choose_types(find_quantization(quantization), shape.tensor_shapes(), shape.traits)


def kv_layer_bytes(shape: ModelShape, context: ContextWish) -> int:
    """Bytes of the keys and values of one layer (`llama_kv_cache` in src/llama-kv-cache.cpp)."""
    return 2 * CACHE_TYPES[context.kv_type].row_bytes(shape.n_embd_kv) * context.n_cells


def estimate(
    shape: ModelShape,
    tensors: Mapping[str, int],
    context: ContextWish,
    n_gpu_layers: int,
    gpu_shares: Sequence[float] = (1.0,),
    gpu_names: Sequence[str] = (),
) -> tuple[DeviceBytes, ...]:
    """Bytes on the CPU, then on each GPU.

    What a driver keeps for itself is not counted, nor what llama.cpp takes from the heap while it computes. More tokens never take less,
    save where a GPU takes over work on layers of the host: the gaps between the weights it copies come and go with the sizes around them.

    Args:
        shape: the model's.
        tensors: bytes of its tensors by GGUF name.
        context: the wished one.
        n_gpu_layers: how many layers are offloaded, the last ones first; the output counts as the last layer, so that
            `shape.n_layers + 1` offloads everything but the embeddings, which are read on the host.
        gpu_shares: how the offloaded layers are shared out between the GPUs (`tensor_split` in include/llama.h); none: no GPU.
        gpu_names: the GPUs' names in llama.cpp, by default CUDA0 and so on; how they begin says what kind of GPU they are.

    Raises:
        SettingsError: a count or share that cannot be, or a KV cache whose type does not divide this model's heads.
    """
    _check_cache(shape, context)
    _check(n_gpu_layers, gpu_shares, gpu_names)
    names = [HOST, *(gpu_names or (f"CUDA{index}" for index in range(len(gpu_shares))))]
    gpus = tuple(_gpu(name, context) for name in names[1:])
    places = layer_places(shape.n_layers, n_gpu_layers, gpu_shares)
    compute = [
        max(each) for each in zip(*(_compute_bytes(shape, batch, gpus, tensors, places) for batch in _batches(context)), strict=True)
    ]
    weights = _weights_bytes(tensors, places)
    layers = Counter(places[:-1])
    per_layer = kv_layer_bytes(shape, context)
    logits = {0: context.n_sequences * shape.n_vocab * F32_BYTES}
    return tuple(
        DeviceBytes(name, weights[place], layers[place] * per_layer, compute[place] + logits.get(place, 0))
        for place, name in enumerate(names)
    )


def layer_places(n_layers: int, n_gpu_layers: int, gpu_shares: Sequence[float]) -> tuple[int, ...]:
    """Where each layer goes, and last the output: 0 is the CPU, 1 the first GPU.

    From src/llama-model.cpp, `load_tensors`: the first layers stay on the host, and the rest is cut at the cumulated shares, in float32.
    """
    if not gpu_shares:
        return (0,) * (n_layers + 1)
    offloaded = min(n_gpu_layers, n_layers + 1)
    start = n_layers + 1 - offloaded
    total = list(accumulate(gpu_shares))
    borders = [_float32(border / total[-1]) for border in total]
    return tuple(0 if layer < start else 1 + bisect_right(borders, _float32((layer - start) / offloaded)) for layer in range(n_layers + 1))


def _check(n_gpu_layers: int, gpu_shares: Sequence[float], gpu_names: Sequence[str]) -> None:
    if n_gpu_layers < 0:
        raise SettingsError(f"gpu-layers is {n_gpu_layers}, but must be at least 0.", hint="0 keeps everything on the CPU.")
    if gpu_shares and (min(gpu_shares) < 0 or not 0 < sum(gpu_shares) < float("inf")):
        raise SettingsError(f"The GPUs' shares are {list(gpu_shares)}.", hint="Give each a share of 0 or more, and one at least more.")
    if gpu_names and len(gpu_names) != len(gpu_shares):
        raise SettingsError(f"{len(gpu_shares)} shares were given for {len(gpu_names)} GPUs.", hint="Give one for each.")


def _check_cache(shape: ModelShape, context: ContextWish) -> None:
    block_size = CACHE_TYPES[context.kv_type].block_size
    if shape.head_size % block_size:
        raise SettingsError(
            f"Heads of {shape.head_size} are no whole number of blocks of {block_size}, as a KV cache of {context.kv_type} needs.",
            hint="Keep keys and values in f16 (--kv-type f16).",
        )


def _float32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _place_of(name: str, places: Sequence[int]) -> int:
    return 0 if name == EMBEDDING else places[layer_of(name, len(places))]


def _weights_bytes(tensors: Mapping[str, int], places: Sequence[int]) -> Counter[int]:
    weights: Counter[int] = Counter()
    for name, size_bytes in tensors.items():
        weights[_place_of(name, places)] += size_bytes
    if OUTPUT not in tensors and places[-1] != 0:
        # Tied embeddings are read on the host and stand on the GPU once more as the output matrix.
        weights[places[-1]] += tensors[EMBEDDING]
    return weights


def _compute_bytes(
    shape: ModelShape, batch: BatchShape, gpus: tuple[Device, ...], tensors: Mapping[str, int], places: Sequence[int]
) -> tuple[int, ...]:
    copied = _copied_weights(tensors, places) if any(gpu.takes_host_work for gpu in gpus) and batch.n_tokens >= OFFLOAD_ROWS else ()
    return _buffers(shape, batch, gpus, _some_layers(places, all_of_host=bool(copied)), copied)


def _copied_weights(tensors: Mapping[str, int], places: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """The weights on the host, which a GPU that takes over work on them copies."""
    if OUTPUT not in tensors:
        tensors = {**tensors, OUTPUT: tensors[EMBEDDING]}
    return tuple((name, size_bytes) for name, size_bytes in tensors.items() if name != EMBEDDING and _place_of(name, places) == 0)


@lru_cache(maxsize=1024)
def _buffers(
    shape: ModelShape, batch: BatchShape, gpus: tuple[Device, ...], places: tuple[int, ...], copied_weights: tuple[tuple[str, int], ...]
) -> tuple[int, ...]:
    """Bytes of the compute buffers on the CPU and on each GPU."""
    host = len(gpus)
    devices = [host, *range(host)]
    *layers, output = (Place(f"blk.{index}.", devices[place]) for index, place in enumerate(places))
    is_full = bool(gpus) and 0 not in places
    placed = LayerPlaces(layers, Place("", output.device), host, pins_norms=is_full or batch.n_tokens < OFFLOAD_ROWS)
    graph = build_graph(shape, batch, placed, dict(copied_weights))
    cpu = Device(32, takes_host_work=False, copies_cache=False)
    on_gpus = buffer_bytes(graph, [*gpus, cpu], is_pipelined=is_full and len(gpus) > 1)
    return (on_gpus.pop(), *on_gpus)


def _some_layers(places: Sequence[int], *, all_of_host: bool) -> tuple[int, ...]:
    """The same places with no more layers in a row than the compute buffers depend on.

    Copied weights of many sizes leave ever other gaps behind, so that every layer on the host counts then.
    """
    *layers, output = places
    runs = ((place, len(list(run))) for place, run in groupby(layers))
    kept = ((place, count if place == 0 and all_of_host else min(count, ENOUGH_LAYERS)) for place, count in runs)
    return (*(place for place, count in kept for _ in range(count)), output)


def _gpu(name: str, context: ContextWish) -> Device:
    kind = gpu_kind(name)
    copies = kind.copies_cache == "always" or (kind.copies_cache == "quantized" and CACHE_TYPES[context.kv_type].is_quantized)
    return Device(kind.alignment_bytes, kind.takes_host_work and context.offloads_batches, copies)


def _batches(context: ContextWish) -> tuple[BatchShape, BatchShape]:
    """What buffers are made for: the largest batch, and a token of each sequence (`sched_reserve` in src/llama-context.cpp)."""
    n_batch = min(context.n_ctx, context.n_batch)
    n_tokens = min(n_batch, context.n_ubatch)
    largest = BatchShape(
        n_tokens=-(-n_tokens // context.n_sequences) * context.n_sequences,
        n_outputs=min(n_tokens, n_batch if context.n_outputs is None else context.n_outputs),
        n_streams=1,
        n_cells=context.n_cells,
        flash_attention=context.flash_attention,
        cache_type=CACHE_TYPES[context.kv_type],
    )
    return largest, replace(largest, n_tokens=context.n_sequences, n_outputs=context.n_sequences)
