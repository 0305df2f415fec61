"""Rows of weights as the bytes of tensor types (pure: the quantizer comes in as an argument)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwq_convert.weights import Column, Rows
from qwq_local.errors import ConversionError
from qwq_local.quants import F32, TensorType

Encoded: TypeAlias = NDArray[np.uint8]
"""Bytes of rows: (rows, bytes of a row)."""

Quantizer: TypeAlias = Callable[[Rows, TensorType, Column | None], Encoded]
"""What turns rows into the bytes of a type, weighing columns by their importance; raises OverflowError where one is too large."""


def require_expressible(name: str, rows: Rows, types: Iterable[TensorType], *, allow_nonfinite: bool) -> None:
    """Refuse weights that are NaN or infinite, unless they are allowed and all `types` are plain numbers.

    A block has one scale for all its elements, and llama.cpp ends the process where it finds none.

    Raises:
        ConversionError: the tensor is named.
    """
    if np.isfinite(rows).all():
        return
    what = f"Tensor {name} holds a weight that is NaN or infinite"
    if not allow_nonfinite:
        raise ConversionError(
            f"{what}.", hint="The checkpoint is damaged, or its training failed: download it again, or go on with --allow-nonfinite."
        )
    if blocks := [tensor_type.name for tensor_type in types if tensor_type.is_quantized]:
        raise ConversionError(f"{what}, which {blocks[0]} cannot express.", hint="F32, BF16 and F16 can.")


def encode(name: str, rows: Rows, tensor_type: TensorType, importance: Column | None, quantize: Quantizer) -> Encoded:
    """The bytes of expressible `rows` in `tensor_type`, equal to what llama-quantize makes of them.

    Raises:
        ConversionError: a weight, or the importance of a column, is too large for the type.
    """
    if tensor_type is F32:
        return np.ascontiguousarray(rows, dtype="<f4").view(np.uint8)
    try:
        return quantize(rows, tensor_type, importance)
    except OverflowError as error:
        raise ConversionError(f"Tensor {name} cannot be converted: {error}.", hint="Choose BF16 or F32 instead.") from error
