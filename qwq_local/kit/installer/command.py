"""`qwq` on the command line: a link where the user's programs are, or on Windows a file that starts it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from .environment import SCRIPTS, program_of
from .place import Place

STARTER = '@"%~dp0app\\Scripts\\python.exe" -I -m qwq_local.cli %*\r\n'
"""What starts it on Windows, from the folder that it lies in."""


def link_program(place: Place) -> tuple[Path, str]:
    """Make it, and return it with what the user should know of it, or nothing; the program itself where it cannot be made."""
    program = place.app / SCRIPTS / "qwq"
    try:
        link = place.root / "qwq.cmd" if sys.platform == "win32" else Path.home() / ".local" / "bin" / "qwq"
    except RuntimeError:
        return program, f"this user has no home folder for a link to it: start it as {program}"
    try:
        if sys.platform == "win32":
            link.write_text(STARTER, "utf-8", newline="")
            return link, f"To start it from anywhere, add {place.root} to your PATH."
        return _link(place, program, link)
    except OSError as error:
        started = shlex.join(program_of(place.app)) if sys.platform == "win32" else program
        return program, f"{link} cannot be made ({error.strerror}): start it as {started}"


def _link(place: Place, program: Path, link: Path) -> tuple[Path, str]:
    if os.path.lexists(link) and not _is_ours(link, place):
        return program, f"{link} is another program's, and was left alone."
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_name(f".{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(program)
    draft.replace(link)
    if str(link.parent) in os.environ.get("PATH", "").split(os.pathsep):
        return link, ""
    return link, f"{link.parent} is not on your PATH: log in anew, or start it as {link}"


def removal(place: Place, program: Path, system: str = sys.platform) -> str:
    """The command that removes what was made, and leaves what else the folder holds."""
    files = [place.lock, *([] if place.app in program.parents else [program])]
    if system == "win32":
        return f'rd /s /q "{place.app}" & del /q ' + " ".join(f'"{file}"' for file in files)
    return shlex.join(["rm", "-r", *map(str, [place.app, *files])])


def _is_ours(link: Path, place: Place) -> bool:
    """Whether a link leads to a kit's program, or nowhere."""
    return link.is_symlink() and (
        not link.exists() or place.root in Path(os.path.realpath(link, strict=False)).parents or _leads_to(link, place)
    )


def _leads_to(link: Path, place: Place) -> bool:
    return place.root in link.readlink().parents
