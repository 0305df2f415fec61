"""The devices that llama.cpp can put a model on, as ggml's backends see them (ggml/include/ggml-backend.h)."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any, Final

from qwq_local.errors import LoadError
from qwq_local.llama._library import library
from qwq_local.machine.device import DeviceKind, DeviceMemory

KINDS: Final[tuple[DeviceKind, ...]] = ("cpu", "gpu", "igpu", "accel")
"""`enum ggml_backend_dev_type`, in its order."""

_SIGNATURES: Final[dict[str, dict[str, tuple[Any, list[Any]]]]] = {
    "ggml": {
        "ggml_backend_dev_count": (ctypes.c_size_t, []),
        "ggml_backend_dev_get": (ctypes.c_void_p, [ctypes.c_size_t]),
    },
    "ggml-base": {
        "ggml_backend_dev_name": (ctypes.c_char_p, [ctypes.c_void_p]),
        "ggml_backend_dev_description": (ctypes.c_char_p, [ctypes.c_void_p]),
        "ggml_backend_dev_memory": (None, [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)]),
        "ggml_backend_dev_type": (ctypes.c_int, [ctypes.c_void_p]),
        "ggml_backend_dev_buffer_type": (ctypes.c_void_p, [ctypes.c_void_p]),
        "ggml_backend_buft_name": (ctypes.c_char_p, [ctypes.c_void_p]),
    },
}


def list_devices() -> tuple[DeviceMemory, ...]:
    """Every device in llama.cpp's order, with its memory in bytes now; a GPU's first question may take a second, to wake it.

    Raises:
        LoadError: llama-cpp-python cannot be loaded or lacks a function, or there is no device at all.
    """
    found = tuple(_describe(handle) for handle in _handles())
    if not found:
        raise LoadError("llama.cpp sees no device, not even a CPU.", hint="Install llama-cpp-python again: its ggml has no backend.")
    return found


def handles_of(*kinds: DeviceKind) -> tuple[int, ...]:
    """The handles of the devices of these kinds, in llama.cpp's order. Raises LoadError as `list_devices` does."""
    return tuple(handle for handle in _handles() if _kind(handle) in kinds)


def devices_by_buffer() -> dict[str, str]:
    """The names of the devices other than the CPU, by the names of their buffers in llama.cpp's log."""
    lib = _functions()
    gpus = handles_of("gpu", "igpu")
    return {_text(lib["ggml_backend_buft_name"](lib["ggml_backend_dev_buffer_type"](gpu))): _name(gpu) for gpu in gpus}


def _handles() -> list[int]:
    lib = _functions()
    return [lib["ggml_backend_dev_get"](index) for index in range(lib["ggml_backend_dev_count"]())]


def _describe(handle: int) -> DeviceMemory:
    lib = _functions()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    lib["ggml_backend_dev_memory"](handle, ctypes.byref(free), ctypes.byref(total))
    description = _text(lib["ggml_backend_dev_description"](handle))
    return DeviceMemory(_name(handle), description, _kind(handle), total_bytes=total.value, free_bytes=free.value)


def _name(handle: int) -> str:
    return _text(_functions()["ggml_backend_dev_name"](handle))


def _kind(handle: int) -> DeviceKind:
    number = _functions()["ggml_backend_dev_type"](handle)
    return KINDS[number] if number < len(KINDS) else "accel"


def _text(found: bytes | None) -> str:
    return (found or b"").decode("utf-8", "replace")


@cache
def _functions() -> dict[str, Any]:
    # The import starts the backends, and so must come first.
    try:
        library()
        import llama_cpp
        from llama_cpp._ctypes_extensions import load_shared_library

        folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(llama_cpp.__file__).parent / "lib")
        functions = {}
        for file, signatures in _SIGNATURES.items():
            loaded = load_shared_library(file, folder)
            for name, (result, arguments) in signatures.items():
                functions[name] = getattr(loaded, name)
                functions[name].restype, functions[name].argtypes = result, arguments
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        raise LoadError(
            f"llama-cpp-python's library cannot be used: {error}.", hint="Install the llama-cpp-python that this package was tested with."
        ) from error
    return functions
