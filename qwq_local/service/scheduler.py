"""A service kept alive by Windows' Task Scheduler, as a task of the user's own: schtasks (learn.microsoft.com, "schtasks commands")."""

from __future__ import annotations

import csv
import getpass
import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Final

from qwq_local.errors import InstallationError
from qwq_local.machine.processes import find_process
from qwq_local.service.launchd import last_lines
from qwq_local.service.manager import Run, State, delete, must, read, read_order, run, write
from qwq_local.service.order import Order
from qwq_local.service.windows_task import TASK, render, render_script
from qwq_local.service.windows_task import read as read_task

RUNNING: Final = "0x00041301"
"""SCHED_S_TASK_RUNNING (winerror.h): what the last result is while it runs, in every language of Windows."""
_RUNNING_NUMBER: Final = str(int(RUNNING, 16))
TRIES: Final = 20


@dataclass(frozen=True)
class Scheduler:
    """The manager of one user; `folder` holds the task's file, its script and its log."""

    folder: Path
    user: str
    run: Run = run
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def file(self) -> Path:
        """The task's file, as it was registered."""
        return self.folder / "service.xml"

    @property
    def script(self) -> Path:
        """What the task runs."""
        return self.folder / "service.cmd"

    @property
    def log(self) -> Path:
        """Where the script writes what the service tells."""
        return self.folder / "service.log"

    def require(self) -> None:
        """Raises InstallationError where the Task Scheduler cannot be asked."""
        asked = self.run(["schtasks", "/query", "/tn", "\\Microsoft\\Windows\\"])
        if asked.code and "denied" in asked.said.casefold():
            raise InstallationError(
                f"The Task Scheduler lets this user have no tasks: {asked.said}",
                hint="Ask who looks after this machine; qwq serve itself runs.",
            )

    def adapt(self, order: Order) -> Order:
        """There are no namespaces to be had or not."""
        render_script(order, PureWindowsPath(self.log))
        return replace(order, has_namespaces=True)

    def find(self) -> Order | None:
        """What the task's file says."""
        return read_order(self.file, read_task)

    def start(self, order: Order) -> None:
        """Write the files and register the task, which starts it; one that runs is ended first."""
        self.run(["schtasks", "/end", "/tn", TASK])
        self._wait_until_gone()
        write(self.script, render_script(order, PureWindowsPath(self.log)).encode())
        write(self.file, render(order, self.user, PureWindowsPath(self.script)))
        must(self.run, "schtasks", "/create", "/tn", TASK, "/xml", str(self.file), "/f")

    def take_away(self) -> None:
        """End and delete the task, and the files."""
        self.run(["schtasks", "/end", "/tn", TASK])
        self.run(["schtasks", "/delete", "/tn", TASK, "/f"])
        if self.run(["schtasks", "/query", "/tn", TASK]).code == 0:
            raise InstallationError(f"The task {TASK} cannot be deleted.", hint=f"See: schtasks /query /tn {TASK} /v /fo list")
        self._wait_until_gone()
        delete(self.file, self.script, self.log)

    def _wait_until_gone(self) -> None:
        """Until its process is, which holds the log open."""
        content = read(self.file)
        order = read_task(content) if content is not None else None
        for _ in range(TRIES):
            if order is None or find_process(order.command[1:]) is None:
                return
            self.sleep(0.5)

    def state(self) -> State:
        """As schtasks tells it; the process is that of the program."""
        ran = self.run(["schtasks", "/query", "/tn", TASK, "/v", "/fo", "csv", "/nh"])
        order = self.find()
        if ran.code or order is None:
            return State()
        row = next(csv.reader(io.StringIO(ran.out)), [])
        is_running = not {RUNNING, _RUNNING_NUMBER}.isdisjoint(row)
        process = find_process(order.command[1:]) if is_running else None
        return State(
            is_running=is_running,
            pid=process.pid if process else None,
            since=process.started_at if process else None,
            starts="at login",
            end="" if is_running else f"its last result is {row[6]}" if len(row) > 6 else "",
        )

    def log_lines(self, n_lines: int) -> list[str]:
        """From its log."""
        return last_lines(self.log, n_lines)


def here(environment: Mapping[str, str] = os.environ) -> Scheduler:
    """That of this user."""
    base = environment.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    domain = environment.get("USERDOMAIN")
    return Scheduler(Path(base) / "qwq", f"{domain}\\{getpass.getuser()}" if domain else getpass.getuser())
