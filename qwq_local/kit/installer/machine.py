"""Is a kit for this machine? Its system, its processor, and its C library are asked; nothing is written."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from .manifest import Manifest
from .trouble import InstallError

SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
PROCESSORS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
CPU_INFO = Path("/proc/cpuinfo")


def this_platform() -> str:
    """This machine's, as kits name it: linux-x86_64, linux-aarch64, macos-arm64, windows-x86_64."""
    system = SYSTEMS.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    processor = PROCESSORS.get(machine, machine)
    return f"{system}-{'arm64' if system == 'macos' and processor == 'aarch64' else processor}"


def require_machine(manifest: Manifest) -> None:
    """Raise InstallError where the kit is for another kind of machine than this."""
    here = this_platform()
    if manifest.platform != here:
        raise InstallError(
            f"This kit is for {manifest.platform}; this machine is {here}.", f"Make one for it: qwq kit make DIR --platform {here}"
        )
    if sys.platform == "linux":
        _require_glibc(manifest.glibc, *platform.libc_ver())
    if manifest.macos and sys.platform == "darwin":
        _require_version("macOS", manifest.macos, platform.mac_ver()[0])
    lacking = [flag for flag in manifest.cpu_flags if flag not in flags] if (flags := cpu_flags()) else []
    if lacking:
        raise InstallError(
            f"This kit's llama.cpp was compiled for processors with {', '.join(lacking)}, which this one lacks.",
            "Make the kit without --native, or on a machine with a processor like this one.",
        )


def cpu_flags(path: Path = CPU_INFO) -> set[str]:
    """What this processor can do, as Linux names it; nothing where that is not told."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    told = (line.partition(":") for line in lines)
    return {flag for name, _, flags in told if name.strip() in {"flags", "Features"} for flag in flags.split()}


def _require_glibc(needed: str, library: str, version: str) -> None:
    if library != "glibc":
        raise InstallError(
            f"This kit needs glibc {needed}, and the C library here is {library or 'another (musl, as on Alpine)'}.",
            "Install it on a system with glibc: Debian, Ubuntu, Fedora, Arch and most others.",
        )
    _require_version("glibc", needed, version)


def _require_version(what: str, needed: str, version: str) -> None:
    if needed and _numbers(version) < _numbers(needed):
        raise InstallError(
            f"This kit needs {what} {needed} or newer; here is {version}.", "Make the kit on an older system, or install it on a newer one."
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
