"""The builds of llama-cpp-python that need no compiler, and which of them suits a machine (pure).

They are on the project's own index (its README, "Supported Backends", and .github/workflows/build-wheels-*.yaml); PyPI has the source
alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeAlias

Vendor: TypeAlias = Literal["NVIDIA", "AMD", "Apple"]
Version: TypeAlias = tuple[int, int]
X86: Final = frozenset({"x86_64", "amd64"})
"""What systems call Intel's and AMD's processors."""
INDEX: Final = "https://abetlen.github.io/llama-cpp-python/whl"
"""A folder for each build: `INDEX/cpu`, `INDEX/cu124`."""
REQUIREMENT: Final = "llama-cpp-python>=0.3.36"
"""As pyproject.toml says it; an index may still have older ones, which would be installed without a word."""
CUDA: Final = ((11, 8), (12, 1), (12, 2), (12, 3), (12, 4), (12, 5), (13, 0), (13, 2))
"""The versions of CUDA there are builds for, the oldest first (its .github/workflows/build-wheels-cuda.yaml)."""
ANY_NEWER: Final = (99, 0)
KERNELS: Final[Mapping[int, tuple[Version, Version]]] = {11: ((6, 0), (8, 9)), 12: ((6, 0), ANY_NEWER), 13: ((7, 5), ANY_NEWER)}
"""The least and the most compute capability that builds for a major version of CUDA have kernels for (`cudaArchs` in that file).

Those since CUDA 12 bring PTX as well, of which the driver makes kernels for newer GPUs.
"""
DROPPED_BELOW: Final[Mapping[int, Version]] = {12: (5, 0), 13: (7, 5)}
"""The least compute capability that a major version of CUDA compiles for (its release notes): 13 dropped Maxwell, Pascal and Volta."""
CUDA_NOT_ON_WINDOWS: Final = frozenset({(12, 1), (12, 2), (12, 3)})
ROCM: Final = ((7, 2),)
"""The versions of ROCm there are builds for, for Linux on x86 alone; one runs on ROCm of its own major version from there on."""
SOURCE: Final = "source"
"""No build of the index: compiled here, for this very machine."""
NAMES: Final = ("cpu", *(f"cu{a}{b}" for a, b in CUDA), "metal", *(f"rocm{a}{b}" for a, b in ROCM), SOURCE, "vulkan")


def suiting(
    vendors: Collection[Vendor], os: str, driver_cuda: Version | None, rocm: Version | None = None, capabilities: Collection[Version] = ()
) -> str:
    """The build for a machine's GPUs, as the index names it; `os` is platform.system()'s.

    `driver_cuda` is the newest CUDA the driver runs, `rocm` the ROCm that is installed, `capabilities` the compute capabilities of NVIDIA's
    GPUs, as far as the driver tells them.
    """
    if "NVIDIA" in vendors:
        built = [version for version in CUDA if os != "Windows" or version not in CUDA_NOT_ON_WINDOWS]
        fitting = [version for version in built if version <= (driver_cuda or (0, 0)) and not without_kernels(version[0], capabilities)]
        return f"cu{fitting[-1][0]}{fitting[-1][1]}" if fitting else "vulkan"
    if "Apple" in vendors:
        return "metal"
    if "AMD" not in vendors:
        return "cpu"
    running = [version for version in ROCM if os == "Linux" and rocm and rocm[0] == version[0] and rocm >= version]
    return f"rocm{running[-1][0]}{running[-1][1]}" if running else "vulkan"


def without_kernels(cuda: int, capabilities: Collection[Version]) -> list[Version]:
    """Those compute capabilities that builds for this major version of CUDA have no kernels for."""
    least, most = KERNELS[cuda]
    return [capability for capability in capabilities if not least <= capability <= most]


def is_built(build: str, machine: str) -> bool:
    """Whether there is such a build for this kind of processor (platform.machine()): those for GPUs but Apple's are for x86 alone."""
    return build in {"cpu", "metal"} or machine.casefold() in X86


def why_unfit(
    build: str,
    os: str,
    machine: str,
    driver_cuda: Version | None = None,
    rocm: Version | None = None,
    capabilities: Collection[Version] = (),
) -> str:
    """Why a build of `NAMES` cannot run on such a machine, the rest as in `suiting`; empty where it may."""
    if build == SOURCE:
        return ""
    if build == "metal":
        return "" if os == "Darwin" else "Metal is Apple's alone"
    if not is_built(build, machine):
        return f"there is none for {machine} processors"
    if os == "Darwin" and build != "cpu":
        return "macOS has Metal alone"
    if build.startswith("rocm"):
        return _why_no_rocm(build, os, rocm)
    return _why_no_cuda(build, os, driver_cuda, capabilities) if build.startswith("cu") else ""


def _why_no_rocm(build: str, os: str, rocm: Version | None) -> str:
    if os != "Linux":
        return "it is for Linux alone"
    needed = next(version for version in ROCM if build == f"rocm{version[0]}{version[1]}")
    if rocm and rocm[0] == needed[0] and rocm >= needed:
        return ""
    return f"it needs ROCm {needed[0]}.{needed[1]}, and " + (f"{rocm[0]}.{rocm[1]} is installed" if rocm else "none is installed")


def _why_no_cuda(build: str, os: str, driver_cuda: Version | None, capabilities: Collection[Version]) -> str:
    needed = next(version for version in CUDA if build == f"cu{version[0]}{version[1]}")
    if os == "Windows" and needed in CUDA_NOT_ON_WINDOWS:
        return "there is none for Windows"
    if driver_cuda is None:
        return "no driver of NVIDIA's answers here"
    if needed > driver_cuda:
        return f"the driver runs CUDA up to {driver_cuda[0]}.{driver_cuda[1]}"
    lacking = without_kernels(needed[0], capabilities)
    return f"it has no kernels for a GPU of compute capability {lacking[0][0]}.{lacking[0][1]}" if lacking else ""
