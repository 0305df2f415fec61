"""The quantizations made and run: GGUF's tensor types, and what a quantization's name means for each tensor."""

from __future__ import annotations

from qwq_local.quants.choice import ModelTraits, Override, choose_types, needs_imatrix
from qwq_local.quants.quantizations import QUANTIZATIONS, Quantization, find_quantization
from qwq_local.quants.tensor_types import (
    BF16,
    CACHE_TYPES,
    F16,
    F32,
    Q8_0,
    TENSOR_TYPES,
    WEIGHT_TYPES,
    TensorType,
    tensor_bytes,
)

__all__ = [
    "BF16",
    "CACHE_TYPES",
    "F16",
    "F32",
    "Q8_0",
    "QUANTIZATIONS",
    "TENSOR_TYPES",
    "WEIGHT_TYPES",
    "ModelTraits",
    "Override",
    "Quantization",
    "TensorType",
    "choose_types",
    "find_quantization",
    "needs_imatrix",
    "tensor_bytes",
]
