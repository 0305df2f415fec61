"""How the program itself goes: by whatever brought it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from qwq_local.cli.leaving.clearing import Left, remove_file, remove_tree
from qwq_local.installation import DISTRIBUTION, KIT_MARK, Installation

KIT_LEFTOVERS: Final = ("app.new", "app.old")
"""What an installation from a kit that was killed leaves beside the program."""


@dataclass(frozen=True)
class Departure:
    """`command` takes the program away, or nothing does but the user; `does_it` says whether we run it; `then` is what stays, or is to do.

    `folder` goes with all that is in it: that of a program that came with a kit.
    """

    command: tuple[str, ...] = ()
    does_it: bool = False
    then: str = ""
    folder: Path | None = None

    @property
    def told(self) -> str:
        """The command as a shell takes it."""
        return shlex.join(self.command)


def plan_departure(here: Installation, find_program: Callable[[str], str | None] = shutil.which, system: str = sys.platform) -> Departure:
    """How this installation goes. A program cannot delete itself on Windows, where it is told how."""
    ways: dict[str, Callable[[], Departure]] = {
        "kit": lambda: _of_kit(here),
        "app": lambda: Departure(then=f"The app is a folder: delete {here.folder}"),
        "deb": lambda: Departure(("sudo", "apt-get", "purge", DISTRIBUTION)),
        "pipx": lambda: _by(("pipx", "uninstall", DISTRIBUTION), find_program),
        "uv": lambda: _by(("uv", "tool", "uninstall", DISTRIBUTION), find_program),
    }
    found = ways.get(here.kind, lambda: _by_pip(here, find_program))()
    if system == "win32" and found.folder:
        return Departure(then=f"Delete {found.folder} once this has ended.")
    return Departure(found.command, found.does_it and system != "win32", found.then, found.folder)


def depart(departure: Departure) -> list[Left]:
    """Take the program away, as far as we do it; what is left. Nothing of this package can be imported afterwards."""
    if departure.folder:
        return _remove_kit(departure.folder)
    if not departure.does_it:
        return []
    done = subprocess.run(  # noqa: S603 - a command of ours, without a shell
        departure.command, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, check=False
    )
    said = " ".join((done.stderr or done.stdout).split())
    return [Left(Path(departure.command[0]), f"{departure.told} failed: {said}")] if done.returncode else []


def _by(command: tuple[str, ...], find_program: Callable[[str], str | None]) -> Departure:
    return Departure(command, does_it=find_program(command[0]) is not None)


def _by_pip(here: Installation, find_program: Callable[[str], str | None]) -> Departure:
    then = f"The source stays: {Path(__file__).parents[3]}" if here.kind == "source" else ""
    try:
        distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return Departure(then=then)
    if sys.prefix != sys.base_prefix:
        needs = f"What it needed stays in {here.folder}: delete that folder if the environment was made for qwq."
        then = f"{needs} {then}".rstrip()
    if find_spec("pip"):
        return Departure((sys.executable, "-m", "pip", "uninstall", "--yes", DISTRIBUTION), does_it=True, then=then)
    command = ("uv", "pip", "uninstall", "--python", sys.executable, DISTRIBUTION)
    return Departure(command, does_it=find_program("uv") is not None, then=then)


def _of_kit(here: Installation) -> Departure:
    return Departure(folder=here.folder)


def _remove_kit(folder: Path) -> list[Left]:
    """The environment that the kit's installer made, its lock, and the link to it; the mark goes last, so that it is known until then."""
    link = Path.home() / ".local" / "bin" / "qwq"
    left: list[Left] = []
    for each in (link, link.with_name(".qwq.new")):  # the other is what an installation that was killed leaves
        if each.is_symlink() and folder in (each.parent / each.readlink()).parents:
            left += remove_file(each)
    if folder.name == "app":
        left += [failure for name in KIT_LEFTOVERS if (folder.parent / name).is_dir() for failure in remove_tree(folder.parent / name)]
        left += remove_file(folder.parent / ".lock")
    if not (folder / KIT_MARK).is_file():
        return left
    left += remove_tree(folder)
    if folder.name == "app" and not left and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return left
