"""A service kept alive by macOS's launchd, as an agent of the user who is logged in: launchctl(1)."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from qwq_local.errors import InstallationError
from qwq_local.service.launchd_job import LABEL, render
from qwq_local.service.launchd_job import read as read_job
from qwq_local.service.manager import Run, Start, State, delete, must, read_order, run, write
from qwq_local.service.order import Order

TRIES: Final = 20
"""launchctl bootout comes back before the job is gone, and bootstrap fails until it is."""


@dataclass(frozen=True)
class Launchd:
    """The manager of one user."""

    home: Path
    user_id: int
    run: Run = run
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def file(self) -> Path:
        """The agent's property list."""
        return self.home / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    @property
    def log(self) -> Path:
        """Where launchd writes what the service tells."""
        return self.home / "Library" / "Logs" / "qwq" / "service.log"

    @property
    def _domain(self) -> str:
        return f"gui/{self.user_id}"

    @property
    def _job(self) -> str:
        return f"{self._domain}/{LABEL}"

    def require(self) -> None:
        """Raises InstallationError where nobody is logged in at the screen, since agents live there."""
        asked = self.run(["launchctl", "print", self._domain])
        if asked.code:
            raise InstallationError(
                f"launchd has no session of user {self.user_id}: {asked.said}",
                hint="Log in at the screen, and try again (ssh is no such login).",
            )

    def adapt(self, order: Order) -> Order:
        """There are no namespaces to be had or not."""
        render(order, self.log)
        return replace(order, has_namespaces=True)

    def find(self) -> Order | None:
        """What the property list says."""
        return read_order(self.file, read_job)

    def start(self, order: Order) -> None:
        """Write the property list, and have launchd read it."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InstallationError(f"{self.log.parent} cannot be made: {error.strerror}.", hint="Make its folder writable.") from error
        write(self.file, render(order, self.log))
        self.run(["launchctl", "bootout", self._job])
        self._wait_until_gone()
        must(self.run, "launchctl", "enable", self._job)
        must(self.run, "launchctl", "bootstrap", self._domain, str(self.file))

    def take_away(self) -> None:
        """Out of launchd, and the files deleted."""
        self.run(["launchctl", "bootout", self._job])
        self._wait_until_gone()
        delete(self.file, self.log)
        if self.log.parent.is_dir() and not any(self.log.parent.iterdir()):
            self.log.parent.rmdir()

    def _wait_until_gone(self) -> None:
        for _ in range(TRIES * 5):
            if self.run(["launchctl", "print", self._job]).code:
                return
            self.sleep(0.5)
        raise InstallationError(f"{LABEL} cannot be stopped.", hint=f"See: launchctl print {self._job}")

    def state(self) -> State:
        """As launchctl prints it."""
        printed = self.run(["launchctl", "print", self._job])
        pid = int(_said(printed.out, "pid") or 0) if not printed.code else 0
        started = self.run(["ps", "-o", "etime=", "-p", str(pid)]).out if pid else ""
        return parse_state(
            "" if printed.code else printed.out, has_file=self.file.exists(), age_seconds=parse_etime(started), now=time.time()
        )

    def log_lines(self, n_lines: int) -> list[str]:
        """From its log."""
        return last_lines(self.log, n_lines)


def parse_state(printed: str, *, has_file: bool, age_seconds: float | None, now: float) -> State:
    """What `launchctl print gui/UID/LABEL` says; nothing where launchd does not know the job."""
    pid, runs, status = _said(printed, "pid"), _said(printed, "runs"), _said(printed, "last exit code")
    starts: Start = "at login" if has_file else "never"
    return State(
        is_running=_said(printed, "state") == "running" and bool(pid),
        pid=int(pid) if pid.isdigit() else None,
        since=now - age_seconds if pid and age_seconds is not None else None,
        restarts=max(0, int(runs) - 1) if runs.isdigit() else None,
        starts=starts,
        end=f"it ended with exit status {status}" if not pid and status[:1].isdigit() else "",
    )


def _said(printed: str, key: str) -> str:
    found = re.search(rf"^\t{re.escape(key)} = (.*)$", printed, re.MULTILINE)
    return found[1].strip() if found else ""


def parse_etime(text: str) -> float | None:
    """The seconds of ps's etime, [[DD-]hh:]mm:ss."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text.strip())
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def last_lines(path: Path, n_lines: int) -> list[str]:
    """The last lines of a log; none where there is no log."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip() for line in deque(file, n_lines)]
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]


def here() -> Launchd:
    """That of this user."""
    return Launchd(Path.home(), os.getuid())
