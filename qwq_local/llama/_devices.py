"""The devices that llama.cpp can put a model on, as ggml's backends see them (ggml/include/ggml-backend.h)."""

from __future__ import annotations

import ctypes
from typing import Final

from qwq_local.errors import LoadError
from qwq_local.llama._ggml import ggml
from qwq_local.machine.device import DeviceKind, DeviceMemory

KINDS: Final[tuple[DeviceKind, ...]] = ("cpu", "gpu", "igpu", "accel")
"""`enum ggml_backend_dev_type`, in its order."""


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


def _handles() -> list[int]:
    lib = ggml()
    return [lib.ggml_backend_dev_get(index) for index in range(lib.ggml_backend_dev_count())]


def _describe(handle: int) -> DeviceMemory:
    lib = ggml()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    lib.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    description = _text(lib.ggml_backend_dev_description(handle))
    return DeviceMemory(_name(handle), description, _kind(handle), total_bytes=total.value, free_bytes=free.value)


def _name(handle: int) -> str:
    return _text(ggml().ggml_backend_dev_name(handle))


def _kind(handle: int) -> DeviceKind:
    number = ggml().ggml_backend_dev_type(handle)
    return KINDS[number] if number < len(KINDS) else "accel"


def _text(found: bytes | None) -> str:
    return (found or b"").decode("utf-8", "replace")
