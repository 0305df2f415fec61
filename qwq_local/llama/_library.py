"""llama.cpp's library: loaded once, its log kept for error messages instead of being printed."""

from __future__ import annotations

import ctypes
import os
import platform
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any, Final

from qwq_local.errors import LoadError

GGML_LOG_LEVEL_WARN: Final = 3
"""`enum ggml_log_level` (ggml/include/ggml.h)."""
SPINS: Final = "1000"
"""How often a thread of OpenMP looks whether the others are done before it sleeps: on x86 some tens of microseconds."""
TESTED_HINT: Final = "Install the llama-cpp-python that this package was tested with."

_log_lines: deque[str] = deque(maxlen=40)


@cache
def library() -> Any:  # noqa: ANN401 - llama_cpp ships no types
    """The ctypes bindings, with the log redirected and the backends started. Raises LoadError where they cannot be had."""
    _spin_briefly()
    try:
        from llama_cpp import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise unusable(error) from error
    llama_cpp.llama_log_set(_log_callback(llama_cpp), ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


def _spin_briefly() -> None:
    """Keep threads that wait for each other from holding the cores that they wait for.

    llama.cpp's threads meet after every operation. By itself GNU's OpenMP lets them spin 300,000 rounds there (libgomp's env.c), which are
    milliseconds on x86: where another program has one thread's core, all others burn theirs until it comes back. Beside others, a model
    reads and writes about three times as fast with so few spins (`python -m benchmarks.tuning`). OpenMP reads the variable once, when it
    is loaded. What the user has set is left.
    """
    if platform.machine().lower() in {"x86_64", "amd64"} and not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = SPINS


def library_folder() -> Path:
    """Where the shared libraries are, as llama-cpp-python finds them. Raises LoadError as `library` does."""
    shipped = Path(library().__file__).parent / "lib"
    return Path(os.environ.get("LLAMA_CPP_LIB_PATH") or shipped)


def unusable(error: Exception) -> LoadError:
    """What is raised where llama-cpp-python is not there, does not load, or lacks a part."""
    return LoadError(f"llama-cpp-python's library cannot be used: {error}.", hint=TESTED_HINT)


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
