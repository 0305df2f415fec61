"""Tensor tables of real and made-up models, from their config.json alone, and types of tensors told in short."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from qwq_convert.config import ModelConfig, parse_config
from qwq_convert.mapping import expected_tensors
from qwq_local.quants import ModelTraits, TensorType
from qwq_local.quants.tensor_types import IQ4_XS, Q4_K, Q6_K, Q8_0

Shapes = dict[str, tuple[int, ...]]


def make_config(layers: int, hidden: int, intermediate: int, heads: tuple[int, int], vocabulary: int = 152064) -> dict[str, Any]:
    """A config.json; `heads` are those of queries and of keys."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "vocab_size": vocabulary,
        "max_position_embeddings": 40960,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }


CONFIGS: Mapping[str, ModelConfig] = {
    name: parse_config(document)
    for name, document in {
        "QwQ-32B": make_config(64, 5120, 27648, (40, 8)),
        "Qwen2.5-72B": make_config(80, 8192, 29568, (64, 8)),
        "Qwen2.5-0.5B": make_config(24, 896, 4864, (14, 2), 151936) | {"tie_word_embeddings": True},
        "Qwen1.5-14B": make_config(40, 5120, 13696, (40, 40)),
        "odd": make_config(3, 320, 336, (5, 1), 520),
    }.items()
}
"""What decides of types: many layers and few, keys shared by many queries or by one, tied embeddings, rows of no whole blocks."""


def shapes_of(config: ModelConfig) -> Shapes:
    """Every tensor's shape by its name in GGUF, the row length last."""
    return {tensor.target: tensor.shape for tensor in expected_tensors(config).values()}


def traits_of(config: ModelConfig) -> ModelTraits:
    return ModelTraits(config.layers, config.heads, config.key_value_heads)


OVERRIDES = ((r"blk\.[02]\.ffn_down", Q6_K), ("attn_v", IQ4_XS), ("token_embd", Q4_K), ("norm", Q8_0), ("ffn_down", Q8_0))
"""Patterns and types: the first of two that fit counts, one is without effect, and what is chosen so does not count among its kind."""

QWQ_32B = shapes_of(CONFIGS["QwQ-32B"])


def summarize(types: Mapping[str, TensorType]) -> dict[str, str]:
    """By kind of matrix its types, layer after layer, such as "2 Q6_K, 1 Q4_K"; vectors are left out."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    for name, tensor_type in types.items():
        if name.endswith(".weight") and not name.endswith("_norm.weight"):
            layer, _, kind = name.removeprefix("blk.").removesuffix(".weight").rpartition(".")
            kinds.setdefault(kind, []).append((int(layer or 0), tensor_type.name))
    return {kind: ", ".join(f"{len(list(run))} {name}" for name, run in groupby(name for _, name in sorted(kinds[kind]))) for kind in kinds}
