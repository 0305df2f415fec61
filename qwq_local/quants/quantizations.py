"""The quantizations by name: the type of most of a model's tensors, and which get another (data; `choice` applies it).

The numbers of file types are those of `enum llama_ftype` (include/llama.h). The mixtures are those of src/llama-quant.cpp
(`llama_ftype_get_default_type`, `llama_tensor_get_type_impl`), for Qwen2 models: no experts, and queries, keys and values apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

from qwq_local.errors import SettingsError
from qwq_local.quants.tensor_types import (
    BF16,
    F16,
    F32,
    IQ1_M,
    IQ1_S,
    IQ2_S,
    IQ2_XS,
    IQ2_XXS,
    IQ3_S,
    IQ3_XXS,
    IQ4_NL,
    IQ4_XS,
    Q2_K,
    Q3_K,
    Q4_0,
    Q4_1,
    Q4_K,
    Q5_0,
    Q5_1,
    Q5_K,
    Q6_K,
    Q8_0,
    TensorType,
)

Kind: TypeAlias = Literal["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
"""What a layer's matrix is for, as its name in GGUF has it."""


@dataclass(frozen=True)
class Place:
    """Where a layer's matrix stands: the `index`-th of `count` of its kind, in a model with so many query heads to a key/value head."""

    index: int
    count: int
    queries_per_key: int
    has_imatrix: bool


When: TypeAlias = Callable[[Place], bool]


def _everywhere(_: Place) -> bool:
    return True


def _first(n: int) -> When:
    return lambda place: place.index < n


def _first_part(parts: int) -> When:
    return lambda place: place.index < place.count // parts


def _middle(place: Place) -> bool:
    return place.count // 8 <= place.index < 7 * place.count // 8


