"""Whether llama.cpp really computes where it should; run as a program it prints that as JSON, since a broken build ends the process.

The built-in model is loaded with every layer on the GPUs there are, and reads and writes a token: `placed` then counts the weights of its
layers by the device that holds them, asked of ggml where it multiplied by them.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from importlib import metadata, resources
from typing import Any, Final

from qwq_local.backend import BatchToken
from qwq_local.errors import DecodeError
from qwq_local.llama._context import ContextShape, LlamaContext
from qwq_local.llama._devices import list_devices
from qwq_local.llama._ggml import ggml
from qwq_local.llama._interrupt import InterruptSwitch
from qwq_local.llama._library import library
from qwq_local.llama._model import LlamaModel
from qwq_local.llama._tensor import Tensor, mul_mat_op
from qwq_local.llama._vocabulary import LlamaVocabulary

DISTRIBUTION: Final = "llama-cpp-python"
PROMPT: Final = "What is 47 + 85?"
CPU: Final = "CPU"
BLOCK: Final = "blk."
_SHAPE: Final = ContextShape(
    n_ctx=256, n_batch=64, n_sequences=1, n_threads=1, kv_type="f16", yarn_factor=1.0, native_ctx=256, n_outputs=1
)  # fmt: skip


def describe_trial() -> dict[str, Any]:
    """`version`, `file`, `offloads`, the `devices` with name, description and kind, `placed`, and the `token` that was written.

    Raises LoadError, and DecodeError where what was computed is no number.
    """
    placed, token = _write_a_token()
    return {
        "version": metadata.version(DISTRIBUTION),
        "file": library().__file__,
        "offloads": bool(library().llama_supports_gpu_offload()),
        "devices": [{"name": each.name, "description": each.description, "kind": each.kind} for each in list_devices()],
        "placed": placed,
        "token": token,
    }


class _Homes:
    """Where the weights of the layers stand, by their names in GGUF: filled while a batch is read."""

    def __init__(self) -> None:
        self.by_weight: dict[str, str] = {}
        self.failure: Exception | None = None
        self._mul_mat = mul_mat_op()
        self.listener = library().ggml_backend_sched_eval_callback(self._on_node)

    def _on_node(self, address: int, ask: bool, _: object) -> bool:
        """`ggml_backend_sched_eval_callback`: asked whether a node is to be shown once it is computed; none is."""
        try:
            node = Tensor.from_address(address)
            if ask and node.op == self._mul_mat:
                self._note(node.source(0))
        except Exception as error:  # noqa: BLE001 - cannot cross C: kept, and raised again where the batch was sent from
            self.failure = error
        return not ask

    def _note(self, weight: Tensor) -> None:
        name: str = weight.name.decode("utf-8", "replace")
        if BLOCK in name:
            self.by_weight[name] = CPU if "#" in name else _home(weight)  # CUDA0#blk.0.attn_k.weight#0 is a copy, made for one batch


def _write_a_token() -> tuple[dict[str, int], str]:
    homes, switch = _Homes(), InterruptSwitch()
    with resources.as_file(resources.files("qwq_local") / "demo" / "qwq-nano-Q8_0.gguf") as path:
        model = LlamaModel(path)
    vocabulary = LlamaVocabulary(model)
    context = LlamaContext(model, _SHAPE, "native", switch, homes.listener)
    tokens = vocabulary.tokenize(PROMPT)
    context.decode([BatchToken(token, i, 0, wants_logits=i == len(tokens) - 1) for i, token in enumerate(tokens)])
    if homes.failure:
        raise homes.failure
    logits = context.logits(len(tokens) - 1, vocabulary.n_tokens)
    if not all(map(math.isfinite, logits)):
        raise DecodeError("What it computes is NaN or infinite.")
    text = vocabulary.piece(logits.index(max(logits))).decode("utf-8", "replace")
    context.close()
    model.close()
    return dict(Counter(homes.by_weight.values())), text


def _home(weight: Tensor) -> str:
    """The device whose memory a tensor stands in; the RAM that a GPU's backend pins for the CPU's weights is the CPU's."""
    kind = ggml().ggml_backend_buffer_get_type(weight.buffer)
    device = None if ggml().ggml_backend_buft_is_host(kind) else ggml().ggml_backend_buft_get_device(kind)
    return (ggml().ggml_backend_dev_name(device) or b"").decode("utf-8", "replace") if device else CPU


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(describe_trial())}\n")  # in a line of its own, whatever a library has printed
