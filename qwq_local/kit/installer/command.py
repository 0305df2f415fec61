"""`qwq` on the command line: a link where the user's programs are, or on Windows a file that starts it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from .environment import SCRIPTS
from .place import Place


def link_program(place: Place) -> tuple[Path, str]:
    """Make it, and return it with what the user should know of it, or nothing. Raises OSError."""
    if sys.platform == "win32":
        return _write_starter(place.root), f"To start it from anywhere, add {place.root} to your PATH."
    program, link = place.app / SCRIPTS / "qwq", Path.home() / ".local" / "bin" / "qwq"
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


def _write_starter(root: Path) -> Path:
    starter = root / "qwq.cmd"
    starter.write_text('@"%~dp0app\\Scripts\\python.exe" -I -m qwq_local.cli %*\r\n', "utf-8", newline="")
    return starter