def _in_need_of_bits(place: Place) -> bool:
    """The first and the last eighth, and each third one between them (`use_more_bits`)."""
    return not _middle(place) or (place.index - place.count // 8) % 3 == 2


def _shared_widely(place: Place) -> bool:
    """So many queries share a value matrix that it is small beside the others."""
    return place.queries_per_key >= 4


def _with_imatrix(place: Place) -> bool:
    return place.has_imatrix


def _without_imatrix(place: Place) -> bool:
    return not place.has_imatrix


def _both(one: When, other: When) -> When:
    return lambda place: one(place) and other(place)


@dataclass(frozen=True)
class Rule:
    """Matrices of this kind get this type `when` they stand so."""

    kind: Kind
    type: TensorType
    when: When = _everywhere


@dataclass(frozen=True)
class Quantization:
    """A name people ask for, and what it means.

    `file_type` is what `general.file_type` says, `base` the type of most tensors, `output` and `embedding` those of these two matrices
    (None: `base`); of `rules` the first that fits a tensor counts.
    """

    name: str
    file_type: int
    base: TensorType
    output: TensorType = Q6_K
    embedding: TensorType | None = None
    rules: tuple[Rule, ...] = ()


def _very_low(
    name: str, file_type: int, base: TensorType, better: TensorType, embedding: TensorType, attention: TensorType
) -> Quantization:
    """What those below 3 bits have in common; `better` is for what most needs it, `attention` for the attention's output."""
    rules = (
        Rule("attn_v", Q4_K, _shared_widely),
        Rule("attn_v", better),
        Rule("ffn_down", better, _first_part(8)),
        Rule("attn_output", attention),
    )
    return Quantization(name, file_type, base, Q5_K, embedding, rules)


_IQ3_XXS_RULES = (
    Rule("attn_v", Q4_K, _shared_widely),
    Rule("attn_v", IQ3_S, _without_imatrix),
    Rule("attn_q", IQ2_S),
    Rule("attn_k", IQ2_S),
    Rule("attn_output", IQ3_S),
    Rule("ffn_down", Q4_K, _both(_without_imatrix, _first_part(8))),
    Rule("ffn_down", Q3_K, _without_imatrix),
)
_IQ3_XS_RULES = (
    Rule("attn_v", Q4_K, _shared_widely),
    Rule("attn_q", IQ3_XXS),
    Rule("attn_k", IQ3_XXS),
    Rule("ffn_gate", IQ3_XXS, _middle),
    Rule("ffn_up", IQ3_XXS, _middle),
)
_IQ3_M_RULES = (Rule("attn_v", Q4_K), Rule("attn_output", Q4_K), Rule("ffn_down", Q4_K, _first_part(8)))
_IQ4_RULES = (Rule("attn_v", Q5_K, _shared_widely), Rule("ffn_down", Q5_K, _both(_without_imatrix, _first_part(8))))
_Q2_K_RULES = (Rule("attn_v", Q4_K, _shared_widely), Rule("attn_v", Q3_K), Rule("attn_output", Q3_K), Rule("ffn_down", Q3_K))
_Q2_K_S_RULES = (Rule("attn_v", Q4_K, _shared_widely), Rule("ffn_down", Q4_K, _first_part(8)))
_Q3_K_M_RULES = (
    Rule("attn_v", Q5_K, _first(2)),
    Rule("attn_v", Q4_K),
    Rule("attn_output", Q4_K),
    Rule("ffn_down", Q5_K, _first_part(16)),
    Rule("ffn_down", Q4_K),
)
_Q3_K_L_RULES = (Rule("attn_v", Q5_K), Rule("attn_output", Q5_K), Rule("ffn_down", Q5_K))
_Q4_K_S_RULES = (Rule("attn_v", Q5_K, _first(4)), Rule("ffn_down", Q5_K, _first_part(8)))
_MORE_BITS_RULES = (Rule("attn_v", Q6_K, _in_need_of_bits), Rule("ffn_down", Q6_K, _in_need_of_bits))


def _craziness_guard(better: TensorType) -> tuple[Rule, ...]:
    """The first of these matrices can go wrong with an importance matrix in types without a minimum."""
    return (Rule("ffn_down", better, _both(_with_imatrix, _first_part(8))),)


QUANTIZATIONS: Mapping[str, Quantization] = {
    quantization.name: quantization
    for quantization in (
        Quantization("F32", 0, F32, F32),
        Quantization("BF16", 32, BF16, BF16),
        Quantization("F16", 1, F16, F16),
        Quantization("Q8_0", 7, Q8_0, Q8_0),
        Quantization("Q6_K", 18, Q6_K),
        Quantization("Q5_K_M", 17, Q5_K, rules=_MORE_BITS_RULES),
        Quantization("Q5_K_S", 16, Q5_K),
        Quantization("Q5_0", 8, Q5_0, rules=_craziness_guard(Q5_1)),
        Quantization("Q4_K_M", 15, Q4_K, rules=_MORE_BITS_RULES),
        Quantization("Q4_K_S", 14, Q4_K, rules=_Q4_K_S_RULES),
        Quantization("Q4_0", 2, Q4_0, rules=_craziness_guard(Q4_1)),
        Quantization("IQ4_NL", 25, IQ4_NL, rules=_IQ4_RULES),
        Quantization("IQ4_XS", 30, IQ4_XS, rules=_IQ4_RULES),
        Quantization("Q3_K_L", 13, Q3_K, rules=_Q3_K_L_RULES),
        Quantization("Q3_K_M", 12, Q3_K, rules=_Q3_K_M_RULES),
        Quantization("IQ3_M", 27, IQ3_S, rules=_IQ3_M_RULES),
        Quantization("IQ3_S", 26, IQ3_S, rules=(Rule("attn_v", Q4_K, _shared_widely),)),
        Quantization("Q3_K_S", 11, Q3_K),
        Quantization("IQ3_XS", 22, IQ3_S, rules=_IQ3_XS_RULES),
        Quantization("IQ3_XXS", 23, IQ3_XXS, Q5_K, IQ3_S, _IQ3_XXS_RULES),
        Quantization("Q2_K", 10, Q2_K, rules=_Q2_K_RULES),
        Quantization("Q2_K_S", 21, Q2_K, rules=_Q2_K_S_RULES),
        _very_low("IQ2_M", 29, IQ2_S, better=IQ3_S, embedding=IQ3_S, attention=IQ3_S),
        _very_low("IQ2_S", 28, IQ2_XS, better=IQ3_S, embedding=IQ3_S, attention=IQ3_S),
        _very_low("IQ2_XS", 20, IQ2_XS, better=Q2_K, embedding=Q2_K, attention=IQ2_XS),
        _very_low("IQ2_XXS", 19, IQ2_XXS, better=Q2_K, embedding=Q2_K, attention=IQ2_XXS),
        _very_low("IQ1_M", 31, IQ1_M, better=Q2_K, embedding=Q2_K, attention=IQ2_XXS),
        _very_low("IQ1_S", 24, IQ1_S, better=Q2_K, embedding=Q2_K, attention=IQ2_XXS),
    )
}
"""The quantizations that can be made, by name, those that keep most first."""


def find_quantization(name: str) -> Quantization:
    """The quantization of that name, in any case.

    Raises:
        SettingsError: there is none; the hint suggests the nearest.
    """
    wanted = name.upper()
    if wanted in QUANTIZATIONS:
        return QUANTIZATIONS[wanted]
    near = get_close_matches(wanted, QUANTIZATIONS, n=1)
    suggestion = f"Did you mean {near[0]}? " if near else ""
    raise SettingsError(f"There is no quantization {name!r}.", hint=f"{suggestion}Known: {', '.join(QUANTIZATIONS)}.")
