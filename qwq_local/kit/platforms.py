"""The machines that kits are for (pure): the wheels that run on each, and what its Python says of itself where requirements ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from packaging.tags import Tag, compatible_tags, cpython_tags

from qwq_local import builds
from qwq_local.errors import SettingsError

PYTHONS: Final = ("3.11", "3.12", "3.13")
"""The versions of Python that the package is tested with."""
OLDEST_GLIBC, NEWEST_GLIBC = 17, 39
"""The minor versions of glibc 2 that wheels are asked for, the oldest first: manylinux_2_17 is manylinux2014 (PEP 600)."""
PORTABLE_X86: Final = ("avx2", "bmi2", "f16c", "fma")
"""What ggml is compiled for where it is not to suit this very processor (ggml/CMakeLists.txt, GGML_NATIVE), as /proc/cpuinfo names it."""
LATEST_PATCH: Final = 99


@dataclass(frozen=True)
class Platform:
    """A kind of machine. `wheel_platforms` are the tags of wheels for it, those that suit most machines first.

    The rest is what its Python says of itself (PEP 508, "Environment Markers").
    """

    name: str
    wheel_platforms: tuple[str, ...]
    os_name: str
    sys_platform: str
    system: str
    machine: str
    builds: tuple[str, ...]

    @property
    def default_build(self) -> str:
        """The build of llama.cpp that a kit has where none is named."""
        return self.builds[0]

    def tags(self, python: str) -> Iterator[Tag]:
        """The tags of the wheels that its CPython of that version (`3.12`) can install, the preferred first."""
        version = tuple(int(part) for part in python.split("."))
        abi = f"cp{python.replace('.', '')}"
        yield from cpython_tags(version, [abi], self.wheel_platforms)
        yield from compatible_tags(version, abi, self.wheel_platforms)

    def environments(self, python: str) -> list[dict[str, str]]:
        """What markers are evaluated with: for the first and for the last patch of that version, since nobody knows which it will be."""
        return [
            {
                "implementation_name": "cpython",
                "implementation_version": f"{python}.{patch}",
                "os_name": self.os_name,
                "platform_machine": self.machine,
                "platform_python_implementation": "CPython",
                "platform_release": "",
                "platform_system": self.system,
                "platform_version": "",
                "python_full_version": f"{python}.{patch}",
                "python_version": python,
                "sys_platform": self.sys_platform,
            }
            for patch in (0, LATEST_PATCH)
        ]


def _gpu_builds(*, is_windows: bool) -> tuple[str, ...]:
    missing = builds.CUDA_NOT_ON_WINDOWS if is_windows else frozenset()
    return (*(f"cu{major}{minor}" for major, minor in builds.CUDA if (major, minor) not in missing), "vulkan")


def _linux(processor: str) -> tuple[str, ...]:
    return (
        *(f"manylinux{name}_{processor}" for name in (("1", "2010", "2014") if processor == "x86_64" else ("2014",))),
        *(f"manylinux_2_{minor}_{processor}" for minor in range(5, OLDEST_GLIBC)),
        *(f"manylinux_2_{minor}_{processor}" for minor in range(OLDEST_GLIBC, NEWEST_GLIBC + 1)),
        f"linux_{processor}",
    )


_MACOS: Final = tuple(f"macosx_{major}_0_{processor}" for major in range(11, 16) for processor in ("arm64", "universal2"))
PLATFORMS: Final = (
    Platform("linux-x86_64", _linux("x86_64"), "posix", "linux", "Linux", "x86_64", ("cpu", *_gpu_builds(is_windows=False))),
    Platform("linux-aarch64", _linux("aarch64"), "posix", "linux", "Linux", "aarch64", ("cpu",)),
    Platform(
        "macos-arm64",
        (*_MACOS, "macosx_10_9_universal2", "macosx_10_13_universal2"),
        "posix",
        "darwin",
        "Darwin",
        "arm64",
        ("metal", "cpu"),
    ),
    Platform("windows-x86_64", ("win_amd64",), "nt", "win32", "Windows", "AMD64", ("cpu", *_gpu_builds(is_windows=True))),
)


def find_platform(name: str) -> Platform:
    """The platform of that name. Raises SettingsError."""
    by_name = {platform.name: platform for platform in PLATFORMS}
    if name in by_name:
        return by_name[name]
    near = get_close_matches(name.casefold(), by_name, n=1)
    suggestion = f"Did you mean {near[0]}? " if near else ""
    raise SettingsError(f"There are no kits for {name!r}.", hint=f"{suggestion}There are kits for {', '.join(by_name)}.")
