"""The build of llama.cpp that mends a machine, and the command that installs it (pure)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from qwq_local import builds
from qwq_local.builds import Vendor
from qwq_local.doctor.condition import Facts, System
from qwq_local.doctor.trial import CUDA_LIBRARY, Expected, Sought
from qwq_local.errors import SettingsError

NATIVE: Final = "-DGGML_NATIVE=on"
CUDA_FLAG, VULKAN_FLAG = "-DGGML_CUDA=on", "-DGGML_VULKAN=on"
"""ggml/CMakeLists.txt; Metal is on by itself."""
TOOLS: Final[Mapping[str, str]] = {"c++": "a C++ compiler", "nvcc": "NVIDIA's CUDA toolkit", "glslc": "the Vulkan SDK"}
"""What compiling needs, by the program that it is told by."""
_PACKAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "apt": {"c++": "build-essential", "nvcc": "nvidia-cuda-toolkit", "glslc": "libvulkan-dev glslc"},
    "dnf": {"c++": "gcc-c++ make", "nvcc": "cuda-toolkit", "glslc": "vulkan-headers vulkan-loader-devel glslc"},
    "pacman": {"c++": "base-devel", "nvcc": "cuda", "glslc": "vulkan-headers vulkan-icd-loader shaderc"},
    "zypper": {"c++": "gcc-c++ make", "nvcc": "cuda-toolkit", "glslc": "vulkan-devel shaderc"},
    "apk": {"c++": "build-base linux-headers", "glslc": "vulkan-headers vulkan-loader-dev shaderc"},
    "winget": {"c++": "Microsoft.VisualStudio.2022.BuildTools", "nvcc": "Nvidia.CUDA", "glslc": "KhronosGroup.VulkanSDK"},
}
"""The packages that bring them, by the program that installs packages."""
_INSTALL: Final[Mapping[str, str]] = {"pacman": "sudo pacman -S --needed", "apk": "sudo apk add", "winget": "winget install"}
_VISUAL_CPP: Final = ' --override "--wait --passive --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"'
"""Unless it is asked for, they come without a compiler (learn.microsoft.com, "Use command-line parameters to install Visual Studio")."""


_VENDORS: Final[Mapping[str, Vendor]] = {"cu": "NVIDIA", "rocm": "AMD", "metal": "Apple"}
"""Whose GPUs a build is for, by what its name begins with; the others are for anybody's."""


@dataclass(frozen=True)
class Choice:
    """A build by its name in `builds.NAMES`, and what it is compiled with where that is `source`."""

    name: str
    cmake_args: str = ""


Found: TypeAlias = tuple[str, str, bool] | tuple[str, str, bool, Choice]
"""What a check tells of a trouble: what follows `check` in `diagnosis.Trouble`."""


def suiting(facts: Facts) -> Choice:
    """The build for this machine's GPU, compiled where there is none for this kind of processor."""
    system = facts.system
    name = builds.suiting({gpu.vendor for gpu in facts.gpus}, system.os, system.driver_cuda, system.rocm, facts.capabilities)
    return Choice(name) if builds.is_built(name, system.machine) else compiled(facts)


def suiting_that_loads(facts: Facts) -> Choice:
    """The same where the installed one does not load: builds for CUDA need its libraries installed, those for Vulkan the driver alone."""
    is_for_x86 = builds.is_built("vulkan", facts.system.machine)
    return Choice("vulkan") if is_for_x86 and CUDA_LIBRARY.search(facts.build.failure) else suiting(facts)


def compiled(facts: Facts) -> Choice:
    """Compiled for this very CPU, and for its GPU."""
    return Choice(builds.SOURCE, NATIVE + _gpu_flag(facts))


def named(facts: Facts, name: str) -> Choice:
    """The build that the user names. Raises SettingsError for a name that is none, or a build that cannot run here."""
    if name not in builds.NAMES:
        raise SettingsError(f"build is {name!r}, and there is none of that name.", hint=f"There are {', '.join(builds.NAMES)}.")
    system = facts.system
    if why := builds.why_unfit(name, system.os, system.machine, system.driver_cuda, system.rocm, facts.capabilities):
        raise SettingsError(f"build is {name!r}, which does not fit this machine: {why}.", hint=f"--build {suiting(facts).name} does.")
    return compiled(facts) if name == builds.SOURCE else Choice(name)


