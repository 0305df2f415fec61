"""The shape of a model, from its config.json: transformers 4's keys and transformers 5's (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from qwq_convert.documents import Document
from qwq_local import card
from qwq_local.errors import ConversionError

ARCHITECTURE = "Qwen2ForCausalLM"
MAX_LAYERS = 1024
MAX_SIZE = 2**24
"""No dimension of such a model comes near; it keeps a wrong number from being built into tables."""

_PLAIN_ROPE = (None, "default")


@dataclass(frozen=True)
class ConfiguredYarn:
    """What config.json itself says of YaRN; None where it does not."""

    factor: float | None = None
    original_context: int | None = None
    extras: Mapping[str, float] | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Sizes are counts of elements, `context` is in tokens; `head_size` is None where it follows from `hidden` and `heads`."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int | None
    vocabulary: int
    context: int
    rope_theta: float
    norm_epsilon: float
    tied_embeddings: bool
    yarn: ConfiguredYarn

    @property
    def query_width(self) -> int:
        """Elements of all query heads of one token."""
        return self.heads * (self.head_size or self.hidden // self.heads)

    @property
    def key_value_width(self) -> int:
        """Elements of all key heads (or value heads) of one token."""
        return self.key_value_heads * (self.head_size or self.hidden // self.heads)

    @property
    def is_qwq_32b(self) -> bool:
        """Whether this is QwQ-32B's own shape (huggingface.co/Qwen/QwQ-32B, config.json)."""
        return (self.layers, self.hidden, self.intermediate, self.vocabulary) == (64, 5120, 27648, 152064)


def parse_config(document: Document) -> ModelConfig:
    """The model that a config.json describes.

    Raises:
        ConversionError: another architecture, weights that are quantized already, or a value that cannot be.
    """
    _require_architecture(document)
    rope = _section(document, "rope_parameters") or _section(document, "rope_scaling")
    config = ModelConfig(
        layers=_size(document, "num_hidden_layers", MAX_LAYERS),
        hidden=_size(document, "hidden_size"),
        intermediate=_size(document, "intermediate_size"),
        heads=_size(document, "num_attention_heads"),
        key_value_heads=_size(document, "num_key_value_heads"),
        head_size=_size(document, "head_dim") if document.get("head_dim") is not None else None,
        vocabulary=_size(document, "vocab_size"),
        context=_size(document, "max_position_embeddings"),
        rope_theta=_number(rope if "rope_theta" in rope else document, "rope_theta"),
        norm_epsilon=_number(document, "rms_norm_eps"),
        tied_embeddings=_flag(document, "tie_word_embeddings"),
        yarn=_yarn(rope),
    )
    if config.heads % config.key_value_heads:
        _refuse("num_key_value_heads", config.key_value_heads, f"no divisor of the {config.heads} heads")
    if config.head_size is None and config.hidden % config.heads:
        _refuse("num_attention_heads", config.heads, f"no divisor of the hidden size {config.hidden}")
    return config


def _require_architecture(document: Document) -> None:
    model_type, architectures = document.get("model_type"), document.get("architectures")
    if model_type != card.MODEL_TYPE:
        _refuse("model_type", model_type, f"no {card.MODEL_TYPE!r}", hint=f"Only {ARCHITECTURE} models can be converted.")
    if architectures != [ARCHITECTURE]:
        _refuse("architectures", architectures, f"no [{ARCHITECTURE!r}]", hint=f"Only {ARCHITECTURE} can be converted.")
    if quantized := _section(document, "quantization_config"):
        method = quantized.get("quant_method")
        _refuse("quantization_config", method, "a quantization", hint="Convert the original, unquantized checkpoint.")
    if document.get("use_sliding_window"):
        _refuse("use_sliding_window", True, "not supported by llama.cpp for this architecture")


def _yarn(rope: Document) -> ConfiguredYarn:
    rope_type = rope.get("rope_type", rope.get("type"))
    if rope_type in _PLAIN_ROPE:
        return ConfiguredYarn()
    if rope_type != "yarn":
        _refuse("rope_type", rope_type, "neither 'default' nor 'yarn'")
    original = "original_max_position_embeddings"
    return ConfiguredYarn(
        factor=_number(rope, "factor"),
        original_context=_size(rope, original) if original in rope else None,
        extras={key: _number(rope, key) for key in YARN_EXTRAS if rope.get(key) is not None},
    )


YARN_EXTRAS = ("extrapolation_factor", "attention_factor", "beta_fast", "beta_slow")
"""What else transformers knows of YaRN (modeling_rope_utils.py) and GGUF can carry."""


def _section(document: Document, key: str) -> Document:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse(key, value, "no JSON object")
    return value


def _size(document: Document, key: str, largest: int = MAX_SIZE) -> int:
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        _refuse(key, value, f"no whole number from 1 to {largest:,}")
    return value


def _number(document: Document, key: str) -> float:
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        _refuse(key, value, "no number above 0")
    return float(value)


def _flag(document: Document, key: str) -> bool:
    value = document.get(key, False)
    if not isinstance(value, bool):
        _refuse(key, value, "neither true nor false")
    return value


def _refuse(key: str, value: object, fault: str, hint: str = "Download the checkpoint's config.json again.") -> NoReturn:
    raise ConversionError(f"config.json: {key} is {value!r}, {fault}.", hint=hint)
