"""GGUF files that run like a model of their shape and say nothing: random rows of each type, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from qwq_convert.header import encode_header
from qwq_convert.metadata import KeyValue
from qwq_local.gguf import GgufArray, padded, read_header
from qwq_local.llama import quantize_rows
from qwq_local.models.inventory import demo_model
from qwq_local.plan.shape import ModelShape
from qwq_local.quants import F32, TensorType, choose_types, find_quantization, tensor_bytes
from tests.ghosts import QWEN_0_5B, QWEN_1_5B, shape_metadata

SAMPLE_ROWS = 32
TINY: Final = replace(QWEN_0_5B, name="tiny", n_layers=2, n_embd=64, n_ff=256, n_heads=1, n_kv_heads=1)
SHAPES: Final = {"tiny": TINY, "0.5B": QWEN_0_5B, "1.5B": QWEN_1_5B}


def metadata(shape: ModelShape) -> list[KeyValue]:
    """What llama.cpp needs to load it; the vocabulary is the demo model's, filled up with words of no meaning."""
    demo = read_header(demo_model().path, arrays=True)

    def items(key: str) -> list[object]:
        array = demo.metadata[f"tokenizer.ggml.{key}"]
        assert isinstance(array, GgufArray), key
        return list(array.items or ())

    filling = [f"filling{i}" for i in range(shape.n_vocab - len(items("tokens")))]
    return [
        *shape_metadata(shape),
        KeyValue("tokenizer.ggml.model", "string", "gpt2"),
        KeyValue("tokenizer.ggml.pre", "string", "qwen2"),
        KeyValue("tokenizer.ggml.tokens", "strings", [*map(str, items("tokens")), *filling]),
        KeyValue("tokenizer.ggml.token_type", "int32s", [*(int(str(kind)) for kind in items("token_type")), *[1] * len(filling)]),
        KeyValue("tokenizer.ggml.merges", "strings", [str(merge) for merge in items("merges")]),
        KeyValue("tokenizer.ggml.eos_token_id", "uint32", demo.integer("tokenizer.ggml.eos_token_id")),
    ]


def write_model(path: Path, shape: ModelShape, quantization: str) -> None:
    """Write a file of that shape and quantization."""
    shapes = shape.tensor_shapes()
    types = choose_types(find_quantization(quantization), shapes, shape.traits)
    with path.open("wb") as file:
        file.write(encode_header(metadata(shape), shapes, types))
        for name, dimensions in shapes.items():
            file.write(filled(types[name], dimensions))


def filled(kind: TensorType, dimensions: Sequence[int]) -> bytes:
    """A tensor of random rows, as it stands in a file; `dimensions` have the row length last."""
    size_bytes = tensor_bytes(kind, dimensions)
    block = random_rows(kind, dimensions[-1])
    return (block * (size_bytes // len(block) + 1))[:size_bytes].ljust(padded(size_bytes), b"\0")


@cache
def random_rows(kind: TensorType, length: int) -> bytes:
    """SAMPLE_ROWS rows of so many elements, always the same ones."""
    sample = np.random.default_rng(0).normal(0, 0.02, (SAMPLE_ROWS, length)).astype(np.float32)
    return sample.tobytes() if kind is F32 else quantize_rows(sample, kind, np.ones(length, np.float32)).tobytes()
