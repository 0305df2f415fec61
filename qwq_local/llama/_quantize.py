"""llama.cpp's own quantizer, which its `llama-quantize` uses too: ggml_quantize_chunk (ggml/src/ggml.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwq_local.errors import LoadError
from qwq_local.quants import TensorType


def quantize_rows(rows: NDArray[np.float32], tensor_type: TensorType) -> NDArray[np.uint8]:
    """The blocks of `rows` (rows, row length) as (rows, bytes of a row); threads may call it at once, the GIL is released.

    Raises:
        LoadError: llama-cpp-python's library lacks the function.
        ValueError: the rows are no whole number of blocks.
    """
    n_rows, row_length = rows.shape
    source = np.ascontiguousarray(rows, dtype=np.float32)
    blocks = np.empty((n_rows, tensor_type.row_bytes(row_length)), dtype=np.uint8)
    written = _quantize_chunk()(tensor_type.id, source.ctypes.data, blocks.ctypes.data, 0, n_rows, row_length, None)
    if written != blocks.nbytes:
        raise LoadError(f"llama.cpp made {written:,} bytes of {tensor_type.name}, where {blocks.nbytes:,} were due.", hint=_HINT)
    return blocks


_HINT = "Install llama-cpp-python again."


@cache
def _quantize_chunk() -> Callable[..., int]:
    import llama_cpp
    from llama_cpp._ctypes_extensions import load_shared_library

    try:
        library = load_shared_library("ggml-base", Path(llama_cpp.__file__).parent / "lib")
        function = library.ggml_quantize_chunk
    except (AttributeError, FileNotFoundError, RuntimeError) as error:
        raise LoadError(f"llama-cpp-python lacks ggml_quantize_chunk: {error}.", hint=_HINT) from error
    # enum ggml_type, const float *, void *, int64_t start, nrows, n_per_row, const float * imatrix -> size_t
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    function.restype = ctypes.c_size_t
    chunk: Callable[..., int] = function
    return chunk
