"""llama.cpp for a kit: compiled here for a machine of this kind, or taken from the index of its builds for another.

What is compiled here is meant to run on any such machine: not for this very processor (GGML_NATIVE), and without OpenMP's library, which a
small system lacks; ggml then uses threads of its own. What reads pictures (mtmd) is left out: QwQ reads text.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Final

from packaging.version import Version

from qwq_local import builds
from qwq_local.errors import InstallationError
from qwq_local.kit import pip_runs
from qwq_local.kit.installer.machine import cpu_flags, this_platform
from qwq_local.kit.platforms import PORTABLE_X86, Platform
from qwq_local.kit.wheels import Wheel, read_wheel, read_wheels

NAME: Final = "llama-cpp-python"
_PORTABLE: Final = "-DGGML_NATIVE=OFF" + (
    " -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=ON -DGGML_FMA=ON -DGGML_F16C=ON"
    if platform.machine().lower() in builds.X86
    else ""
)
"""Named one by one, since ggml leaves all of them out where SOURCE_DATE_EPOCH is set (ggml/CMakeLists.txt, INS_ENB)."""
_ALWAYS: Final = "-DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF"
_FLAGS: Final = {"cpu": "", "metal": "-DGGML_METAL=ON"}
_COMPILED: Final = ("avx", "bmi", "f16c", "fma", "amx", "sse4", "sve", "asimd", "i8mm", "bf16")
"""How those of a processor's abilities begin that ggml is compiled for with GGML_NATIVE."""


def compiles_here(target: Platform, build: str) -> bool:
    """Whether such a build can be compiled on this machine."""
    return target.name == this_platform() and build in _FLAGS and bool(_compiler())


def flags_needed(target: Platform, *, is_compiled: bool, is_native: bool) -> tuple[str, ...]:
    """What a processor must be able to do for such a wheel, as far as it is known."""
    if not is_compiled:
        return ()
    if is_native:
        return tuple(sorted(flag for flag in cpu_flags() if flag.startswith(_COMPILED)))
    return PORTABLE_X86 if target.machine == "x86_64" else ()


def compile_wheel(version: Version, build: str, folder: Path, kept: Path, *, is_native: bool) -> Wheel:
    """Compile it, or take it from the folder of `kept` ones where this was done before. Raises InstallationError or OSError."""
    shelf = kept / f"{build}-{'native' if is_native else 'portable'}"
    for wheel in read_wheels(shelf):
        if wheel.version == version:
            return _put(wheel.path, folder)
    shelf.mkdir(parents=True, exist_ok=True)
    native = "-DGGML_NATIVE=ON" if is_native else _PORTABLE
    said = f"{os.environ.get('CMAKE_ARGS', '')} {native} {_ALWAYS} {_FLAGS[build]}".strip()
    pip_runs.build(f"{NAME}=={version}", shelf, variables={"CMAKE_ARGS": said, "PIP_NO_BINARY": NAME}, is_cached=False)
    [made] = [wheel for wheel in read_wheels(shelf) if wheel.version == version]
    return _put(made.path, folder)


def fetch_wheel(version: Version, build: str, target: Platform, python: str, folder: Path) -> Wheel:
    """Take it from the index. Raises InstallationError that names what is lacking, and why."""
    before = set(folder.glob("*.whl"))
    index = f"{builds.INDEX}/{build}"
    try:
        pip_runs.download(
            [f"{NAME}=={version}"], target, python, folder, ["--index-url", index, "--extra-index-url", index, "--retries", "1"]
        )
    except InstallationError as error:
        compiler = "" if target.name != this_platform() or build not in _FLAGS else " There is no C++ compiler here to make it with."
        raise InstallationError(
            f"The wheel of {NAME} {version} ({build}) for {target.name} is lacking: {index} does not give it.{compiler} {error}",
            hint=_other_way(target, build),
        ) from error
    [path] = set(folder.glob("*.whl")) - before
    wheel = read_wheel(path)
    if wheel is None:
        raise InstallationError(f"{path.name} arrived damaged.", hint="Run the same command again.")
    return wheel


def _other_way(target: Platform, build: str) -> str:
    if build in _FLAGS:
        machine = (
            f"a machine of the kind {target.name} with a C++ compiler{' (Debian: apt install g++)' if target.system == 'Linux' else ''}"
        )
        return f"Make the kit on {machine}, or where that index is reached."
    return f"Make the kit where that index is reached, or take another build: {', '.join(target.builds)}."


def _compiler() -> str | None:
    if sys.platform == "win32":
        return "cl"  # found by CMake, and seldom on the PATH
    return next((path for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and (path := shutil.which(name))), None)


def _put(path: Path, folder: Path) -> Wheel:
    target = folder / path.name
    if not target.exists():
        shutil.copyfile(path, target)
    wheel = read_wheel(target)
    assert wheel is not None
    return wheel
