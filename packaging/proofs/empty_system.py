"""An empty system without network, and the table of what was asked and seen in it; the proofs beside this file use it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parents[2]
USER: Final = 1000
USER_LINE: Final = f"user:x:{USER}:{USER}::/home/user:/bin/sh\n"
WAIT_SECONDS: Final = 900
INSIDE: Final = """
ip link set lo up 2>/dev/null || python3 -c 'import fcntl, socket, struct
s = socket.socket(); fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x49))'
mount -t proc proc "$ROOT/proc" && mount --rbind /dev "$ROOT/dev" && exec chroot --userspec=$USER:$USER "$ROOT" \
env -i HOME="$HOME_INSIDE" PATH="$HOME_INSIDE/.local/bin:/usr/bin:/bin" LANG=C.UTF-8 sh -c "$SCRIPT"
"""


@dataclass
class Table:
    """What was asked and seen."""

    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, asked: str, seen: str, *, is_right: bool) -> None:
        """A row, printed at once."""
        self.rows.append((asked, seen, is_right))
        say(f"{'ok ' if is_right else 'NOT'} | {asked} | {seen}")

    @property
    def is_right(self) -> bool:
        """Whether all was as promised."""
        return all(is_right for _, _, is_right in self.rows)


@dataclass(frozen=True)
class Empty:
    """An empty system: a folder with Debian's base and Python, without pip, venv and compiler."""

    root: Path

    def start(self, script: str, home: str = "/home/user") -> subprocess.Popen[str]:
        """A shell script in it, as an ordinary user, without network."""
        users = self.root / "etc/passwd"
        if USER_LINE not in users.read_text("utf-8"):
            users.write_text(users.read_text("utf-8") + USER_LINE, "utf-8")
        (self.root / home.lstrip("/")).mkdir(parents=True, exist_ok=True)
        os.chown(self.root / home.lstrip("/"), USER, USER)
        variables = {"ROOT": str(self.root), "USER": str(USER), "HOME_INSIDE": home, "SCRIPT": script}
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", INSIDE]
        return subprocess.Popen(
            command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
        )

    def run(self, script: str, home: str = "/home/user") -> tuple[int, str]:
        """The exit code of a script, and what it printed."""
        process = self.start(script, home)
        printed, _ = process.communicate(timeout=WAIT_SECONDS)
        return process.returncode, printed

    def forget(self, home: str) -> None:
        """Remove what a user has."""
        shutil.rmtree(self.root / home.lstrip("/"), ignore_errors=True)


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[None]:
    """A disk of that size."""
    place.mkdir(exist_ok=True)
    must(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,uid={USER},gid={USER}", "tmpfs", str(place)])
    try:
        yield
    finally:
        must(["umount", str(place)])


def fill(path: Path) -> None:
    """A file that takes all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**20))
        except OSError:
            return


def qwq() -> list[str]:
    """The program of this tree."""
    return [sys.executable, "-m", "qwq_local.cli"]


def must(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command that has to succeed."""
    paths = {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "convert")])}
    done = subprocess.run(command, env=(environment or dict(os.environ)) | paths, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def megabytes(folder: Path) -> str:
    """What a folder takes."""
    return f"{sum(path.lstat().st_size for path in folder.rglob('*')) / 1e6:.0f} MB"


def error_of(said: str) -> str:
    """The error that was told, in one line."""
    lines = said.strip().splitlines()
    told = [index for index, line in enumerate(lines) if line.startswith("error")]
    return " ".join(line.strip() for line in lines[told[0] : told[0] + 2])[:160] if told else f"no error: {last_line(said)}"


def last_line(said: str) -> str:
    """The last line of what was printed."""
    return (said.strip().splitlines() or ["nothing"])[-1][:100]


def indented(said: str) -> str:
    """What was printed, set off."""
    return "\n".join(f"      {line}" for line in said.splitlines())


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def kill_after(system: Empty, home: str, seconds: float) -> tuple[bool, str]:
    """Start an installation and kill it; whether it was still running, and what it left."""
    process = system.start("exec /kit/install", home)
    time.sleep(seconds)
    was_running = process.poll() is None
    end(process)
    place = system.root / home.lstrip("/") / ".local/share/qwq-local"
    left = sorted(path.name for path in place.glob("app*")) if place.exists() else []
    return was_running, ", ".join(left) or "nothing"


def end(process: subprocess.Popen[str]) -> None:
    """Kill the first process of its namespace, with which the kernel kills all the others at once."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8").split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    process.communicate()
