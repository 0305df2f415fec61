"""ggml's own functions, which llama-cpp-python ships and does not bind: what each takes and returns."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, ClassVar, Final

from qwq_local.llama._library import library_folder, unusable

_POINTER: Final = ctypes.c_void_p
_BYTES: Final = ctypes.POINTER(ctypes.c_size_t)


class InitParams(ctypes.Structure):
    """`struct ggml_init_params` (ggml/include/ggml.h)."""

    _fields_: ClassVar = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    # ggml/include/ggml.h
    "ggml_init": (_POINTER, [InitParams]),
    "ggml_free": (None, [_POINTER]),
    "ggml_new_tensor_2d": (_POINTER, [_POINTER, ctypes.c_int, *[ctypes.c_int64] * 2]),
    "ggml_new_tensor_3d": (_POINTER, [_POINTER, ctypes.c_int, *[ctypes.c_int64] * 3]),
    "ggml_set_name": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "ggml_get_data": (_POINTER, [_POINTER]),
    "ggml_nbytes": (ctypes.c_size_t, [_POINTER]),
    "ggml_permute": (_POINTER, [_POINTER, _POINTER, *[ctypes.c_int] * 4]),
    "ggml_mul_mat": (_POINTER, [_POINTER] * 3),
    "ggml_flash_attn_ext": (_POINTER, [*[_POINTER] * 5, *[ctypes.c_float] * 3]),
    "ggml_new_graph": (_POINTER, [_POINTER]),
    "ggml_build_forward_expand": (None, [_POINTER] * 2),
    "ggml_quantize_requires_imatrix": (ctypes.c_bool, [ctypes.c_int]),
    # enum ggml_type, const float * src, void * dst, int64_t start, nrows, n_per_row, const float * imatrix
    "ggml_quantize_chunk": (ctypes.c_size_t, [ctypes.c_int, _POINTER, _POINTER, *[ctypes.c_int64] * 3, _POINTER]),
    "ggml_validate_row_data": (ctypes.c_bool, [ctypes.c_int, _POINTER, ctypes.c_size_t]),
    # ggml/include/ggml-alloc.h
    "ggml_backend_alloc_ctx_tensors_from_buft": (_POINTER, [_POINTER] * 2),
    # ggml/include/ggml-backend.h
    "ggml_backend_dev_count": (ctypes.c_size_t, []),
    "ggml_backend_dev_get": (_POINTER, [ctypes.c_size_t]),
    "ggml_backend_dev_name": (ctypes.c_char_p, [_POINTER]),
    "ggml_backend_dev_description": (ctypes.c_char_p, [_POINTER]),
    "ggml_backend_dev_memory": (None, [_POINTER, _BYTES, _BYTES]),
    "ggml_backend_dev_type": (ctypes.c_int, [_POINTER]),
    "ggml_backend_dev_buffer_type": (_POINTER, [_POINTER]),
    "ggml_backend_dev_host_buffer_type": (_POINTER, [_POINTER]),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, [_POINTER] * 2),
    "ggml_backend_dev_backend_reg": (_POINTER, [_POINTER]),
    "ggml_backend_reg_get_proc_address": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "ggml_backend_dev_init": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "ggml_backend_free": (None, [_POINTER]),
    "ggml_backend_graph_compute": (ctypes.c_int, [_POINTER] * 2),
    "ggml_backend_tensor_get": (None, [_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_size_t]),
    "ggml_backend_buft_is_host": (ctypes.c_bool, [_POINTER]),
    "ggml_backend_buft_get_device": (_POINTER, [_POINTER]),
    "ggml_backend_buffer_get_type": (_POINTER, [_POINTER]),
    "ggml_backend_buft_name": (ctypes.c_char_p, [_POINTER]),
    "ggml_backend_buft_alloc_buffer": (_POINTER, [_POINTER, ctypes.c_size_t]),
    "ggml_backend_buft_get_alloc_size": (ctypes.c_size_t, [_POINTER] * 2),
    "ggml_backend_buffer_free": (None, [_POINTER]),
    "ggml_backend_buffer_clear": (None, [_POINTER, ctypes.c_uint8]),
    "ggml_backend_buffer_get_base": (_POINTER, [_POINTER]),
    # ggml/src/ggml-backend-impl.h
    "ggml_backend_buffer_init_tensor": (ctypes.c_int, [_POINTER] * 2),
}
_OF_REGISTRY: Final = frozenset({"ggml_backend_dev_count", "ggml_backend_dev_get"})
"""What is in the library ggml, which knows all backends; the others are in ggml-base."""


class Ggml:
    """The functions as attributes, each looked up when it is first asked for: a build without one does without what needs it.

    Raises LoadError for one that the library lacks.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a ctypes function
        result, arguments = _SIGNATURES[name]
        try:
            function = getattr(load("ggml" if name in _OF_REGISTRY else "ggml-base"), name)
        except AttributeError as error:
            raise unusable(error) from error
        function.restype, function.argtypes = result, arguments
        setattr(self, name, function)
        return function


@cache
def ggml() -> Ggml:
    """The one table of them."""
    return Ggml()


@cache
def load(file: str) -> Any:  # noqa: ANN401 - a ctypes library
    """One of llama-cpp-python's libraries. Raises LoadError where it ships none of that name."""
    folder = library_folder()
    from llama_cpp._ctypes_extensions import load_shared_library

    try:
        return load_shared_library(file, folder)
    except (OSError, RuntimeError) as error:
        raise unusable(error) from error