def expected(facts: Facts, choice: Choice) -> Expected:
    """What that build must show when it is tried."""
    is_for_cpu = choice.name == "cpu" or (choice.name == builds.SOURCE and not (facts.gpus or CUDA_FLAG in choice.cmake_args))
    if is_for_cpu:
        return Expected()
    vendor = next((vendor for kind, vendor in _VENDORS.items() if choice.name.startswith(kind)), None)
    sought = [Sought(gpu.vendor, "" if gpu.vendor == "AMD" else gpu.name) for gpu in facts.gpus if vendor in {None, gpu.vendor}]
    return Expected(offloads=True, gpus=tuple(dict.fromkeys(sought)))  # Linux does not name AMD's


def exchange(facts: Facts, choice: Choice, finding: str) -> Found:
    """What a check tells where that build mends the trouble; or what must be done before, where something is missing for it."""
    if stop := hindrance(facts.system, choice):
        return f"{finding} {stop[0]}", stop[1], False
    return finding, command_by_hand(facts.system, choice), True, choice


def hindrance(system: System, choice: Choice) -> tuple[str, str] | None:
    """Why that build cannot be put in place, and the command that helps; None where it can."""
    if system.packager.problem:
        return system.packager.problem, system.packager.remedy
    missing = [tool for tool in _tools(choice) if tool in system.missing_tools]
    if not missing:
        return None
    return f"It must be compiled, which needs {' and '.join(TOOLS[tool] for tool in missing)}.", _bring(system, missing)


def command_by_hand(system: System, choice: Choice) -> str:
    """The command that installs that build, for whoever would rather type it."""
    install = (*installer(system), "--force-reinstall", "--no-deps")
    is_windows = system.os == "Windows"
    quoted = " ".join([f'"{install[0]}"', *install[1:]]) if is_windows else shlex.join(install)
    if choice.name != builds.SOURCE:
        return f'{quoted} --index-url {builds.INDEX}/{choice.name} "{builds.REQUIREMENT}"'
    line = f'{quoted} --no-cache-dir --no-binary llama-cpp-python "{builds.REQUIREMENT}"'
    if is_windows:
        return f'set "CMAKE_ARGS={choice.cmake_args}" && {line}'
    return f"CMAKE_ARGS={shlex.quote(choice.cmake_args)} {line}"


def installer(system: System) -> tuple[str, ...]:
    """What an install begins with."""
    return system.packager.command or (system.python, "-m", "pip", "install")


def _tools(choice: Choice) -> list[str]:
    if choice.name != builds.SOURCE:
        return []
    for_gpu = [tool for flag, tool in ((CUDA_FLAG, "nvcc"), (VULKAN_FLAG, "glslc")) if flag in choice.cmake_args]
    return ["c++", *for_gpu]


def _bring(system: System, tools: list[str]) -> str:
    """The command that installs them, in the words of this system."""
    if system.os == "Darwin":
        return "xcode-select --install"
    packages = _PACKAGES.get(system.installs_with, {})
    wanted = [packages[tool] for tool in tools if tool in packages]
    if system.installs_with == "winget":
        return " && ".join(f"winget install {package}" + (_VISUAL_CPP if "BuildTools" in package else "") for package in wanted)
    if not wanted:
        return f"install {' and '.join(TOOLS[tool] for tool in tools)} with your system's packages"
    return f"{_INSTALL.get(system.installs_with, f'sudo {system.installs_with} install')} {' '.join(wanted)}"


def _gpu_flag(facts: Facts) -> str:
    """For what it was built for, or else for the GPU there is."""
    build, vendors = facts.build, {gpu.vendor for gpu in facts.gpus}
    if build.cuda is not None or ("NVIDIA" in vendors and not build.offloads):
        return f" {CUDA_FLAG}"
    is_vulkan = build.offloads and facts.system.os != "Darwin"
    return f" {VULKAN_FLAG}" if is_vulkan or "AMD" in vendors else ""
