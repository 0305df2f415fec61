"""The type of every tensor of one file (pure), as llama.cpp's llama-quantize chooses it (src/llama-quant.cpp)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qwq_local.quants.quantizations import Place, Quantization
from qwq_local.quants.tensor_types import (
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
    Q4_K,
    Q5_0,
    Q5_1,
    Q5_K,
    Q6_K,
    Q8_0,
    TensorType,
)

Override: TypeAlias = tuple[re.Pattern[str], TensorType]
"""The type of the tensors in whose names the expression is found."""

OUTPUT: Final = "output.weight"
EMBEDDING: Final = "token_embd.weight"

_FALLBACKS: Final[Mapping[TensorType, TensorType]] = {
    **dict.fromkeys((IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_XS), IQ4_NL),
    **dict.fromkeys((Q2_K, Q3_K), Q4_0),
    Q4_K: Q5_0,
    Q5_K: Q5_1,
    Q6_K: Q8_0,
}
"""What a type becomes for rows that are no whole number of its blocks of 256 (`tensor_type_fallback`)."""

_VERY_LOW: Final = frozenset({IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S})
_BLIND_WITHOUT_IMATRIX: Final = _VERY_LOW | {IQ3_XXS}
_IMPOSSIBLE_WITHOUT_IMATRIX: Final = frozenset({IQ2_XXS, IQ2_XS, IQ1_S})
"""`ggml_quantize_requires_imatrix` (ggml/src/ggml.c)."""

_LAYERS_OF_70B: Final = 80
"""The count of layers by which llama.cpp knows Qwen2's 72B models (src/models/qwen2.cpp, LLM_TYPE_70B)."""


@dataclass(frozen=True)
class ModelTraits:
    """What of a model's shape the choice of types depends on; counts."""

    n_layers: int
    n_heads: int
    n_kv_heads: int


def choose_types(
    quantization: Quantization,
    shapes: Mapping[str, Sequence[int]],
    traits: ModelTraits,
    *,
    has_imatrix: bool = False,
    overrides: Sequence[Override] = (),
) -> dict[str, TensorType]:
    """The type of every tensor of one file, in the order of `shapes`.

    `shapes` gives, by GGUF name, the elements of each dimension with the row length *last*. Of `overrides` the first that fits counts;
    like llama-quantize's --tensor-type they say nothing of vectors, norms, and quantizations that are plain numbers (F32, BF16, F16).
    """
    chooser = _Chooser(quantization, shapes, traits, has_imatrix=has_imatrix, overrides=overrides)
    chosen = {name: chooser.choose(name) for name in sorted(shapes, key=_place_in_file)}
    return {name: chosen[name] for name in shapes}


def needs_imatrix(quantization: Quantization, types: Mapping[str, TensorType], covered: Container[str] = ()) -> str | None:
    """The first tensor whose type asks for an importance matrix (`tensor_requires_imatrix`) that has none for it, if there is one.

    `covered` are the tensors that the matrix at hand has values for.
    """
    return next((name for name, found in types.items() if name not in covered and _asks_for_imatrix(quantization, name, found)), None)


def _asks_for_imatrix(quantization: Quantization, name: str, tensor_type: TensorType) -> bool:
    if tensor_type in _IMPOSSIBLE_WITHOUT_IMATRIX:
        return True
    if name in {OUTPUT, EMBEDDING}:
        return False
    return tensor_type in _BLIND_WITHOUT_IMATRIX or (tensor_type is Q2_K and quantization.name == "Q2_K_S")


def _place_in_file(name: str) -> tuple[int, str]:
    """llama-quantize goes through the tensors layer by layer (`weight_name_comparer` in src/llama-model-loader.h)."""
    layer = re.match(r"blk\.(\d+)\.", name)
    return (int(layer[1]) if layer else -1, name)


def _kind(name: str) -> str:
    """`attn_v` of blk.0.attn_v.weight."""
    return name.removesuffix(".weight").rpartition(".")[2]


class _Chooser:
    """Goes through the tensors in llama.cpp's order, because a type depends on how many of its kind came before."""

    def __init__(
        self,
        quantization: Quantization,
        shapes: Mapping[str, Sequence[int]],
        traits: ModelTraits,
        *,
        has_imatrix: bool,
        overrides: Sequence[Override],
    ) -> None:
        self._quantization = quantization
        self._shapes = shapes
        self._traits = traits
        self._has_imatrix = has_imatrix
        self._overrides = overrides
        self._is_tied = OUTPUT not in shapes
        self._n_values = sum(_kind(name) == "attn_v" for name in shapes)
        self._seen: Counter[str] = Counter()

    def choose(self, name: str) -> TensorType:
        shape = self._shapes[name]
        if len(shape) < 2 or not name.endswith(".weight") or name.endswith("_norm.weight"):
            return F32
        if not self._quantization.base.is_quantized:
            return self._quantization.base
        given = next((tensor_type for pattern, tensor_type in self._overrides if pattern.search(name)), None)
        return _that_fits(given or self._preferred(name, shape[-1]), shape[-1])

    def _preferred(self, name: str, row_length: int) -> TensorType:
        quantization = self._quantization
        if name == OUTPUT or (name == EMBEDDING and self._is_tied):
            return Q8_0 if row_length % quantization.base.block_size else quantization.output
        if name == EMBEDDING:
            return quantization.embedding or quantization.base
        return self._by_rule(_kind(name))

    def _by_rule(self, kind: str) -> TensorType:
        base, traits = self._quantization.base, self._traits
        count = self._n_values if kind == "attn_v" else traits.n_layers
        place = Place(self._seen[kind], count, traits.n_heads // traits.n_kv_heads, self._has_imatrix)
        self._seen[kind] += 1
        chosen = next((rule.type for rule in self._quantization.rules if rule.kind == kind and rule.when(place)), base)
        if kind == "attn_v" and traits.n_layers == _LAYERS_OF_70B and base not in _VERY_LOW and chosen in {Q3_K, Q4_K}:
            return Q5_K
        return chosen


def _that_fits(tensor_type: TensorType, row_length: int) -> TensorType:
    if row_length % tensor_type.block_size == 0:
        return tensor_type
    smaller = _FALLBACKS.get(tensor_type, tensor_type)
    return F16 if row_length % smaller.block_size else smaller
