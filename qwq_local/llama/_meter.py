"""How fast this CPU does what writing a token is: to multiply every matrix of weights by a vector, and to attend to the cache.

ggml does both, as in a loaded model. In the figures are what the RAM gives and what the cores compute.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from typing import Final, NamedTuple, Self

from qwq_local import card
from qwq_local.errors import LoadError
from qwq_local.llama._ggml import InitParams, ggml
from qwq_local.llama._layouts import choose_layout, cpu_device, cpu_function, plain_layout
from qwq_local.llama._tensor import Tensor, mul_mat_op
from qwq_local.machine.contention import MOST_WAITING, waiting_seconds
from qwq_local.quants import CACHE_TYPES, F32, TensorType
from qwq_local.settings import KvType

MATRIX_BYTES: Final = 32 * 2**20
ROWS_STEP: Final = 64
"""A multiple of what any layout groups rows by."""
CACHE_TOKENS: Final = 4096
MEMORY_BYTES: Final = 8 * MATRIX_BYTES
"""Gone through from end to end before a part is read again: more than what a few cores find in their caches."""
FILLING: Final = 1
"""Read as a number of any type, bytes of 1 are finite, and neither 0 nor too small for the processor's fast path."""

MEASURE_SECONDS: Final = 0.015
LEAST_TIMES: Final = 3

GGML_STATUS_SUCCESS: Final = 0
"""`enum ggml_status` (ggml/include/ggml.h)."""
_CONTEXT_BYTES: Final = 2**20
_PAGE_BYTES: Final = 4096


