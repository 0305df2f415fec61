"""Rows of weights as the bytes of a tensor type (pure: the quantizer of blocks comes in as an argument)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwq_convert.weights import Rows
from qwq_local.errors import ConversionError
from qwq_local.quants import BF16, F16, F32, TensorType

Encoded: TypeAlias = NDArray[np.uint8]
"""Bytes of rows: (rows, bytes of a row)."""

BlockQuantizer: TypeAlias = Callable[[Rows, TensorType], Encoded]
"""What turns rows into the blocks of a quantized type."""


def require_finite(name: str, rows: Rows) -> None:
    """Raise ConversionError, naming the tensor, where a weight is NaN or infinite."""
    if not np.isfinite(rows).all():
        raise ConversionError(
            f"Tensor {name} holds a weight that is NaN or infinite.",
            hint="The checkpoint is damaged, or its training failed: download it again.",
        )


def encode(name: str, rows: Rows, tensor_type: TensorType, quantize_blocks: BlockQuantizer) -> Encoded:
    """The bytes of finite `rows` in `tensor_type`, equal to what ggml_quantize_chunk makes of them.

    Raises:
        ConversionError: a weight is too large for F16, or the quantizer failed.
    """
    if tensor_type is F32:
        return rows.astype("<f4", copy=False).view(np.uint8)
    if tensor_type is BF16:
        return _to_bfloat16(rows).view(np.uint8)
    if tensor_type is F16:
        return _to_float16(name, rows).view(np.uint8)
    return quantize_blocks(rows, tensor_type)


def _to_bfloat16(rows: Rows) -> NDArray[np.uint16]:
    """Round to nearest, ties to even: ggml_compute_fp32_to_bf16 (ggml/src/ggml-impl.h) for what is no NaN."""
    bits = rows.view(np.uint32)
    rounding = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    return ((bits + rounding) >> 16).astype("<u2")


def _to_float16(name: str, rows: Rows) -> NDArray[np.float16]:
    """Round to nearest, ties to even, subnormals included: ggml_fp32_to_fp16_row (ggml/src/ggml.c)."""
    with np.errstate(over="ignore"):
        halves = rows.astype("<f2")
    if not np.isfinite(halves).all():
        raise ConversionError(f"Tensor {name} holds a weight too large for F16.", hint="Choose BF16 instead.")
    return halves
