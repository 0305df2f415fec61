"""The graph that llama.cpp builds for a batch of a Qwen2 model: every tensor with its size, and what it is computed from (pure).

The order is that of src/models/qwen2.cpp with src/llama-graph.cpp (`build_attn`, `build_ffn`), as `ggml_build_forward_expand` walks it.
llama.cpp reserves its compute buffers for the largest such graph: a whole micro-batch against a full KV cache (`sched_reserve` in
src/llama-context.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qwq_local.plan.shape import ModelShape
from qwq_local.quants import F32, TensorType

F16_BYTES: Final = 2
F32_BYTES: Final = 4
I32_BYTES: Final = 4
I64_BYTES: Final = 8
UNPLACED: Final = -1
VALUE_ROTATION: Final = 64
"""Rows of the matrix that a quantized cache's values are turned with (`build_input_v_rot` in src/llama-kv-cache.cpp)."""


@dataclass(eq=False, slots=True)
class Tensor:
    """One tensor.

    `base` is what a view shows. One that `is_stored` (a weight, the KV cache) is on its `device` already, all others are placed by
    `compute_buffers`, which writes what follows. `rows` counts those that an operation on a weight computes; `in_place` says that it may
    overwrite a source, and `scratch_bytes` are what some devices need beside the result.
    """

    size_bytes: int
    sources: list[Tensor] = field(default_factory=list)
    base: Tensor | None = None
    is_stored: bool = False
    is_weight: bool = False
    is_output: bool = False
    in_place: bool = False
    rows: int = 0
    scratch_bytes: int = 0

    device: int = UNPLACED
    n_children: int = 0
    n_views: int = 0
    is_held: bool = False
    arena: int = 0
    offset_bytes: int = 0


@dataclass(frozen=True)
class Graph:
    """Inputs and operations, in the order in which they are allocated and run."""

    inputs: tuple[Tensor, ...]
    nodes: tuple[Tensor, ...]


@dataclass(frozen=True)
class BatchShape:
    """A micro-batch of `n_tokens` for `n_streams` sequences, `n_outputs` of them with logits, each against `n_cells` of the KV cache.

    `cache_type` is that of keys and values.
    """

    n_tokens: int
    n_outputs: int
    n_streams: int
    n_cells: int
    flash_attention: bool
    cache_type: TensorType


@dataclass(frozen=True)
class Place:
    """Weights whose names begin with `prefix`, and the cache of their layer, are on `device`."""

    prefix: str
    device: int


@dataclass(frozen=True)
class LayerPlaces:
    """Where the layers are, and the output; the last device, `host`, is the CPU.

    `pins_norms`: llama.cpp says where the norms of layers are computed, as it does where every layer is offloaded (`graph_get_cb` in
    src/llama-context.cpp).
    """

    layers: Sequence[Place]
    output: Place
    host: int
    pins_norms: bool


def build_graph(shape: ModelShape, batch: BatchShape, places: LayerPlaces, weight_bytes: Mapping[str, int]) -> Graph:
    """The graph; `weight_bytes` gives by GGUF name the size of those weights that a device may have to copy."""
    return _Builder(shape, batch, places, weight_bytes).build()


