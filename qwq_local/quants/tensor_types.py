"""GGUF's tensor types.

Numbers and block sizes are those of `enum ggml_type` (ggml/include/ggml.h) and `ggml_type_traits` (ggml/src/ggml.c).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class TensorType:
    """How one tensor's numbers are stored: blocks of `block_size` elements in `block_bytes` bytes."""

    name: str
    id: int
    block_size: int
    block_bytes: int

    @property
    def is_quantized(self) -> bool:
        """Whether its elements share a block with others, and are no plain numbers."""
        return self.block_size > 1

    def row_bytes(self, n_elements: int) -> int:
        """Bytes of a row; raises ValueError where the row is no whole number of blocks."""
        if n_elements % self.block_size:
            raise ValueError(f"a row of {n_elements} elements is no whole number of {self.name} blocks of {self.block_size}")
        return n_elements // self.block_size * self.block_bytes


F32 = TensorType("F32", 0, 1, 4)
F16 = TensorType("F16", 1, 1, 2)
Q4_0 = TensorType("Q4_0", 2, 32, 18)
Q4_1 = TensorType("Q4_1", 3, 32, 20)
Q5_0 = TensorType("Q5_0", 6, 32, 22)
Q5_1 = TensorType("Q5_1", 7, 32, 24)
Q8_0 = TensorType("Q8_0", 8, 32, 34)
Q2_K = TensorType("Q2_K", 10, 256, 84)
Q3_K = TensorType("Q3_K", 11, 256, 110)
Q4_K = TensorType("Q4_K", 12, 256, 144)
Q5_K = TensorType("Q5_K", 13, 256, 176)
Q6_K = TensorType("Q6_K", 14, 256, 210)
IQ2_XXS = TensorType("IQ2_XXS", 16, 256, 66)
IQ2_XS = TensorType("IQ2_XS", 17, 256, 74)
IQ3_XXS = TensorType("IQ3_XXS", 18, 256, 98)
IQ1_S = TensorType("IQ1_S", 19, 256, 50)
IQ4_NL = TensorType("IQ4_NL", 20, 32, 18)
IQ3_S = TensorType("IQ3_S", 21, 256, 110)
IQ2_S = TensorType("IQ2_S", 22, 256, 82)
IQ4_XS = TensorType("IQ4_XS", 23, 256, 136)
IQ1_M = TensorType("IQ1_M", 29, 256, 56)
BF16 = TensorType("BF16", 30, 1, 2)

TENSOR_TYPES: Mapping[int, TensorType] = {
    tensor_type.id: tensor_type
    for tensor_type in (
        F32,
        F16,
        Q4_0,
        Q4_1,
        Q5_0,
        Q5_1,
        Q8_0,
        TensorType("Q8_1", 9, 32, 36),
        Q2_K,
        Q3_K,
        Q4_K,
        Q5_K,
        Q6_K,
        TensorType("Q8_K", 15, 256, 292),
        IQ2_XXS,
        IQ2_XS,
        IQ3_XXS,
        IQ1_S,
        IQ4_NL,
        IQ3_S,
        IQ2_S,
        IQ4_XS,
        TensorType("I8", 24, 1, 1),
        TensorType("I16", 25, 1, 2),
        TensorType("I32", 26, 1, 4),
        TensorType("I64", 27, 1, 8),
        TensorType("F64", 28, 1, 8),
        IQ1_M,
        BF16,
        TensorType("TQ1_0", 34, 256, 54),
        TensorType("TQ2_0", 35, 256, 66),
        TensorType("MXFP4", 39, 32, 17),
        TensorType("NVFP4", 40, 64, 36),
        TensorType("Q1_0", 41, 128, 18),
        TensorType("Q2_0", 42, 64, 18),
    )
}
"""Every type that a tensor in a GGUF file can have, by its number in the file."""

_NO_WEIGHTS = (9, 15, 24, 25, 26, 27, 28)
WEIGHT_TYPES: Final[frozenset[TensorType]] = frozenset(found for number, found in TENSOR_TYPES.items() if number not in _NO_WEIGHTS)
"""Those that a matrix can have which llama.cpp multiplies: not integers and doubles, nor Q8_1 and Q8_K, which are for what is computed."""


CACHE_TYPES: Final[Mapping[str, TensorType]] = {found.name.lower(): found for found in (F32, F16, Q8_0, Q4_0)}
"""Those that a KV cache can have, as settings call them (`settings.KvType`)."""


def tensor_bytes(tensor_type: TensorType, shape: Iterable[int]) -> int:
    """Bytes of a tensor whose dimensions are `shape`, the row length *last*; raises ValueError as `TensorType.row_bytes` does."""
    *outer, row_length = shape
    return math.prod(outer) * tensor_type.row_bytes(row_length)
