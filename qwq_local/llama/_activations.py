"""What passes through a model's weights while it reads a text, from llama.cpp's evaluation callback.

What is observed and what is summed are those of llama.cpp's tools/imatrix/imatrix.cpp (`IMatrixCollector::collect_imatrix`, the case
GGML_OP_MUL_MAT), save that its sums are float32, and that it passes over batches of fewer than 16 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwq_local.backend import BatchToken, Rope
from qwq_local.errors import DecodeError
from qwq_local.llama._context import ContextShape, LlamaContext
from qwq_local.llama._interrupt import InterruptSwitch
from qwq_local.llama._library import library
from qwq_local.llama._model import LlamaModel, LoadListener
from qwq_local.llama._tensor import Tensor, mul_mat_op
from qwq_local.llama._whole_text import chunk_start, tokenize_whole
from qwq_local.quants import F32

BLOCK_PREFIX: Final = "blk."
OUTPUT: Final = "output.weight"


class ActivationSums(NamedTuple):
    """What one weight was multiplied with: for each column the sum of the squares (row length,), over `n_rows` tokens."""

    squares: NDArray[np.float64]
    n_rows: int


class ActivationCollector:
    """Reads chunks of text and keeps, for each weight of a block, the sums of what it was multiplied with.

    `sums` has them by the weight's name in GGUF; `with_output` adds output.weight's. Raises LoadError. Close it to free the model.
    """

    def __init__(
        self,
        path: Path,
        shape: ContextShape,
        rope: Rope,
        *,
        n_gpu_layers: int | None = None,
        with_output: bool = False,
        on_progress: LoadListener | None = None,
    ) -> None:
        self.sums: dict[str, ActivationSums] = {}
        self._shape = shape
        self._with_output = with_output
        self._failure: Exception | None = None
        self._mul_mat = mul_mat_op()
        # llama.cpp runs in a thread of its own: Ctrl-C is then raised in the caller, and never in the callback, where it would be lost.
        self._thread = ThreadPoolExecutor(1)
        self._model = LlamaModel(path, n_gpu_layers, on_progress)
        try:
            self._switch = InterruptSwitch()
            on_node = library().ggml_backend_sched_eval_callback(self._on_node)
            self._context = LlamaContext(self._model, shape, rope, self._switch, on_node)
        except BaseException:
            self._model.close()
            raise

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a whole text as llama-imatrix reads it: control tokens are ordinary text, and one newline at the end is dropped."""
        return tokenize_whole(self._model.vocab, text)

    def read(self, chunk: Sequence[int]) -> None:
        """Read the token ids of one chunk, at most a context's worth, from an empty context, and add to the sums.

        Raises:
            DecodeError: llama.cpp failed, or what passed through a weight is NaN or infinite. The sums are then of no use.
        """
        reading = self._thread.submit(self._read, chunk)
        try:
            reading.result()
        except BaseException:
            self._switch.turn(on=True)
            raise

    def _read(self, chunk: Sequence[int]) -> None:
        start = chunk_start(self._model.vocab)
        first = chunk[0] if start is None else start
        # Every token wants its logits: the last layer would leave out the others.
        batch = [BatchToken(token, i, 0, wants_logits=True) for i, token in enumerate([first, *chunk[1:]])]
        self._context.truncate(0, 0)
        for start in range(0, len(batch), self._shape.n_batch):
            try:
                self._context.decode(batch[start : start + self._shape.n_batch])
            finally:
                if self._failure:
                    raise self._failure

    def close(self) -> None:
        """Free the context and the model, once llama.cpp has stopped."""
        self._switch.turn(on=True)
        self._thread.shutdown()
        self._context.close()
        self._model.close()

    def _on_node(self, address: int, ask: bool, _: object) -> bool:
        """`ggml_backend_sched_eval_callback`: asked first whether a node matters, then told that it is computed."""
        try:
            node = Tensor.from_address(address)
            return self._is_wanted(node) if ask else self._add(node)
        except Exception as error:  # noqa: BLE001 - cannot cross C: kept, and raised again where the batch was sent from
            self._failure = error
            self._switch.turn(on=True)
            return False

    def _is_wanted(self, node: Tensor) -> bool:
        if node.op != self._mul_mat or node.source(1).type != F32.id:
            return False
        name = _weight_name(node.source(0))
        return name.startswith(BLOCK_PREFIX) or (self._with_output and name == OUTPUT)

    def _add(self, node: Tensor) -> bool:
        name = _weight_name(node.source(0))
        rows = node.source(1).rows()
        squares = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
        if not np.isfinite(squares).all():
            raise DecodeError(
                f"What the model computes for {name} is NaN or infinite.", hint="Its file may be damaged: convert or download it again."
            )
        before = self.sums.get(name)
        self.sums[name] = (
            ActivationSums(squares + before.squares, len(rows) + before.n_rows) if before else ActivationSums(squares, len(rows))
        )
        return True


def _weight_name(tensor: Tensor) -> str:
    """Without what a scheduler puts around the name of a copy: CUDA0#blk.0.attn_k.weight#0."""
    name: str = tensor.name.decode("utf-8", "replace")
    return name.split("#")[1] if "#" in name else name
