"""ggml's tensors as they stand in memory, for what its functions do not tell."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from qwq_local.errors import LoadError
from qwq_local.llama._ggml import InitParams, ggml
from qwq_local.llama._library import TESTED_HINT
from qwq_local.quants import F32

_PROBE_SHAPE: Final = (7, 5)
_PROBE_MEMORY_BYTES: Final = 2**16


class Tensor(ctypes.Structure):
    """`struct ggml_tensor` (ggml/include/ggml.h), up to its name; `mul_mat_op` refuses a library whose tensors are laid out otherwise.

    `ne` counts elements and `nb` strides in bytes, the dimension of a row first.
    """

    type: int
    buffer: int | None
    ne: Sequence[int]
    nb: Sequence[int]
    op: int
    src: Sequence[int | None]
    view_src: int | None
    data: int | None
    name: bytes

    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    ]

    def source(self, index: int) -> Tensor:
        """The tensor that this one is computed from, first or second."""
        address = self.src[index]
        assert address is not None, "the operation has no such source"
        return Tensor.from_address(address)

    def rows(self) -> NDArray[np.float32]:
        """A copy of an F32 tensor's rows, (rows, row length), from whatever memory holds them."""
        stored = np.empty(ggml().ggml_nbytes(ctypes.byref(self)), dtype=np.uint8)
        ggml().ggml_backend_tensor_get(ctypes.byref(self), stored.ctypes.data, 0, stored.nbytes)
        placed: NDArray[np.float32] = np.ndarray(tuple(self.ne)[::-1], np.float32, stored, strides=tuple(self.nb)[::-1])
        return placed.reshape(-1, self.ne[0])


@cache
def mul_mat_op() -> int:
    """The number of GGML_OP_MUL_MAT, learnt from a product made for the purpose.

    Raises:
        LoadError: a tensor of this library is not laid out as `Tensor` says.
    """
    base = ggml()
    context = base.ggml_init(InitParams(_PROBE_MEMORY_BYTES, None, False))
    try:
        matrix = base.ggml_new_tensor_2d(context, F32.id, *_PROBE_SHAPE)
        base.ggml_set_name(matrix, b"probe.weight")
        product = base.ggml_mul_mat(context, matrix, matrix)
        if not _is_as_made(matrix, product):
            raise LoadError("llama-cpp-python's library lays its tensors out in a way unknown here.", hint=TESTED_HINT)
        return Tensor.from_address(product).op
    finally:
        base.ggml_free(context)


def _is_as_made(matrix_address: int, product_address: int) -> bool:
    matrix, product = Tensor.from_address(matrix_address), Tensor.from_address(product_address)
    n_columns, n_rows = _PROBE_SHAPE
    seen_matrix = (matrix.type, matrix.buffer, *matrix.ne, *matrix.nb, matrix.op, matrix.src[0], matrix.view_src, matrix.data, matrix.name)
    strides = (4, 4 * n_columns, 4 * n_columns * n_rows, 4 * n_columns * n_rows)
    data = ggml().ggml_get_data(matrix_address)
    due_matrix = (F32.id, None, n_columns, n_rows, 1, 1, *strides, 0, None, None, data, b"probe.weight")
    seen_product = (*product.ne, product.src[0], product.src[1], product.op > 0)
    due_product = (n_rows, n_rows, 1, 1, matrix_address, matrix_address, True)
    return seen_matrix == due_matrix and seen_product == due_product
