"""What the installed llama.cpp was built for; run as a program it prints that as JSON, since a build for another CPU ends the process."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from qwq_local.llama._library import library, library_folder

_CUDA = re.compile(rb"libcudart\.so\.(\d+)|cudart64_(\d+)")
"""How a library for CUDA names the runtime that it was linked against, on Linux and on Windows."""


def describe_build() -> dict[str, Any]:
    """`offloads`, the CPU `features` by their names in llama_print_system_info (include/llama.h), and CUDA's major version or None."""
    lib = library()
    system = lib.llama_print_system_info().decode("utf-8", "replace")
    return {
        "offloads": bool(lib.llama_supports_gpu_offload()),
        "features": re.findall(r"(\w+) = 1", system),
        "cuda": cuda_of(library_folder()),
    }


def cuda_of(folder: Path) -> int | None:
    """The major version of CUDA that the libraries in the folder need."""
    for path in sorted(folder.glob("*ggml-cuda*")):
        if found := _CUDA.search(path.read_bytes()):
            return int(found[1] or found[2])
    return None


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(describe_build())}\n")  # in a line of its own, whatever a library has printed
