"""A model's context: the KV cache, and decoding into it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwq_local.backend import BatchToken, InterruptedDecodeError, Rope
from qwq_local.errors import DecodeError, LoadError
from qwq_local.llama._interrupt import InterruptSwitch
from qwq_local.llama._library import library, take_log
from qwq_local.llama._model import LlamaModel
from qwq_local.quants import CACHE_TYPES
from qwq_local.settings import KvType
from qwq_local.tuning import UNTUNED, Tuning

ROPE_SCALING_NONE: Final = 0
ROPE_SCALING_YARN: Final = 2
"""`enum llama_rope_scaling_type` (include/llama.h)."""
FLASH_ATTENTION_OFF: Final = 0
"""`enum llama_flash_attn_type` (include/llama.h)."""
DECODE_ABORTED: Final = 2
"""What llama_decode returns after its abort callback said so (include/llama.h)."""


@dataclass(frozen=True)
class ContextShape:
    """What a context is made with: sizes in tokens, and YaRN's two numbers for when it is wanted.

    `n_ctx` is the most that one sequence holds, `n_cells` what all of `n_sequences` hold together, shared cells counted once (0: as much as
    one). `n_outputs` tokens of a batch may want logits (0: all), and buffers are made for so many. `n_threads` compute where
    `tuning` says no other number.
    """

    n_ctx: int
    n_batch: int
    n_sequences: int
    n_threads: int
    kv_type: KvType
    yarn_factor: float
    native_ctx: int
    n_cells: int = 0
    n_outputs: int = 0
    tuning: Tuning = UNTUNED

    def __post_init__(self) -> None:
        if not self.n_cells:
            object.__setattr__(self, "n_cells", self.n_ctx)


class LlamaContext:
    """Owns a llama_context, whose sequences share one unified KV cache.

    `on_node` is a ggml_backend_sched_eval_callback (ggml/include/ggml-backend.h), asked at each node of the graph. Raises LoadError.
    """

    def __init__(
        self,
        model: LlamaModel,
        shape: ContextShape,
        rope: Rope,
        switch: InterruptSwitch,
        on_node: Any = None,  # noqa: ANN401 - a ctypes function
    ) -> None:
        lib = library()
        take_log()
        self.rope = rope
        self._switch = switch
        self._on_node = on_node  # C keeps only the pointer
        params = context_params(shape, rope)
        if on_node is not None:
            params.cb_eval = on_node
        self.handle: Any = lib.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise LoadError(
                f"llama.cpp could not make a context of {shape.n_ctx:,} tokens. It said: {take_log()}",
                hint="Ask for a shorter context (--ctx) or a smaller KV cache (--kv-type q8_0).",
            )
        self._memory = lib.llama_get_memory(self.handle)
        self._batch = lib.llama_batch_init(shape.n_batch, 0, 1)
        switch.attach(self.handle)

    def decode(self, tokens: Sequence[BatchToken]) -> None:
        """Read a batch; raises DecodeError or InterruptedDecodeError."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, entry in enumerate(tokens):
            batch.token[i] = entry.token
            batch.pos[i] = entry.position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = entry.sequence
            batch.logits[i] = entry.wants_logits
        status = library().llama_decode(self.handle, batch)
        if status == DECODE_ABORTED:
            raise InterruptedDecodeError
        if status != 0:
            raise DecodeError(
                f"llama.cpp could not read a batch of {len(tokens)} tokens (status {status}). {take_log()}".rstrip(),
                hint="Try a shorter context (--ctx), or fewer GPU layers (--gpu-layers).",
            )

    def wait(self) -> None:
        """Wait until the last decode has ended on every device."""
        library().llama_synchronize(self.handle)

    def logits(self, batch_index: int, n_vocab: int) -> list[float]:
        """The logits after a token of the last batch that wanted them, one for each of `n_vocab` tokens."""
        row = library().llama_get_logits_ith(self.handle, batch_index)
        return list(ctypes.cast(row, ctypes.POINTER(ctypes.c_float * n_vocab)).contents)

    def wanted_logits(self, n_rows: int, n_vocab: int) -> NDArray[np.float32]:
        """The logits after the `n_rows` tokens of the last batch that wanted them, in their order, (n_rows, n_vocab).

        This is llama.cpp's own memory: it holds other values after the next decode.
        """
        first: Any = library().llama_get_logits(self.handle)
        rows: NDArray[np.float32] = np.ctypeslib.as_array(first, shape=(n_rows, n_vocab))
        rows.flags.writeable = False
        return rows

    def truncate(self, sequence: int, n_tokens: int) -> None:
        """Forget all but the first `n_tokens` of a sequence."""
        library().llama_memory_seq_rm(self._memory, sequence, n_tokens, -1)

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        """Let an empty sequence begin as another does, in the same cells (llama_kv_cache::seq_cp, src/llama-kv-cache.cpp)."""
        library().llama_memory_seq_cp(self._memory, source, target, 0, n_tokens)

    def state_bytes(self, sequence: int) -> int:
        """How many bytes `save` would give."""
        return int(library().llama_state_seq_get_size(self.handle, sequence))

    def save(self, sequence: int) -> bytes:
        """Keys and values of a sequence, with their positions."""
        lib, size_bytes = library(), self.state_bytes(sequence)
        buffer = (ctypes.c_uint8 * size_bytes)()
        written_bytes = lib.llama_state_seq_get_data(self.handle, buffer, size_bytes, sequence)
        if written_bytes != size_bytes:
            raise DecodeError(f"llama.cpp saved {written_bytes:,} of the {size_bytes:,} bytes of a sequence. {take_log()}".rstrip())
        return bytes(buffer)

    def restore(self, sequence: int, state: bytes) -> None:
        """Fill an empty sequence with what was saved; raises DecodeError and leaves it empty where that cannot be."""
        lib = library()
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if lib.llama_state_seq_set_data(self.handle, buffer, len(state), sequence) != len(state):
            self.truncate(sequence, 0)
            raise DecodeError(f"llama.cpp could not restore a sequence from {len(state):,} bytes. {take_log()}".rstrip())

    def close(self) -> None:
        """Free the KV cache and the buffers."""
        if self.handle:
            library().llama_batch_free(self._batch)
            library().llama_free(self.handle)
            self.handle = None


def context_params(shape: ContextShape, rope: Rope) -> Any:  # noqa: ANN401 - a ctypes struct
    """The `llama_context_params` of a shape."""
    params, tuning = library().llama_context_default_params(), shape.tuning
    params.n_ctx = shape.n_cells
    params.kv_unified = True
    params.n_batch = shape.n_batch
    params.n_ubatch = min(shape.n_batch, tuning.n_ubatch)
    params.n_seq_max = shape.n_sequences
    params.n_outputs_max = shape.n_outputs
    params.n_threads = tuning.n_threads or shape.n_threads
    params.n_threads_batch = tuning.n_threads_batch or shape.n_threads
    params.op_offload = tuning.offloads_batches
    params.type_k = params.type_v = CACHE_TYPES[shape.kv_type].id
    params.no_perf = True
    if not tuning.uses_flash_attention(shape.kv_type):
        params.flash_attn_type = FLASH_ATTENTION_OFF
    if rope == "native":
        params.rope_scaling_type = ROPE_SCALING_NONE
    else:
        # yarn_orig_ctx is given because it would default to the file's whole context length (src/llama-context.cpp).
        params.rope_scaling_type = ROPE_SCALING_YARN
        params.rope_freq_scale = 1 / shape.yarn_factor
        params.yarn_orig_ctx = shape.native_ctx
    return params
