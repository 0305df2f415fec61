"""A build of llama.cpp fetched or compiled into a folder of its own by pip or uv, and what they complain of in our words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qwq_local import builds
from qwq_local.doctor.condition import System
from qwq_local.doctor.remedy import Choice, installer
from qwq_local.doctor.running import Ended, Order
from qwq_local.errors import InstallationError

_NO_NETWORK: Final = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|Max retries exceeded|ProxyError|SSLError|Could not fetch URL|dns error"
    r"|error sending request|failed to fetch|Failed to establish|Connection refused|Network is unreachable|timed out",
    re.IGNORECASE,
)
_NO_SUCH: Final = re.compile(r"No matching distribution|Could not find a version|No solution found|not found in the package registry")
_FULL: Final = re.compile(r"No space left|ENOSPC|os error 28|not enough space", re.IGNORECASE)
_DENIED: Final = re.compile(r"Permission denied|Access is denied|EACCES", re.IGNORECASE)
_COMPILING: Final = re.compile(r"CMake Error|CMAKE_CXX_COMPILER|Failed building wheel|Failed to build|build backend", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """Where builds come from: an address or a folder that has a folder for each."""

    index: str = builds.INDEX

    def of(self, choice: Choice) -> str:
        """The address of one build's folder."""
        folder = Path(self.index).expanduser()
        root = folder.absolute().as_uri() if folder.is_dir() else self.index.rstrip("/")
        return f"{root}/{choice.name}"


def fetching(system: System, choice: Choice, source: Source, target: Path) -> Order:
    """What puts that build into an empty folder."""
    install = (*installer(system), "--no-deps", "--target", str(target))
    if choice.name == builds.SOURCE:
        arguments = (*install, "--no-cache-dir", "--no-binary", "llama-cpp-python", builds.REQUIREMENT)
        return Order(arguments, {**_ENVIRONMENT, "CMAKE_ARGS": choice.cmake_args}, is_shown=True)
    # Where the user's own settings name a second index, neither its builds nor its source must be taken instead.
    url = source.of(choice)
    index = ("--index", url, "--default-index", url) if system.packager.is_uv else ("--index-url", url)
    arguments = (*install, "--only-binary", "llama-cpp-python", *index, builds.REQUIREMENT)
    return Order(arguments, {**_ENVIRONMENT, "PIP_EXTRA_INDEX_URL": url, "UV_FIND_LINKS": ""}, is_shown=True)


_ENVIRONMENT: Final[Mapping[str, str]] = {
    "PIP_USER": "0",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_COMPILE": "0",  # pip reads it as the value of what it negates: nothing is compiled
    "UV_LINK_MODE": "copy",
}
"""Whatever the user has set for other installs (pip.pypa.io/en/stable/topics/configuration, docs.astral.sh/uv/reference/environment)."""


def refused(ended: Ended, choice: Choice, source: Source, system: System) -> InstallationError:
    """What is told where the fetching failed."""
    told, where = ended.told, source.of(choice)
    if _FULL.search(told):
        return InstallationError(f"The disk is full: {choice.name} could not be put on it.", hint="Free some space, then try again.")
    if _COMPILING.search(told) and choice.name == builds.SOURCE:
        return InstallationError(f"llama.cpp could not be compiled: {ended.reason}.", hint="What the compiler says is above.")
    if _NO_NETWORK.search(told):
        where = "The package index" if choice.name == builds.SOURCE else where
        return InstallationError(
            f"{where} cannot be reached.", hint="Look at the network and the proxy, or name a mirror or a folder: --index-url"
        )
    if _NO_SUCH.search(told):
        other = "--build source compiles one" if choice.name != builds.SOURCE else "Look at pip's settings"
        message = f"{where} has no {builds.REQUIREMENT} for {system.os} on {system.machine} and this Python."
        return InstallationError(message, hint=f"{other}; or --index-url names another place.")
    if _DENIED.search(told):
        return InstallationError(f"{ended.reason}.", hint="Run it as the one who installed qwq-local.")
    return InstallationError(f"{choice.name} could not be fetched: {ended.reason}.", hint="What the program says is above.")
