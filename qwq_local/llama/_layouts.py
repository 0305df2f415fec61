"""How llama.cpp lays weights out for the CPU. The layout chooses the kernel, and some types have one much faster than the plain one."""

from __future__ import annotations

import ctypes
import itertools
from functools import cache
from typing import Any, Final

from qwq_local.errors import LoadError
from qwq_local.llama._amx import extra_buffers_work
from qwq_local.llama._devices import handles_of
from qwq_local.llama._library import ggml_base, library
from qwq_local.llama._tensor import Tensor

KNOWN_LAYOUTS: Final = frozenset({b"CPU_REPACK", b"AMX"})
"""The names of extra buffers in which any bytes are a matrix; others keep more there than weights."""
SMALL_BYTES: Final = 4096


def cpu_build() -> str:
    """What the speed of one CPU depends on: llama.cpp's version, what it was compiled to use, and the layouts it chooses among.

    Raises LoadError where llama.cpp does not load.
    """
    layouts = [_functions().ggml_backend_buft_name(layout).decode() for layout in _layouts()]
    import llama_cpp

    return f"llama-cpp-python {llama_cpp.__version__} {library().llama_print_system_info().decode()}{' '.join(layouts)}"


def choose_layout(matrix: int, product: int) -> tuple[int, int]:
    """The first buffer type whose kernels compute the product, and a small buffer of it, which the matrix then belongs to.

    As llama.cpp does it (`weight_buft_supported` in src/llama-model-loader.cpp). Raises LoadError where there is none.
    """
    lib = _functions()
    for layout in _layouts():
        buffer: int = lib.ggml_backend_buft_alloc_buffer(layout, SMALL_BYTES)
        Tensor.from_address(matrix).buffer = buffer
        if lib.ggml_backend_dev_supports_op(cpu_device(), product):
            return layout, buffer
        lib.ggml_backend_buffer_free(buffer)
    raise LoadError("llama.cpp's CPU backend does not multiply weights of this type.", hint="Install llama-cpp-python again.")


def plain_layout() -> int:
    """The CPU's own buffer type."""
    found: int = _functions().ggml_backend_dev_buffer_type(cpu_device())
    return found


def cpu_device() -> int:
    """The CPU's handle. Raises LoadError where llama.cpp does not load."""
    return handles_of("cpu")[0]


def cpu_function(name: bytes, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes' own
    """A function of the CPU backend that it tells by name only (ggml/src/ggml-cpu/ggml-cpu.cpp). Raises LoadError where it has none."""
    device, lib = cpu_device(), _functions()
    address = lib.ggml_backend_reg_get_proc_address(lib.ggml_backend_dev_backend_reg(device), name)
    if not address:
        hint = "Install the llama-cpp-python that this package was tested with."
        raise LoadError(f"llama.cpp's CPU backend has no {name.decode()}.", hint=hint)
    return ctypes.CFUNCTYPE(result, *arguments)(address)


@cache
def _layouts() -> tuple[int, ...]:
    """The buffer types that llama.cpp looks at for weights on the host, the preferred first (`make_cpu_buft_list` in src/llama-model.cpp).

    Where a GPU has pinned memory for them it comes before the extra ones, and is then given up for the plain one, since files are mapped.
    """
    gpus, lib = handles_of("gpu", "igpu"), _functions()
    has_pinned = any(lib.ggml_backend_dev_host_buffer_type(gpu) for gpu in gpus)
    extra = _extra_layouts() if not has_pinned and extra_buffers_work() else []
    return (*(layout for layout in extra if lib.ggml_backend_buft_name(layout) in KNOWN_LAYOUTS), plain_layout())


def _extra_layouts() -> list[int]:
    first = cpu_function(b"ggml_backend_dev_get_extra_bufts", ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(cpu_device())
    return list(itertools.takewhile(bool, (first[i] for i in itertools.count()))) if first else []


_POINTER: Final = ctypes.c_void_p
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "ggml_backend_dev_backend_reg": (_POINTER, [_POINTER]),
    "ggml_backend_reg_get_proc_address": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "ggml_backend_dev_buffer_type": (_POINTER, [_POINTER]),
    "ggml_backend_dev_host_buffer_type": (_POINTER, [_POINTER]),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, [_POINTER] * 2),
    "ggml_backend_buft_name": (ctypes.c_char_p, [_POINTER]),
    "ggml_backend_buft_alloc_buffer": (_POINTER, [_POINTER, ctypes.c_size_t]),
    "ggml_backend_buffer_free": (None, [_POINTER]),
}
"""ggml/include/ggml-backend.h"""


@cache
def _functions() -> Any:  # noqa: ANN401 - a ctypes library
    return ggml_base(_SIGNATURES)
