"""pip, run to bring wheels for any platform, and its complaints in our words."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from qwq_local.errors import InstallationError, WheelLackingError
from qwq_local.kit.platforms import Platform

TOLD_LINES: Final = 3
_LACKING: Final = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)")
_NO_NETWORK: Final = (
    "NewConnectionError",
    "Failed to establish",
    "Name or service not known",
    "ConnectTimeout",
    "NameResolutionError",
    "ProxyError",
)
_QUIET: Final = ("--disable-pip-version-check", "--no-input", "--quiet", "--quiet")


def find_pip() -> list[str]:
    """The command of pip here: the environment's own, or the one that Python brings for new environments. Raises InstallationError."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("ensurepip"):
        import ensurepip

        bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        if bundled:
            return [sys.executable, str(bundled[-1] / "pip")]
    raise InstallationError(
        f"A kit is gathered with pip, and {sys.executable} has none.",
        hint="Install it beside qwq: uv pip install pip, or pipx inject qwq-local pip",
    )


def download(requirements: Sequence[str], platform: Platform, python: str, folder: Path, sources: Sequence[str] = ()) -> None:
    """Bring a wheel of each into the folder, and nothing that these need in turn.

    Raises WheelLackingError for one that has no wheel there, InstallationError for whatever else pip says.
    """
    targets = [option for name in platform.wheel_platforms for option in ("--platform", name)]
    version = ["--python-version", python, "--implementation", "cp", "--abi", f"cp{python.replace('.', '')}"]
    what = ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    run_pip(["download", *what, *targets, *version, *sources, *requirements])


def build(requirement: str, folder: Path, *, variables: Mapping[str, str] | None = None, is_cached: bool = True) -> None:
    """Make a wheel of it for this Python, compiling what must be. Raises as `download` does.

    pip's cache does not know with which variables a wheel was compiled: where these count it is not to be used.
    """
    cache = [] if is_cached else ["--no-cache-dir"]
    run_pip(["wheel", "--no-deps", "--wheel-dir", str(folder), *cache, requirement], variables or {})


def run_pip(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    """Run it, and wait. Raises WheelLackingError or InstallationError."""
    command, *options = arguments
    done = subprocess.run(  # noqa: S603 - this Python's pip
        [*find_pip(), command, *_QUIET, *options],
        env=os.environ | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise _complaint(done.stderr + done.stdout)


def _complaint(said: str) -> InstallationError:
    if any(sign in said for sign in _NO_NETWORK):
        return InstallationError("pip cannot reach its index.", hint="Make the kit where there is network; what was gathered stays.")
    if "No space left" in said:
        return InstallationError("The disk is full.", hint="Free some space; the same command goes on from here.")
    if lacking := _LACKING.search(said):
        return WheelLackingError(
            f"There is no wheel of {lacking[1]} for it: {_end(said)}", hint="Take another --platform or --python.", package=lacking[1]
        )
    return InstallationError(f"pip failed: {_end(said)}", hint="What was gathered stays; the same command goes on from here.")


def _end(said: str) -> str:
    lines = [line for line in said.strip().splitlines() if line.strip() and not line.startswith("WARNING")]
    told = [line for line in lines if line.startswith("ERROR")] or lines
    return " ".join(line[:400] for line in told[-TOLD_LINES:])
