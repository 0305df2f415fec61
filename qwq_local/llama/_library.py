"""llama.cpp's library: loaded once, its log kept for error messages instead of being printed."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from qwq_local.errors import LoadError

GGML_LOG_LEVEL_WARN: Final = 3
"""`enum ggml_log_level` (ggml/include/ggml.h)."""

_log_lines: deque[str] = deque(maxlen=40)


@cache
def library() -> Any:  # noqa: ANN401 - llama_cpp ships no types
    """The ctypes bindings, with the log redirected and the backends started."""
    from llama_cpp import llama_cpp

    llama_cpp.llama_log_set(_log_callback(llama_cpp), ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


@cache
def _log_callback(llama_cpp: Any) -> Any:  # noqa: ANN401 - as above; cached because C keeps the pointer
    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, _: object) -> None:
        if level >= GGML_LOG_LEVEL_WARN:
            _log_lines.append(text.decode("utf-8", "replace").strip())

    return keep


def take_log() -> str:
    """What llama.cpp complained of since the last call, one complaint a line."""
    lines = [line for line in _log_lines if line]
    _log_lines.clear()
    return "\n".join(lines)


def ggml_base(signatures: Mapping[str, tuple[Any, list[Any]]]) -> Any:  # noqa: ANN401 - as above
    """Ggml's base library with these functions ready to be called: by name, the type of the result and those of the arguments.

    Raises LoadError where llama-cpp-python ships no such library or function.
    """
    import llama_cpp
    from llama_cpp._ctypes_extensions import load_shared_library

    try:
        base = load_shared_library("ggml-base", Path(llama_cpp.__file__).parent / "lib")
        for name, (result, arguments) in signatures.items():
            function = getattr(base, name)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, FileNotFoundError, RuntimeError) as error:
        raise LoadError(f"llama-cpp-python lacks a part of ggml: {error}.", hint="Install llama-cpp-python again.") from error
    return base
