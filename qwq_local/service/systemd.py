"""A service kept alive by systemd's user manager: systemctl(1), journalctl(1), loginctl(1)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qwq_local.errors import InstallationError
from qwq_local.service.manager import NOT_FOUND, Ran, Run, Start, State, delete, foreign, must, read, run, write
from qwq_local.service.order import Order
from qwq_local.service.systemd_unit import NAMESPACES, UNIT, render
from qwq_local.service.systemd_unit import read as read_unit

PACKAGED: Final = Path("/usr/lib/systemd/user") / UNIT
"""What the Debian package brings for every user."""
BOOTED: Final = Path("/run/systemd/system")
"""There where systemd is the init system: sd_booted(3)."""
KERNEL: Final = Path("/proc/sys/kernel/osrelease")
_PROPERTIES: Final = "LoadState,ActiveState,MainPID,ActiveEnterTimestampMonotonic,NRestarts,UnitFileState,Result,ExecMainStatus"


@dataclass(frozen=True)
class Systemd:
    """The manager of one user; `own` is the folder of the user's own units."""

    own: Path
    home: Path
    user: str
    run: Run = run
    packaged: Path = PACKAGED
    booted: Path = BOOTED
    kernel: Path = KERNEL

    @property
    def file(self) -> Path:
        """The user's own unit, or that of the package."""
        path = self.own / UNIT
        return self.packaged if not path.exists() and self.packaged.exists() else path

    def require(self) -> None:
        """Raises InstallationError with what to do where there is no systemd, or none for this user."""
        asked = self.run(["systemctl", "--user", "show", "--property=Version"])
        if asked.code == 0:
            return
        if asked.code == NOT_FOUND or not self.booted.exists():
            raise _without_systemd(self.kernel)
        raise InstallationError(
            f"The systemd of user {self.user} cannot be reached: {asked.said}",
            hint=f"Log in as {self.user} (su and sudo are no login), or start it for good: sudo loginctl enable-linger {self.user}",
        )

    def adapt(self, order: Order) -> Order:
        """Without a file system of its own where this system lets users have none: found out by trying."""
        render(order)
        wanted = [f"--property={line}" for line in (*NAMESPACES, "ReadWritePaths=/tmp")]
        tried = self.run(["systemd-run", "--user", "--quiet", "--wait", "--collect", *wanted, "/bin/true"])
        return replace(order, has_namespaces=tried.code == 0)

    def find(self) -> Order | None:
        """The user's own unit, or the package's where it is enabled or runs."""
        content = read(self.own / UNIT)
        if content is None:
            shown = self._show()
            is_used = shown.get("UnitFileState") == "enabled" or shown.get("ActiveState") in {"active", "activating"}
            return self._packaged_order() if is_used else None
        order = read_unit(content.decode("utf-8", "replace"), str(self.home))
        if order is None:
            raise foreign(self.own / UNIT)
        return order

    def _packaged_order(self) -> Order | None:
        content = read(self.packaged)
        return read_unit(content.decode("utf-8", "replace"), str(self.home)) if content is not None else None

    def start(self, order: Order) -> None:
        """Write the user's own unit, unless the package's says the same, and start it."""
        if order == self._packaged_order():
            delete(self.own / UNIT)
        else:
            write(self.own / UNIT, render(order).encode())
        must(self.run, "systemctl", "--user", "daemon-reload")
        must(self.run, "systemctl", "--user", "enable", "--quiet", UNIT)
        self.run(["systemctl", "--user", "reset-failed", UNIT])
        must(self.run, "systemctl", "--user", "restart", UNIT)

    def take_away(self) -> None:
        """Stop and disable it and delete the user's own unit. Where there is no systemd, nothing runs."""
        if self.booted.exists():
            self.require()
        self.run(["systemctl", "--user", "disable", "--now", "--quiet", UNIT])
        if self._show().get("ActiveState") in {"active", "activating", "deactivating"}:
            raise InstallationError(f"{UNIT} cannot be stopped.", hint=f"See: systemctl --user status {UNIT}")
        delete(self.own / UNIT, self.own / "default.target.wants" / UNIT)
        for folder in (self.own / "default.target.wants", self.own, *self.own.parents[:2]):
            with suppress(OSError):  # it is not there, or others have files in it
                folder.rmdir()
        self.run(["systemctl", "--user", "daemon-reload"])
        self.run(["systemctl", "--user", "reset-failed", UNIT])

    def state(self) -> State:
        """As systemctl shows it."""
        lingers = self.run(["loginctl", "show-user", self.user, "--property=Linger", "--value"]).out.strip() == "yes"
        return parse_state(self._show(), lingers=lingers, boot_time=time.time() - time.monotonic())

    def _show(self) -> dict[str, str]:
        ran: Ran = self.run(["systemctl", "--user", "show", f"--property={_PROPERTIES}", UNIT])
        return {name: value for name, _, value in (line.partition("=") for line in ran.out.splitlines())}

    def log_lines(self, n_lines: int) -> list[str]:
        """From the journal: what the service itself told."""
        ran = self.run(
            ["journalctl", "--user", f"_SYSTEMD_USER_UNIT={UNIT}", f"--lines={n_lines}", "--output=cat", "--no-pager", "--quiet"]
        )
        return [line for line in ran.out.splitlines() if not line.startswith("-- ")]


def parse_state(shown: Mapping[str, str], *, lingers: bool, boot_time: float) -> State:
    """What systemctl shows of a unit (org.freedesktop.systemd1(5)); `boot_time` is when the monotonic clock stood at 0."""
    pid, entered = int(shown.get("MainPID") or 0), int(shown.get("ActiveEnterTimestampMonotonic") or 0)
    is_running = shown.get("ActiveState") == "active"
    starts: Start = "at boot" if lingers else "at login"
    result, status = shown.get("Result", ""), shown.get("ExecMainStatus", "")
    ends = {"exit-code": f"it ended with exit status {status}", "signal": f"it was ended by signal {status}"}
    return State(
        is_running=is_running,
        pid=pid or None,
        since=boot_time + entered / 1e6 if is_running and entered else None,
        restarts=int(shown["NRestarts"]) if shown.get("NRestarts", "").isdigit() else None,
        starts=starts if shown.get("UnitFileState") == "enabled" else "never",
        end="" if is_running or result in {"", "success"} else ends.get(result, result),
    )


def _without_systemd(kernel: Path) -> InstallationError:
    with suppress(OSError):
        if re.search("microsoft", kernel.read_text("utf-8"), re.IGNORECASE):
            return InstallationError(
                "This WSL runs without systemd, which keeps services alive.",
                hint="Write [boot] and below it systemd=true into /etc/wsl.conf, run wsl --shutdown in Windows, and try again.",
            )
    return InstallationError(
        "There is no systemd here that could keep a service alive (in a container there usually is none).",
        hint="Run qwq serve itself, and have whatever starts the container start it again.",
    )


def here() -> Systemd:
    """That of this user."""
    home = Path.home()
    configuration = os.environ.get("XDG_CONFIG_HOME")
    return Systemd(Path(configuration or home / ".config") / "systemd" / "user", home, _user())


def _user() -> str:
    """The user's name, or the number of one whom the system does not know by name, as in containers; loginctl takes either."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return str(os.getuid())