class CpuMeter:
    """Owns the threads, and the memory that weights are read from; to be used in a `with` block. Raises LoadError."""

    def __init__(self, n_threads: int) -> None:
        mul_mat_op()  # Tensor, through which matrices are moved, is as this library has it
        lib = ggml()
        self._memory = lib.ggml_backend_buft_alloc_buffer(plain_layout(), MEMORY_BYTES)
        if not self._memory:
            raise LoadError("There is too little memory to measure the CPU's speed.", hint="Close other programs.")
        lib.ggml_backend_buffer_clear(self._memory, FILLING)
        self._start = lib.ggml_backend_buffer_get_base(self._memory)
        self._used_bytes = 0
        self._seconds = self._waiting_seconds = 0.0
        self._backend = lib.ggml_backend_dev_init(cpu_device(), None)
        cpu_function(b"ggml_backend_set_n_threads", None, ctypes.c_void_p, ctypes.c_int)(self._backend, n_threads)

    @property
    def is_disturbed(self) -> bool:
        """Whether other programs needed the cores meanwhile, so that the rates are too low. Only Linux tells."""
        return self._waiting_seconds > MOST_WAITING * self._seconds

    def weights_rate(self, tensor_type: TensorType, n_streams: int = 1) -> float:
        """Bytes a second of weights of this type, as many as a file has of them, in rows of QwQ-32B's length.

        With several streams they are multiplied by a vector of each, and read once for all.
        """
        return self._rate(_product(tensor_type, n_streams))

    def cache_rate(self, kv_type: KvType) -> float:
        """Bytes a second of keys and values, read by a token that attends to thousands with QwQ-32B's heads."""
        return self._rate(_attention(CACHE_TYPES[kv_type]))

    def _rate(self, work: _Work) -> float:
        """By the median of some times: the best shows the clock of a moment, which does not last."""
        waited_before = waiting_seconds()
        try:
            seconds: list[float] = []
            while len(seconds) < LEAST_TIMES or sum(seconds) < MEASURE_SECONDS:
                seconds.append(self._time(work))
        finally:
            work.close()
        self._seconds += sum(seconds)
        self._waiting_seconds += waiting_seconds() - waited_before
        return work.read_bytes / statistics.median(seconds)

    def _time(self, work: _Work) -> float:
        for read in work.inputs:
            read.move(self._next(read.memory_bytes))
        started_at = time.perf_counter()
        status = ggml().ggml_backend_graph_compute(self._backend, work.graph)
        seconds = time.perf_counter() - started_at
        if status != GGML_STATUS_SUCCESS:
            raise LoadError(f"llama.cpp could not compute: status {status}.", hint="Close other programs.")
        return seconds

    def _next(self, n_bytes: int) -> int:
        """The address of so much memory, that was not read for longest."""
        first = self._used_bytes if self._used_bytes + n_bytes <= MEMORY_BYTES else 0
        self._used_bytes = first + -(-n_bytes // _PAGE_BYTES) * _PAGE_BYTES
        return int(self._start) + first

    def close(self) -> None:
        """Give the memory back."""
        if self._memory:
            ggml().ggml_backend_free(self._backend)
            ggml().ggml_backend_buffer_free(self._memory)
            self._memory = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Input(NamedTuple):
    """What is read from the meter's memory: one tensor, and views of all of it."""

    tensors: tuple[int, ...]
    memory_bytes: int

    def move(self, address: int) -> None:
        """Let it be what stands there."""
        for tensor in self.tensors:
            Tensor.from_address(tensor).data = address


class _Work:
    """A graph that reads its `inputs` once, `read_bytes` of them; `buffer` is what they belong to. `result` is its last tensor."""

    def __init__(self, context: int, inputs: tuple[_Input, ...], buffer: int, read_bytes: int, result: int) -> None:
        lib = ggml()
        self.inputs, self.read_bytes = inputs, read_bytes
        self._context, self._buffer = context, buffer
        for each in inputs:
            each.move(lib.ggml_backend_buffer_get_base(buffer))  # what stands somewhere is not allocated below
            for tensor in each.tensors:
                Tensor.from_address(tensor).buffer = buffer
        self._others = lib.ggml_backend_alloc_ctx_tensors_from_buft(context, plain_layout())
        lib.ggml_backend_buffer_clear(self._others, FILLING)
        self.graph = lib.ggml_new_graph(context)
        lib.ggml_build_forward_expand(self.graph, result)

    def close(self) -> None:
        """Free all but the memory of the inputs."""
        lib = ggml()
        lib.ggml_backend_buffer_free(self._others)
        lib.ggml_backend_buffer_free(self._buffer)
        lib.ggml_free(self._context)


def _product(tensor_type: TensorType, n_vectors: int) -> _Work:
    """A matrix, laid out as llama.cpp would do it, times so many vectors."""
    lib = ggml()
    row_bytes = tensor_type.row_bytes(card.N_EMBD)
    n_rows = MATRIX_BYTES // row_bytes // ROWS_STEP * ROWS_STEP
    context = lib.ggml_init(InitParams(_CONTEXT_BYTES, None, True))
    matrix = lib.ggml_new_tensor_2d(context, tensor_type.id, card.N_EMBD, n_rows)
    product = lib.ggml_mul_mat(context, matrix, lib.ggml_new_tensor_2d(context, F32.id, card.N_EMBD, n_vectors))
    layout, buffer = choose_layout(matrix, product)
    lib.ggml_backend_buffer_init_tensor(buffer, matrix)
    memory_bytes = lib.ggml_backend_buft_get_alloc_size(layout, matrix)
    return _Work(context, (_Input((matrix,), memory_bytes),), buffer, n_rows * row_bytes, product)


def _attention(tensor_type: TensorType) -> _Work:
    """The heads of one token on keys and values as the cache has them (`build_attn_mha` in src/llama-graph.cpp)."""
    lib = ggml()
    context = lib.ggml_init(InitParams(_CONTEXT_BYTES, None, True))
    query = lib.ggml_new_tensor_3d(context, F32.id, card.HEAD_SIZE, 1, card.N_HEADS)
    sides = [lib.ggml_new_tensor_3d(context, tensor_type.id, card.HEAD_SIZE, card.N_KV_HEADS, CACHE_TOKENS) for _ in ("keys", "values")]
    by_head = [lib.ggml_permute(context, side, 0, 2, 1, 3) for side in sides]
    mixed = lib.ggml_flash_attn_ext(context, query, *by_head, None, card.HEAD_SIZE**-0.5, 0.0, 0.0)
    side_bytes = CACHE_TOKENS * card.N_KV_HEADS * tensor_type.row_bytes(card.HEAD_SIZE)
    inputs = tuple(_Input(each, side_bytes) for each in zip(sides, by_head, strict=True))
    buffer = lib.ggml_backend_buft_alloc_buffer(plain_layout(), _PAGE_BYTES)
    return _Work(context, inputs, buffer, 2 * side_bytes, mixed)
