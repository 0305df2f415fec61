"""GGUF files of any shape and quantization without their weights: a header, and a hole as long as the weights would be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from qwq_convert.header import encode_header
from qwq_convert.metadata import KeyValue
from qwq_local.card import ORIGINAL_CONTEXT
from qwq_local.gguf import padded
from qwq_local.plan.shape import QWQ_32B, ModelShape
from qwq_local.quants import choose_types, find_quantization, tensor_bytes

QWEN_0_5B: Final = ModelShape(
    name="Qwen2.5-0.5B", n_layers=24, n_embd=896, n_ff=4864, n_heads=14, n_kv_heads=2, head_size=64, n_vocab=151_936,
    tied=True,
)  # fmt: skip
QWEN_1_5B: Final = replace(QWEN_0_5B, name="Qwen2.5-1.5B", n_layers=28, n_embd=1536, n_ff=8960, n_heads=12, head_size=128)
QWEN_7B: Final = ModelShape(
    name="Qwen2.5-7B", n_layers=28, n_embd=3584, n_ff=18_944, n_heads=28, n_kv_heads=4, head_size=128, n_vocab=152_064,
    tied=False,
)  # fmt: skip
SHAPES: Final = {shape.name: shape for shape in (QWQ_32B, QWEN_7B, QWEN_1_5B, QWEN_0_5B)}


def shape_metadata(shape: ModelShape) -> list[KeyValue]:
    """What llama.cpp must know of a model besides its vocabulary."""
    return [
        KeyValue("general.architecture", "string", "qwen2"),
        KeyValue("general.name", "string", shape.name),
        KeyValue("qwen2.block_count", "uint32", shape.n_layers),
        KeyValue("qwen2.context_length", "uint32", ORIGINAL_CONTEXT),
        KeyValue("qwen2.embedding_length", "uint32", shape.n_embd),
        KeyValue("qwen2.feed_forward_length", "uint32", shape.n_ff),
        KeyValue("qwen2.attention.head_count", "uint32", shape.n_heads),
        KeyValue("qwen2.attention.head_count_kv", "uint32", shape.n_kv_heads),
        KeyValue("qwen2.attention.layer_norm_rms_epsilon", "float32", 1e-5),
    ]


def write_ghost(path: Path, shape: ModelShape, quantization: str) -> Path:
    """Write a file that llama.cpp loads under `no_alloc`; returns `path`. It takes some kB of the disk, however long it is."""
    chosen = find_quantization(quantization)
    shapes = shape.tensor_shapes()
    types = choose_types(chosen, shapes, shape.traits)
    metadata = [
        *shape_metadata(shape),
        KeyValue("general.file_type", "uint32", chosen.file_type),
        KeyValue("qwen2.vocab_size", "uint32", shape.n_vocab),
        KeyValue("tokenizer.ggml.model", "string", "no_vocab"),
    ]
    header = encode_header(metadata, shapes, types)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(padded(tensor_bytes(types[name], each)) for name, each in shapes.items()))
    return path
