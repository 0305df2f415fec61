"""Folders full of models for tests: QwQ-32B-shaped files of a few MB on the disk, vocabulary included."""

from __future__ import annotations

from pathlib import Path

from qwq_convert.header import encode_header
from qwq_convert.metadata import KeyValue
from qwq_local import card
from qwq_local.gguf import padded
from qwq_local.quants import find_quantization, tensor_bytes

TENSORS = {"token_embd.weight": (card.N_VOCAB, card.N_EMBD)}


def write_model(
    path: Path, quantization: str = "Q8_0", *, n_tokens: int = 4, architecture: str = "qwen2", name: str = "QwQ 32B", is_real: bool = True
) -> Path:
    """A GGUF file with one tensor, as a hole where it is not `is_real`; `n_tokens` is the length of its vocabulary."""
    chosen = find_quantization(quantization)
    shapes = {name: shape if not is_real else (2, 32) for name, shape in TENSORS.items()}
    types = dict.fromkeys(shapes, chosen.base if chosen.base.block_size <= 32 or not is_real else find_quantization("F32").base)
    metadata = [
        KeyValue("general.architecture", "string", architecture),
        KeyValue("general.name", "string", name),
        KeyValue("general.file_type", "uint32", chosen.file_type),
        KeyValue("qwen2.context_length", "uint32", 131_072),
        KeyValue("tokenizer.ggml.tokens", "strings", [f"token {n}" for n in range(n_tokens)]),
        KeyValue("tokenizer.ggml.merges", "strings", [f"tok en{n}" for n in range(n_tokens)]),
    ]
    header = encode_header(metadata, shapes, types)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(padded(tensor_bytes(types[name], shape)) for name, shape in shapes.items()))
    return path
