"""The builds of llama-cpp-python that need no compiler, and which of them suits a machine (pure).

They are on the project's own index (its README, "Supported Backends", and .github/workflows/build-wheels-*.yaml); PyPI has the source
alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, TypeAlias

Vendor: TypeAlias = Literal["NVIDIA", "AMD", "Apple"]
X86: Final = frozenset({"x86_64", "amd64"})
"""What systems call Intel's and AMD's processors."""
INDEX: Final = "https://abetlen.github.io/llama-cpp-python/whl"
"""A folder for each build: `INDEX/cpu`, `INDEX/cu124`."""
REQUIREMENT: Final = "llama-cpp-python>=0.3.36"
"""As pyproject.toml says it; an index may still have older ones, which would be installed without a word."""
CUDA: Final = ((11, 8), (12, 1), (12, 2), (12, 3), (12, 4), (12, 5), (13, 0), (13, 2))
"""The versions of CUDA there are builds for, the oldest first (its .github/workflows/build-wheels-cuda.yaml)."""
CUDA_NOT_ON_WINDOWS: Final = frozenset({(12, 1), (12, 2), (12, 3)})


def suiting(vendors: Collection[Vendor], os: str, driver_cuda: tuple[int, int] | None) -> str:
    """The build for a machine's GPUs, as the index names it; `os` is platform.system()'s, `driver_cuda` the newest CUDA the driver runs."""
    if "NVIDIA" in vendors:
        built = [version for version in CUDA if os != "Windows" or version not in CUDA_NOT_ON_WINDOWS]
        fitting = [version for version in built if version <= (driver_cuda or (0, 0))]
        return f"cu{fitting[-1][0]}{fitting[-1][1]}" if fitting else "vulkan"
    if "Apple" in vendors:
        return "metal"
    return "vulkan" if "AMD" in vendors else "cpu"


def is_built(build: str, machine: str) -> bool:
    """Whether there is such a build for this kind of processor (platform.machine()): those for GPUs but Apple's are for x86 alone."""
    return build in {"cpu", "metal"} or machine.casefold() in X86
