"""What exchanges packages in this environment, and what compiles them: found out by looking."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from qwq_local.builds import Version
from qwq_local.doctor.condition import Packager
from qwq_local.doctor.site import is_writable
from qwq_local.installation import Installation

OWN_ENVIRONMENT: Final = "pipx install qwq-local"
SYSTEM_PACKAGERS: Final = ("apt", "dnf", "pacman", "zypper", "apk", "winget")
ROCM_VERSION: Final = Path("/opt/rocm/.info/version")
_COMPILERS: Final = ("c++", "g++", "clang++", "icpx")


def find_packager(installation: Installation, site: Path) -> Packager:
    """What installs into this environment, whose packages are in `site`; or why nothing does, and what helps."""
    if hindrance := _hindrance(installation, site):
        return hindrance
    if find_spec("pip"):
        return Packager((sys.executable, "-m", "pip", "install"))
    if uv := os.environ.get("UV") or shutil.which("uv"):
        return Packager((uv, "pip", "install", "--python", sys.executable))
    if find_spec("ensurepip"):
        return Packager(problem=f"There is no pip in {sys.prefix}.", remedy=f"{_quoted(sys.executable)} -m ensurepip --upgrade")
    return Packager(problem=f"There is neither pip nor uv for {sys.prefix}.", remedy=OWN_ENVIRONMENT)


def _hindrance(installation: Installation, site: Path) -> Packager | None:
    """Why nothing may change this environment, whatever there is to change it with."""
    if not installation.has_pip:
        kind = "Debian package" if installation.kind == "deb" else "app"
        return Packager(problem=f"This {kind} is a whole, whose llama.cpp cannot be exchanged.", remedy=OWN_ENVIRONMENT)
    if _is_managed():
        return Packager(problem=f"{sys.prefix} is managed by the system, and pip may not change it (PEP 668).", remedy=OWN_ENVIRONMENT)
    if not is_writable(site):
        return Packager(problem=f"{site} may not be written.", remedy=_as_owner(installation))
    return None


def missing_tools() -> frozenset[str]:
    """Those of `remedy.TOOLS` that are not here."""
    found = {
        "c++": _has_compiler(),
        "nvcc": bool(shutil.which("nvcc") or os.environ.get("CUDACXX") or Path("/usr/local/cuda/bin/nvcc").is_file()),
        "glslc": bool(shutil.which("glslc") or os.environ.get("VULKAN_SDK")),
    }
    return frozenset(tool for tool, is_here in found.items() if not is_here)


def system_packager() -> str:
    """The program that installs the system's packages; empty where none is known."""
    return next((name for name in SYSTEM_PACKAGERS if shutil.which(name)), "")


def rocm_version(path: Path = ROCM_VERSION) -> Version | None:
    """The ROCm that is installed, as its own file says it: 7.2.0-43."""
    try:
        found = re.match(r"(\d+)\.(\d+)", path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return (int(found[1]), int(found[2])) if found else None


def _is_managed() -> bool:
    """Whether the system keeps this Python's packages for itself; an environment made from it is free (PEP 668)."""
    return sys.prefix == sys.base_prefix and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file()


def _as_owner(installation: Installation) -> str:
    if platform.system() == "Windows":
        return 'powershell -Command "Start-Process cmd -Verb RunAs"'
    return f"sudo {shlex.join(installation.program)} doctor --fix"


def _has_compiler() -> bool:
    if os.environ.get("CXX") or any(map(shutil.which, _COMPILERS)):
        # Apple's stand for a compiler that is yet to be installed (xcode-select(1)).
        return platform.system() != "Darwin" or _succeeds("xcode-select", "-p")
    return platform.system() == "Windows" and (bool(shutil.which("cl")) or _has_visual_cpp())


def _has_visual_cpp() -> bool:
    """Visual Studio's own finder lies at a fixed place (github.com/microsoft/vswhere, "installer")."""
    finder = Path(os.environ.get("PROGRAMFILES(X86)", "")) / "Microsoft Visual Studio" / "Installer" / "vswhere.exe"
    needed = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
    return finder.is_file() and _succeeds(str(finder), "-products", "*", "-requires", needed, "-property", "installationPath")


def _succeeds(*command: str) -> bool:
    """Whether it ran, succeeded and printed something."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=30)  # noqa: S603 - the system's own
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def _quoted(text: str) -> str:
    return f'"{text}"' if platform.system() == "Windows" else shlex.quote(text)
