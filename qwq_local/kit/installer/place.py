"""The folder that a kit's program is put into, and how a new one takes the place of an old one.

`app` is the program, `app.new` one that is being made or cleared away, `app.old` the one before it. At any moment one of `app` and
`app.old` is whole, if one ever was: `app`, unless a file in it says that nobody has seen it work. What goes is renamed before it is
deleted, so that nothing of a whole program's name is ever half of one, and whoever is killed between two steps loses nothing: `recover`
puts things right.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .environment import move_environment
from .lock import locked
from .trouble import InstallError

MARK = "qwq-kit.json"
"""As qwq_local/installation.py knows it: it tells the program that a kit brought it, and is written when all else is done."""
OTHER_FOLDER = "Name another folder: ./install --to FOLDER"
UNPROVEN = "qwq-unproven"
"""Lies in a program that has taken its place and was not seen to work there yet."""


class Place:
    """A folder for the program."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.app = root / "app"
        self.new = root / "app.new"
        self.old = root / "app.old"
        self.lock = root / ".lock"

    def recover(self) -> str:
        """Put right what an installation that was killed left behind, and say so. Raises InstallError for what is not ours."""
        if self.app.exists() and not (self.app / MARK).is_file():
            raise InstallError(f"{self.app} was not made by a kit.", OTHER_FOLDER)
        told = ""
        if self.new.exists():
            shutil.rmtree(self.new)
            told = "An installation that did not come to its end was cleared away."
        if (self.app / UNPROVEN).exists() or (self.old.exists() and not self.app.exists()):
            self._give_back()
            told = "An installation that did not come to its end was undone."
        elif self.old.exists():
            shutil.rmtree(self.old)
            told = "An upgrade that did not come to its end was finished."
        return told

    def installed(self) -> dict[str, str]:
        """What the mark of the installed program says; empty where there is none."""
        try:
            said = json.loads((self.app / MARK).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def take(self, mark: dict[str, str], prove: Callable[[], object]) -> None:
        """Let the new program take its place, and `prove` that it works there; where it does not, the old one takes it again.

        Raises OSError, and what `prove` raises.
        """
        (self.new / MARK).write_text(json.dumps(mark, indent=1) + "\n", "utf-8")
        (self.new / UNPROVEN).touch()
        try:
            if self.app.exists():
                self.app.rename(self.old)
            move_environment(self.new, self.app)
            prove()
            (self.app / UNPROVEN).unlink()
        except BaseException:
            self._give_back()
            raise
        shutil.rmtree(self.old, ignore_errors=True)

    def _give_back(self) -> None:
        """Let the old program take its place again, and only then clear the new one away."""
        if (self.app / UNPROVEN).exists():
            self.app.rename(self.new)
        if self.old.exists() and not self.app.exists():
            self.old.rename(self.app)
        shutil.rmtree(self.new, ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one installation works here; a second raises InstallError."""
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.lock, f"Another installation is at work in {self.root}."):
            yield


def default_root() -> Path:
    """Where a user's programs go on this system. Raises InstallError where the user has no home."""
    data = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_DATA_HOME", "")
    if sys.platform == "win32":
        return (Path(data) if data else _home() / "AppData" / "Local") / "qwq-local"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "qwq-local"
    return (Path(data) if data.startswith("/") else _home() / ".local" / "share") / "qwq-local"


def chosen_root(name: str) -> Path:
    """The folder that a user named. Raises InstallError where it cannot be the program's."""
    expanded = os.path.expanduser(name)  # noqa: PTH111 - a Path forgets `..` and links
    if expanded.startswith("~"):
        raise InstallError(f"{name} names a home folder that nobody has.", "Name the folder in full: ./install --to /FOLDER")
    root = Path(os.path.abspath(expanded))  # noqa: PTH100 - likewise
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise InstallError(f"{str(root)!a} is not UTF-8: no program can be put there.", OTHER_FOLDER) from error
    if os.pathsep in str(root):
        raise InstallError(f"{root} has a {os.pathsep} in its name: no environment of Python can be there.", OTHER_FOLDER)
    return root


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise InstallError("This user has no home folder, and HOME is not set.", OTHER_FOLDER) from error
