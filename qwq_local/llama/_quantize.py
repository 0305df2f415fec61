"""llama.cpp's own quantizer, which its `llama-quantize` uses too: ggml_quantize_chunk (ggml/src/ggml.c)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwq_local.errors import LoadError
from qwq_local.llama._ggml import ggml
from qwq_local.llama._library import TESTED_HINT
from qwq_local.quants import TensorType

LARGEST_IN_BLOCKS: Final = 2.0**33
"""More than any type of blocks can express, whose scales are float16."""
LARGEST_ERROR: Final = 2.0**100
"""Weighted and squared, for one weight; the sum for a block, times the squares of what stands in its grid, is still a float32."""


def quantize_rows(rows: NDArray[np.float32], tensor_type: TensorType, importance: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """The bytes of `rows` (rows, row length) in a type, as (rows, bytes of a row).

    `importance` weighs the columns (row length,). Threads may call it at once: the GIL is released, and ggml builds the tables of a type
    under a lock of its own. NaN and infinity are only for the types that are plain numbers.

    Raises:
        LoadError: llama-cpp-python's library lacks a function.
        OverflowError: a weight is too large for the type (`ggml_validate_row_data`, ggml/src/ggml-quants.c), or a column too important.
        ValueError: the rows are no whole number of blocks, the importance is of another length, or the type cannot do without it.
    """
    n_rows, row_length = rows.shape
    if importance is None and ggml().ggml_quantize_requires_imatrix(tensor_type.id):
        raise ValueError(f"{tensor_type.name} cannot be made without an importance matrix")
    if importance is not None and importance.shape != (row_length,):
        raise ValueError(f"the importance has the shape {importance.shape} for rows of {row_length}")
    source = np.ascontiguousarray(rows, dtype=np.float32)
    weights = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
    if tensor_type.is_quantized:
        _require_searchable(source, tensor_type, weights)
    blocks = np.empty((n_rows, tensor_type.row_bytes(row_length)), dtype=np.uint8)
    weights_address = None if weights is None else weights.ctypes.data
    written = ggml().ggml_quantize_chunk(tensor_type.id, source.ctypes.data, blocks.ctypes.data, 0, n_rows, row_length, weights_address)
    if written != blocks.nbytes:
        raise LoadError(f"llama.cpp made {written:,} bytes of {tensor_type.name}, where {blocks.nbytes:,} were due.", hint=TESTED_HINT)
    if not ggml().ggml_validate_row_data(tensor_type.id, blocks.ctypes.data, blocks.nbytes) and np.isfinite(source).all():
        raise OverflowError(f"a weight is too large for {tensor_type.name}")
    return blocks


def _require_searchable(rows: NDArray[np.float32], tensor_type: TensorType, importance: NDArray[np.float32] | None) -> None:
    """Refuse what ends the process: ggml does so where the errors it sums up in search of a scale overflow."""
    largest = max(float(rows.max()), -float(rows.min()))
    if not largest <= LARGEST_IN_BLOCKS:
        raise OverflowError(f"a weight is too large for {tensor_type.name}")
    if importance is not None and float(importance.max()) * largest**2 > LARGEST_ERROR:
        raise OverflowError(f"a column is too important for {tensor_type.name}")
