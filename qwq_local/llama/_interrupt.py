"""A switch that ends a running decode from another thread."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from qwq_local.llama._library import library


class InterruptSwitch:
    """What llama.cpp's abort callback asks between the nodes of a graph.

    The callback is libc's strlen over a one-byte string: it answers 0 while the byte is zero and 1 once it is set, and as a C function it
    never waits for Python's interpreter lock, which a callback written in Python would do thousands of times a token.
    """

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        self._callback = ctypes.cast(libc.strlen, library().ggml_abort_callback)

    def attach(self, context: Any) -> None:  # noqa: ANN401 - an opaque pointer
        """Let a llama_context ask this switch."""
        library().llama_set_abort_callback(context, self._callback, ctypes.cast(self._flag, ctypes.c_void_p))

    def turn(self, *, on: bool) -> None:
        """Set or take back; callable from any thread."""
        self._flag[0] = b"\1" if on else b"\0"
