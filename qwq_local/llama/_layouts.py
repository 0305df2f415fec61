"""How llama.cpp lays weights out for the CPU. The layout chooses the kernel, and some types have one much faster than the plain one."""

from __future__ import annotations

import ctypes
import itertools
from functools import cache
from typing import Any, Final

from qwq_local.errors import LoadError
from qwq_local.llama._amx import extra_buffers_work
from qwq_local.llama._devices import handles_of
from qwq_local.llama._ggml import ggml
from qwq_local.llama._library import TESTED_HINT, library
from qwq_local.llama._tensor import Tensor

KNOWN_LAYOUTS: Final = frozenset({b"CPU_REPACK", b"AMX"})
"""The names of extra buffers in which any bytes are a matrix; others keep more there than weights."""
SMALL_BYTES: Final = 4096


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
