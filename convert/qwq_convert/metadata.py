"""Every metadata value of an output (pure): keys, types and order as convert_hf_to_gguf.py writes them.

Keys are those of gguf-py/gguf/constants.py (`Keys`), their types those of gguf-py/gguf/gguf_writer.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qwq_convert.config import ModelConfig
from qwq_convert.vocab import Vocabulary
from qwq_local import card
from qwq_local.quants import Quantization

Kind: TypeAlias = Literal["uint16", "uint32", "int32", "float32", "bool", "string", "int32s", "strings"]

QUANTIZATION_VERSION = 2
"""GGML_QNT_VERSION (ggml/include/ggml.h)."""

_YARN_KEYS = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


@dataclass(frozen=True)
class KeyValue:
    """One metadata value, and the type it is written with."""

    key: str
    kind: Kind
    value: int | float | str | Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class YarnChoice:
    """Whether YaRN is written into the file; `factor` None takes config.json's own, else QwQ's 4."""

    enabled: bool = True
    factor: float | None = None


@dataclass(frozen=True)
class Model:
    """What the metadata tells of.

    `about` is what its `general.*` says of the model's origin, `further` what comes last: the source, and an importance matrix.
    """

    about: Sequence[KeyValue]
    config: ModelConfig
    yarn: YarnChoice
    vocabulary: Vocabulary
    chat_template: str
    further: Sequence[KeyValue] = ()


def assemble(model: Model, quantization: Quantization) -> tuple[KeyValue, ...]:
    """All the metadata of one file, general.architecture first.

    With YaRN, the context length is what YaRN reaches: 4 x 32768 for QwQ-32B. Without, it is config.json's own, as with llama.cpp.
    """
    return (
        KeyValue("general.architecture", "string", card.ARCHITECTURE),
        KeyValue("general.type", "string", "model"),
        *_with_sampling(model.about),
        *_model_values(model.config, model.yarn),
        KeyValue("general.file_type", "uint32", quantization.file_type),
        KeyValue("general.quantization_version", "uint32", QUANTIZATION_VERSION),
        *_tokenizer_values(model.vocabulary, model.chat_template),
        *model.further,
    )


def original_context(config: ModelConfig) -> int:
    """Tokens the model reads without YaRN.

    QwQ-32B's config.json says 131072 or 40960 in max_position_embeddings, by its age, and means 32768 with either.
    """
    if config.yarn.original_context is not None:
        return config.yarn.original_context
    return card.ORIGINAL_CONTEXT if config.is_qwq_32b else config.context


def _with_sampling(about: Sequence[KeyValue]) -> tuple[KeyValue, ...]:
    """What generation_config.json leaves open is filled in from the model's card, since other runtimes' own defaults do not suit."""
    recommended = (
        KeyValue("general.sampling.top_k", "int32", card.TOP_K),
        KeyValue("general.sampling.top_p", "float32", card.TOP_P),
        KeyValue("general.sampling.min_p", "float32", card.MIN_P),
        KeyValue("general.sampling.temp", "float32", card.TEMPERATURE),
    )
    given = {entry.key for entry in about}
    return (*(entry for entry in recommended if entry.key not in given), *about)


def _model_values(config: ModelConfig, yarn: YarnChoice) -> list[KeyValue]:
    prefix = card.ARCHITECTURE
    factor = (yarn.factor or config.yarn.factor or card.YARN_FACTOR) if yarn.enabled else None
    context = round(original_context(config) * factor) if factor else config.context
    values = [
        KeyValue(f"{prefix}.block_count", "uint32", config.layers),
        KeyValue(f"{prefix}.context_length", "uint32", context),
        KeyValue(f"{prefix}.embedding_length", "uint32", config.hidden),
        KeyValue(f"{prefix}.feed_forward_length", "uint32", config.intermediate),
        KeyValue(f"{prefix}.attention.head_count", "uint32", config.heads),
        KeyValue(f"{prefix}.attention.head_count_kv", "uint32", config.key_value_heads),
    ]
    if factor:
        values += [
            KeyValue(f"{prefix}.rope.scaling.type", "string", "yarn"),
            KeyValue(f"{prefix}.rope.scaling.factor", "float32", factor),
            KeyValue(f"{prefix}.rope.scaling.original_context_length", "uint32", original_context(config)),
        ]
        values += [
            KeyValue(f"{prefix}.rope.scaling.{_YARN_KEYS[name]}", "float32", value) for name, value in (config.yarn.extras or {}).items()
        ]
    values += [
        KeyValue(f"{prefix}.rope.freq_base", "float32", config.rope_theta),
        KeyValue(f"{prefix}.attention.layer_norm_rms_epsilon", "float32", config.norm_epsilon),
    ]
    if config.head_size is not None:
        values += [
            KeyValue(f"{prefix}.attention.key_length", "uint32", config.head_size),
            KeyValue(f"{prefix}.attention.value_length", "uint32", config.head_size),
        ]
    return values


def _tokenizer_values(vocabulary: Vocabulary, chat_template: str) -> list[KeyValue]:
    values = [
        KeyValue("tokenizer.ggml.model", "string", "gpt2"),
        KeyValue("tokenizer.ggml.pre", "string", card.PRETOKENIZER),
        KeyValue("tokenizer.ggml.tokens", "strings", vocabulary.tokens),
        KeyValue("tokenizer.ggml.token_type", "int32s", vocabulary.types),
        KeyValue("tokenizer.ggml.merges", "strings", vocabulary.merges),
    ]
    values += [
        KeyValue(f"tokenizer.ggml.{_ROLE_KEYS.get(role, role)}_token_id", "uint32", token_id)
        for role, token_id in vocabulary.special_ids.items()
    ]
    values += [
        KeyValue(f"tokenizer.ggml.add_{role}_token", "bool", wanted)
        for role, wanted in vocabulary.added_by_default.items()
        if role in _ADDABLE_ROLES
    ]
    if chat_template:
        values.append(KeyValue("tokenizer.chat_template", "string", chat_template))
    return values


_ROLE_KEYS = {"unk": "unknown", "sep": "seperator", "pad": "padding"}
"""The key of the separator is spelt so in the format."""
_ADDABLE_ROLES = ("bos", "eos", "sep")
