"""The virtual environment that a kit's program lives in: made where no pip is, filled from the kit's wheels, and fit to be renamed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from .manifest import WHEELS, Manifest
from .trouble import InstallError

IS_WINDOWS = os.name == "nt"
SCRIPTS = "Scripts" if IS_WINDOWS else "bin"
TOLD_LINES = 4


def python_of(environment: Path) -> Path:
    """The Python of an environment."""
    return environment / SCRIPTS / ("python.exe" if IS_WINDOWS else "python")


def program_of(environment: Path) -> list[str]:
    """What starts `qwq` in an environment, wherever it was renamed to."""
    return [str(python_of(environment)), "-I", "-m", "qwq_local.cli"]


def make_environment(environment: Path, kit: Path, manifest: Manifest) -> None:
    """Make it, and install what the kit holds. Raises InstallError, or OSError where the disk refuses."""
    venv.EnvBuilder(with_pip=False, symlinks=not IS_WINDOWS, prompt="qwq").create(environment)
    [pip] = (kit / WHEELS).glob("pip-*.whl")
    options = ["--isolated", "--disable-pip-version-check", "--no-input", "--quiet"]
    sources = ["--no-index", "--no-cache-dir", "--only-binary=:all:", "--find-links", str(kit / WHEELS)]
    runner = [str(python_of(environment)), "-I", str(pip / "pip")]
    install = [*runner, "install", *options, *sources, manifest.requirement, "pip"]
    _run(install, environment, "pip could not install the kit's wheels")
    _run([*runner, "check", *options], environment, "The kit's wheels do not go together")


def move_environment(environment: Path, place: Path) -> None:
    """Rename it. Its scripts name the folder that they were made in, so this is changed to the new one first; raises OSError.

    Windows' scripts are programs, where it cannot be changed: they go, and `qwq` is started through Python.
    """
    if IS_WINDOWS:
        for script in (environment / SCRIPTS).glob("*.exe"):
            if not script.name.lower().startswith("python"):
                script.unlink()
    for script in [*(environment / SCRIPTS).iterdir(), environment / "pyvenv.cfg"]:
        if script.is_file() and not script.is_symlink() and script.suffix != ".exe":
            content = script.read_bytes()
            script.write_bytes(content.replace(os.fsencode(environment), os.fsencode(place)))
    environment.rename(place)


def clean_variables() -> dict[str, str]:
    """This process's, without what would lead a Python elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}


def _run(command: list[str], home: Path, complaint: str) -> None:
    """Run pip, which does not start without a home folder, and needs nothing of the user's."""
    done = subprocess.run(  # noqa: S603 - the kit's own pip
        command, capture_output=True, text=True, errors="replace", env=clean_variables() | {"HOME": str(home)}, check=False
    )
    if done.returncode == 0:
        return
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    if "No space left" in done.stderr or "Errno 28" in done.stderr:
        raise InstallError("The disk is full: the program could not be put in place.", "Free some space and run ./install again.")
    told = "\n  ".join(lines[-TOLD_LINES:]) or f"it ended with {done.returncode}"
    raise InstallError(
        f"{complaint} ({Path(sys.executable).name} {sys.version.split()[0]}):\n  {told}", "Copy the kit again, or make it again."
    )
