"""The seam to whatever keeps services alive on a system: what each manager can do, and the commands through which it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from qwq_local.errors import InstallationError
from qwq_local.service.order import Order

COMMAND_SECONDS: Final = 120
NOT_FOUND: Final = 127
Start: TypeAlias = Literal["never", "at login", "at boot"]


class Ran(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def said(self) -> str:
        """What it said, in one line."""
        return " ".join((self.err or self.out).split())


Run: TypeAlias = Callable[[Sequence[str]], Ran]


@dataclass(frozen=True)
class State:
    """How a service is: `since` is when it was started (seconds since 1970), `restarts` how often it was started again by itself.

    None is what the system does not tell. `end` says how it ended, where it did.
    """

    is_running: bool = False
    pid: int | None = None
    since: float | None = None
    restarts: int | None = None
    starts: Start = "never"
    end: str = ""


class Manager(Protocol):
    """What keeps services alive. Each method raises InstallationError where it cannot be done."""

    @property
    def file(self) -> Path:
        """What describes the service."""

    def require(self) -> None:
        """That services can be had here, by this user and now."""

    def adapt(self, order: Order) -> Order:
        """The order as it is carried out here; raises for one that cannot be written down."""

    def find(self) -> Order | None:
        """What is installed, running or not."""

    def start(self, order: Order) -> None:
        """Write it down, have it started now and at each login."""

    def take_away(self) -> None:
        """Stop it and leave nothing of it, whatever there is of it."""

    def state(self) -> State:
        """How it is."""

    def log_lines(self, n_lines: int) -> list[str]:
        """The last lines that it told."""


def run(command: Sequence[str]) -> Ran:
    """Run a command of the system's."""
    try:
        done = subprocess.run(  # noqa: S603 - our own commands, without a shell
            [*command],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            env=command_environment(),
            check=False,
        )
    except FileNotFoundError:
        return Ran(NOT_FOUND, err=f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Ran(1, err=f"{command[0]} did not end within {COMMAND_SECONDS} seconds")
    return Ran(done.returncode, done.stdout, done.stderr)


def command_environment() -> dict[str, str]:
    """That of this process, in English, and with the folder of the user's bus, which su and sudo leave out."""
    environment = dict(os.environ)
    if sys.platform == "linux" and not environment.get("XDG_RUNTIME_DIR"):
        folder = Path(f"/run/user/{os.getuid()}")
        environment |= {"XDG_RUNTIME_DIR": str(folder)} if folder.is_dir() else {}
    return environment | {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}


def must(run: Run, *command: str) -> Ran:
    """Run a command that must succeed. Raises InstallationError with what it said."""
    ran = run(command)
    if ran.code:
        raise InstallationError(f"{' '.join(command)} failed: {ran.said or f'exit status {ran.code}'}", hint="Mend that, and try again.")
    return ran


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all. Raises InstallationError."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise InstallationError(
            f"{path} cannot be written: {error.strerror}.",
            hint=f"Make {path.parent} your own and writable (a former sudo may have made it root's), and try again.",
        ) from error


def read(path: Path) -> bytes | None:
    """A file's content; None where there is no such file. Raises InstallationError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InstallationError(f"{path} cannot be read: {error.strerror}.", hint="Make it your own, and try again.") from error


def delete(*paths: Path) -> None:
    """Delete files, and what a write that was broken off left of them. Raises InstallationError."""
    for path in paths:
        for each in (path, path.with_name(f".{path.name}.part")):
            try:
                each.unlink(missing_ok=True)
            except OSError as error:
                raise InstallationError(f"{each} cannot be deleted: {error.strerror}.", hint="Delete it yourself.") from error


def read_order(path: Path, understand: Callable[[bytes], Order | None]) -> Order | None:
    """What a file of ours orders; None where there is none. Raises InstallationError for one that somebody else wrote."""
    content = read(path)
    if content is None:
        return None
    order = understand(content)
    if order is None:
        raise foreign(path)
    return order


def foreign(path: Path) -> InstallationError:
    """The error for a file of that name that somebody else wrote."""
    return InstallationError(
        f"{path} is there, and runs something else than qwq serve.", hint="Move it away if it is not wanted, and try again."
    )
