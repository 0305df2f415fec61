"""How llama.cpp lays weights out for the CPU. The layout chooses the kernel, and some types have one much faster than the plain one."""

from __future__ import annotations

import ctypes
import itertools
import re
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from qwq_local.errors import LoadError
from qwq_local.gguf import GgufTensor, read_header
from qwq_local.llama._amx import extra_buffers_work
from qwq_local.llama._devices import handles_of
from qwq_local.llama._ggml import InitParams, ggml
from qwq_local.llama._library import TESTED_HINT, library
from qwq_local.llama._tensor import Tensor
from qwq_local.quants import F32
from qwq_local.quants.choice import EMBEDDING

KNOWN_LAYOUTS: Final = frozenset({b"CPU_REPACK", b"AMX"})
"""The names of extra buffers in which any bytes are a matrix; others keep more there than weights."""
INTERLEAVED: Final = b"CPU_REPACK"
"""The extra buffer that keeps rows of weights interleaved (ggml/src/ggml-cpu/repack.cpp)."""
SMALL_BYTES: Final = 4096
_CONTEXT_BYTES: Final = 2**14


class BufferOverride(ctypes.Structure):
    """`struct llama_model_tensor_buft_override` (include/llama.h): which buffer type the weights take whose names match."""

    _fields_: ClassVar = [("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p)]


def cpu_build() -> str:
    """What the speed of one CPU depends on: llama.cpp's version, what it was compiled to use, and the layouts it chooses among.

    Raises LoadError where llama.cpp does not load.
    """
    layouts = [ggml().ggml_backend_buft_name(layout).decode() for layout in _layouts()]
    import llama_cpp

    return f"llama-cpp-python {llama_cpp.__version__} {library().llama_print_system_info().decode()}{' '.join(layouts)}"


def choose_layout(matrix: int, product: int) -> tuple[int, int]:
    """The first buffer type whose kernels compute the product, and a small buffer of it, which the matrix then belongs to.

    As llama.cpp does it (`weight_buft_supported` in src/llama-model-loader.cpp). Raises LoadError where there is none.
    """
    lib = ggml()
    for layout in _layouts():
        buffer: int = lib.ggml_backend_buft_alloc_buffer(layout, SMALL_BYTES)
        Tensor.from_address(matrix).buffer = buffer
        if lib.ggml_backend_dev_supports_op(cpu_device(), product):
            return layout, buffer
        lib.ggml_backend_buffer_free(buffer)
    raise LoadError("llama.cpp's CPU backend does not multiply weights of this type.", hint="Install llama-cpp-python again.")


def may_interleave(path: Path) -> bool:
    """Whether this build can interleave the rows of weights of a file, and does not do so by itself.

    Raises LoadError as `cpu_build` does, and ModelFileError.
    """
    is_usual = ggml().ggml_backend_buft_name(_layouts()[0]) == INTERLEAVED
    return _interleaved_layout() is not None and not is_usual and len(interleaved_weights(path)) > 1


def uses_extra_layouts() -> bool:
    """Whether llama.cpp lays weights out otherwise than they stand in the file where it chooses. Raises LoadError as `cpu_build` does."""
    return len(_layouts()) > 1


def interleaved_weights(path: Path) -> ctypes.Array[BufferOverride]:
    """Put the weights of a file that can be interleaved into the buffer for it, as `tensor_buft_overrides` (include/llama.h).

    Of a model in several files these are the first one's. Raises LoadError where the build has no such buffer, ModelFileError.
    """
    layout = _interleaved_layout()
    if layout is None:
        raise LoadError("llama.cpp was built without interleaved weights.", hint="Tune again: qwq tune")
    weights = [tensor for tensor in read_header(path).tensors if tensor.name != EMBEDDING and len(tensor.shape) == 2]
    takes = {key: _takes(layout, tensor) for key, tensor in {(tensor.type, tensor.shape): tensor for tensor in weights}.items()}
    chosen = [tensor.name for tensor in weights if takes[tensor.type, tensor.shape]]
    rows = [BufferOverride(f"^{re.escape(name)}$".encode(), layout) for name in chosen]
    return (BufferOverride * (len(rows) + 1))(*rows)  # the last, empty one ends it


def _takes(layout: int, weights: GgufTensor) -> bool:
    """Whether there is a kernel for such weights in such a buffer: in one without, they cannot even be loaded."""
    lib = ggml()
    context = lib.ggml_init(InitParams(_CONTEXT_BYTES, None, True))
    buffer = lib.ggml_backend_buft_alloc_buffer(layout, SMALL_BYTES)
    try:
        n_columns, n_rows = weights.shape
        matrix = lib.ggml_new_tensor_2d(context, weights.type.id, n_columns, n_rows)
        Tensor.from_address(matrix).buffer = buffer
        product = lib.ggml_mul_mat(context, matrix, lib.ggml_new_tensor_2d(context, F32.id, n_columns, 1))
        return bool(lib.ggml_backend_dev_supports_op(cpu_device(), product))
    finally:
        lib.ggml_backend_buffer_free(buffer)
        lib.ggml_free(context)


def _interleaved_layout() -> int | None:
    return next((layout for layout in _extra_layouts() if ggml().ggml_backend_buft_name(layout) == INTERLEAVED), None)


def plain_layout() -> int:
    """The CPU's own buffer type."""
    found: int = ggml().ggml_backend_dev_buffer_type(cpu_device())
    return found


def cpu_device() -> int:
    """The CPU's handle. Raises LoadError where llama.cpp does not load."""
    return handles_of("cpu")[0]


def cpu_function(name: bytes, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes' own
    """A function of the CPU backend that it tells by name only (ggml/src/ggml-cpu/ggml-cpu.cpp). Raises LoadError where it has none."""
    device, lib = cpu_device(), ggml()
    address = lib.ggml_backend_reg_get_proc_address(lib.ggml_backend_dev_backend_reg(device), name)
    if not address:
        raise LoadError(f"llama.cpp's CPU backend has no {name.decode()}.", hint=TESTED_HINT)
    return ctypes.CFUNCTYPE(result, *arguments)(address)


@cache
def _layouts() -> tuple[int, ...]:
    """The buffer types that llama.cpp looks at for weights on the host, the preferred first (`make_cpu_buft_list` in src/llama-model.cpp).

    Where a GPU has pinned memory for them it comes before the extra ones, and is then given up for the plain one, since files are mapped.
    """
    gpus, lib = handles_of("gpu", "igpu"), ggml()
    has_pinned = any(lib.ggml_backend_dev_host_buffer_type(gpu) for gpu in gpus)
    extra = _extra_layouts() if not has_pinned and extra_buffers_work() else []
    return (*(layout for layout in extra if lib.ggml_backend_buft_name(layout) in KNOWN_LAYOUTS), plain_layout())


def _extra_layouts() -> list[int]:
    first = cpu_function(b"ggml_backend_dev_get_extra_bufts", ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(cpu_device())
    return list(itertools.takewhile(bool, (first[i] for i in itertools.count()))) if first else []
