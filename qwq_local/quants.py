"""The quantizations made and run: GGUF's tensor types, and what a quantization's name means for each tensor.

Type numbers and block sizes are those of `enum ggml_type` (ggml/include/ggml.h) and `ggml_type_traits` (ggml/src/ggml.c); file types
those of `enum llama_ftype` (include/llama.h).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from qwq_local.errors import SettingsError


@dataclass(frozen=True)
class TensorType:
    """How one tensor's numbers are stored: blocks of `block_size` elements in `block_bytes` bytes."""

    name: str
    id: int
    block_size: int
    block_bytes: int

    def row_bytes(self, n_elements: int) -> int:
        """Bytes of a row; raises ValueError where the row is no whole number of blocks."""
        if n_elements % self.block_size:
            raise ValueError(f"a row of {n_elements} elements is no whole number of {self.name} blocks of {self.block_size}")
        return n_elements // self.block_size * self.block_bytes


F32 = TensorType("F32", 0, 1, 4)
F16 = TensorType("F16", 1, 1, 2)
Q8_0 = TensorType("Q8_0", 8, 32, 34)
BF16 = TensorType("BF16", 30, 1, 2)

TENSOR_TYPES: Mapping[int, TensorType] = {
    tensor_type.id: tensor_type
    for tensor_type in (
        F32,
        F16,
        TensorType("Q4_0", 2, 32, 18),
        TensorType("Q4_1", 3, 32, 20),
        TensorType("Q5_0", 6, 32, 22),
        TensorType("Q5_1", 7, 32, 24),
        Q8_0,
        TensorType("Q8_1", 9, 32, 36),
        TensorType("Q2_K", 10, 256, 84),
        TensorType("Q3_K", 11, 256, 110),
        TensorType("Q4_K", 12, 256, 144),
        TensorType("Q5_K", 13, 256, 176),
        TensorType("Q6_K", 14, 256, 210),
        TensorType("Q8_K", 15, 256, 292),
        TensorType("IQ2_XXS", 16, 256, 66),
        TensorType("IQ2_XS", 17, 256, 74),
        TensorType("IQ3_XXS", 18, 256, 98),
        TensorType("IQ1_S", 19, 256, 50),
        TensorType("IQ4_NL", 20, 32, 18),
        TensorType("IQ3_S", 21, 256, 110),
        TensorType("IQ2_S", 22, 256, 82),
        TensorType("IQ4_XS", 23, 256, 136),
        TensorType("I8", 24, 1, 1),
        TensorType("I16", 25, 1, 2),
        TensorType("I32", 26, 1, 4),
        TensorType("I64", 27, 1, 8),
        TensorType("F64", 28, 1, 8),
        TensorType("IQ1_M", 29, 256, 56),
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


@dataclass(frozen=True)
class Quantization:
    """A name people ask for, the number that `general.file_type` gives it, and the type of most of its tensors."""

    name: str
    file_type: int
    base: TensorType


QUANTIZATIONS: Mapping[str, Quantization] = {
    quantization.name: quantization
    for quantization in (
        Quantization("F32", 0, F32),
        Quantization("BF16", 32, BF16),
        Quantization("F16", 1, F16),
        Quantization("Q8_0", 7, Q8_0),
    )
}
"""The quantizations that can be made, largest first."""


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


def choose_types(quantization: Quantization, shapes: Mapping[str, Sequence[int]]) -> dict[str, TensorType]:
    """The type of every tensor of one file.

    `shapes` gives, by GGUF name and in the order of the file, the elements of each dimension with the row length *last*. The whole table
    is asked for at once because a tensor's type may depend on its place among the others. Vectors and norms stay F32, and rows that are
    no whole number of blocks become F16: so does llama.cpp's conversion/base.py (`ModelBase.prepare_tensors`).
    """
    return {name: _choose_type(quantization, name, shape) for name, shape in shapes.items()}


def _choose_type(quantization: Quantization, name: str, shape: Sequence[int]) -> TensorType:
    if len(shape) == 1 or name.endswith("_norm.weight"):
        return F32
    return F16 if shape[-1] % quantization.base.block_size else quantization.base


def tensor_bytes(tensor_type: TensorType, shape: Iterable[int]) -> int:
    """Bytes of a tensor whose dimensions are `shape`, the row length *last*; raises ValueError as `TensorType.row_bytes` does."""
    *outer, row_length = shape
    return math.prod(outer) * tensor_type.row_bytes(row_length)