class _Builder:
    def __init__(self, shape: ModelShape, batch: BatchShape, places: LayerPlaces, weight_bytes: Mapping[str, int]) -> None:
        self._shape, self._batch, self._places, self._weight_bytes = shape, batch, places, weight_bytes
        self._nodes: list[Tensor] = []
        tokens, vector = batch.n_tokens, shape.n_embd * F32_BYTES
        cells = F16_BYTES if batch.flash_attention else F32_BYTES
        values = 1 if batch.flash_attention else shape.n_embd_kv
        self._tokens = Tensor(tokens * I32_BYTES)
        self._given_vectors = Tensor(tokens * vector)
        self._positions = Tensor(tokens * I32_BYTES)
        self._key_rows = Tensor(tokens * I64_BYTES)
        self._value_rows = Tensor(tokens * values * I64_BYTES)
        self._mask = Tensor(batch.n_cells * tokens * cells)
        self._wanted = Tensor(batch.n_outputs * I32_BYTES)
        self._key_rotation: Tensor | None = None
        self._value_rotation: Tensor | None = None
        if batch.cache_type.is_quantized and shape.head_size % VALUE_ROTATION == 0:
            self._key_rotation = Tensor(_key_rotation(shape.head_size) ** 2 * F32_BYTES)
            self._value_rotation = Tensor(VALUE_ROTATION**2 * F32_BYTES)

    def build(self) -> Graph:
        shape, outputs = self._shape, self._batch.n_outputs
        embeddings = Tensor(0, is_stored=True, is_weight=True, device=self._places.host)
        stream = self._node(self._vector_bytes(shape.n_embd), embeddings, self._tokens)
        last = self._places.layers[-1]
        for layer in self._places.layers:
            stream = self._layer(stream, layer, is_last=layer is last)
        normed = self._norm(stream, outputs, "output_norm.weight", self._places.output)
        logits = self._product("output.weight", self._places.output, outputs * shape.n_vocab * F32_BYTES, outputs, normed)
        normed.is_output = logits.is_output = True
        inputs = [self._tokens, self._given_vectors, self._key_rotation, self._positions, self._value_rotation]
        inputs += [self._key_rows, self._value_rows, self._mask, self._wanted]
        return Graph(tuple(found for found in inputs if found), tuple(self._nodes))

    def _layer(self, stream: Tensor, place: Place, *, is_last: bool) -> Tensor:
        batch, shape = self._batch, self._shape
        attended = self._attention(self._norm(stream, batch.n_tokens, "attn_norm.weight", place), place)
        rows = batch.n_tokens
        if is_last:
            rows = batch.n_outputs
            attended = self._node(self._vector_bytes(shape.n_embd, rows), attended, self._wanted)
            stream = self._node(self._vector_bytes(shape.n_embd, rows), stream, self._wanted)
        middle = self._node(self._vector_bytes(shape.n_embd, rows), attended, stream, in_place=True)
        normed = self._norm(middle, rows, "ffn_norm.weight", place)
        wide = self._vector_bytes(shape.n_ff, rows)
        gate = self._product("ffn_gate.weight", place, wide, rows, normed)
        up = self._product("ffn_up.weight", place, wide, rows, normed)
        gated = self._node(wide, gate, up)
        down = self._product("ffn_down.weight", place, self._vector_bytes(shape.n_embd, rows), rows, gated)
        return self._node(self._vector_bytes(shape.n_embd, rows), down, middle, in_place=True)

    def _attention(self, normed: Tensor, place: Place) -> Tensor:
        shape, batch = self._shape, self._batch
        queries = self._rotated(self._roped(self._projected("attn_q", place, shape.n_embd, normed)), self._key_rotation)
        values = self._rotated(self._view(self._projected("attn_v", place, shape.n_embd_kv, normed)), self._value_rotation)
        keys = self._rotated(self._roped(self._projected("attn_k", place, shape.n_embd_kv, normed)), self._key_rotation)
        key_cache, value_cache = self._cache(place), self._cache(place)
        for cache, new, rows in ((key_cache, keys, self._key_rows), (value_cache, values, self._value_rows)):
            stored = self._node(0, self._view(new), rows, cache)
            stored.base = cache
        heads = self._view(self._view(queries))
        size_bytes = self._vector_bytes(shape.n_embd)
        if batch.flash_attention:
            mixed = self._node(size_bytes, heads, self._half(key_cache), self._half(value_cache), self._mask)
            mixed.scratch_bytes = 2 * self._n_cached * F16_BYTES
            joined = self._view(mixed)
        else:
            score_bytes = batch.n_cells * batch.n_tokens * shape.n_heads * F32_BYTES
            scores = self._node(score_bytes, self._view(key_cache), heads)
            weights = self._node(score_bytes, scores, self._mask, in_place=True)
            mixed = self._node(size_bytes, self._view(value_cache), weights)
            joined = self._node(size_bytes, self._view(mixed))
        return self._product("attn_output.weight", place, size_bytes, batch.n_tokens, self._rotated(joined, self._value_rotation))

    def _norm(self, source: Tensor, rows: int, kind: str, place: Place) -> Tensor:
        size_bytes = self._vector_bytes(self._shape.n_embd, rows)
        normed = self._node(size_bytes, source, in_place=True)
        if self._places.pins_norms and place is not self._places.output:
            normed.device = place.device
        return self._node(size_bytes, normed, self._weight(kind, place), in_place=True, rows=rows)

    def _projected(self, kind: str, place: Place, n_elements: int, normed: Tensor) -> Tensor:
        size_bytes, rows = self._vector_bytes(n_elements), self._batch.n_tokens
        product = self._product(f"{kind}.weight", place, size_bytes, rows, normed)
        return self._node(size_bytes, product, self._weight(f"{kind}.bias", place), in_place=True, rows=rows)

    def _product(self, kind: str, place: Place, size_bytes: int, rows: int, source: Tensor) -> Tensor:
        return self._node(size_bytes, self._weight(kind, place), source, rows=rows)

    def _roped(self, source: Tensor) -> Tensor:
        # ggml knows rope as an operation in place, but its allocator never overwrites what only a view shows.
        return self._node(source.size_bytes, self._view(source), self._positions)

    def _rotated(self, source: Tensor, rotation: Tensor | None) -> Tensor:
        if rotation is None:
            return source
        return self._view(self._node(source.size_bytes, rotation, self._view(source)))

    @property
    def _n_cached(self) -> int:
        return self._batch.n_streams * self._batch.n_cells * self._shape.n_embd_kv

    def _cache(self, place: Place) -> Tensor:
        return Tensor(self._batch.cache_type.row_bytes(self._n_cached), is_stored=True, device=place.device)

    def _half(self, cache: Tensor) -> Tensor:
        """A cache as flash attention takes it: f32 is cast, all else is read as it is (`build_attn_mha`)."""
        shown = self._view(cache)
        return self._node(self._n_cached * F16_BYTES, shown) if self._batch.cache_type is F32 else shown

    def _weight(self, kind: str, place: Place) -> Tensor:
        size_bytes = self._weight_bytes.get(f"{place.prefix}{kind}", 0)
        return Tensor(size_bytes, is_stored=True, is_weight=True, device=place.device)

    def _view(self, source: Tensor) -> Tensor:
        view = Tensor(source.size_bytes, [source], base=source.base or source)
        self._nodes.append(view)
        return view

    def _node(self, size_bytes: int, *sources: Tensor, in_place: bool = False, rows: int = 0) -> Tensor:
        node = Tensor(size_bytes, list(sources), in_place=in_place, rows=rows)
        self._nodes.append(node)
        return node

    def _vector_bytes(self, n_elements: int, rows: int | None = None) -> int:
        return n_elements * (self._batch.n_tokens if rows is None else rows) * F32_BYTES


def _key_rotation(head_size: int) -> int:
    """The largest power of two, at least 64, that divides a head (`build_input_k_rot` in src/llama-kv-cache.cpp)."""
    return head_size & -head_size
