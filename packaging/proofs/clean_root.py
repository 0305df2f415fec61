"""A Debian made for a proof and booted in namespaces: real systemd, users of its own, a network that only has itself.

What runs it must be root on a Linux with control groups of version 2 mounted somewhere. Neither this machine's network nor its processes
are seen from within. Everything is taken away at the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

SUITE: Final = "bookworm"
PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "procps")
USER: Final = "ann"
USER_ID: Final = 1000
BOOT_SECONDS: Final = 90.0
DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
BOOT: Final = f"""
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in {" ".join(DEVICES)}; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir dev/pts dev/shm
chmod 1777 dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ip link set lo up
pivot_root . .
umount -l /
cd /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console --show-status=0
"""
"""A root that was only changed by chroot may not make user namespaces (user_namespaces(7)), so it is pivoted into."""
CHANGING: Final = ("var/log", "var/cache", "var/lib/systemd", "var/lib/dpkg", "etc/.pwd.lock", "etc/machine-id")
"""What a running system and dpkg's own books change; what dpkg says of packages is compared instead."""


class Ran(NamedTuple):
    """How a command ended, and what it said on both of its outputs."""

    code: int
    out: str
    seconds: float


class CleanRoot:
    """To be used in a `with` block, in which it runs; `folder` is made and deleted."""

    def __init__(self, folder: Path, packages: Sequence[str]) -> None:
        self.folder = folder
        self._packages = packages
        self._cgroup = cgroup2() / f"qwq-proof-{os.getpid()}"
        self._unshare: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def __enter__(self) -> Self:
        try:
            self._make()
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _make(self) -> None:
        names = ",".join((*PACKAGES, *self._packages))
        call("debootstrap", "--variant=minbase", f"--include={names}", SUITE, str(self.folder))
        call("chroot", str(self.folder), "useradd", "--create-home", "--shell", "/bin/bash", "--uid", str(USER_ID), USER)
        lingering = self.folder / "var/lib/systemd/linger"
        lingering.mkdir(parents=True, exist_ok=True)
        (lingering / USER).touch()

    def _boot(self) -> None:
        self._cgroup.mkdir()
        log = (self.folder.parent / "boot.log").open("wb")
        command = ["unshare", "-m", "-p", "-f", "-u", "-i", "-n", "--cgroup", "sh", "-c", BOOT, "sh", str(self.folder)]
        enter = self._cgroup / "cgroup.procs"
        self._unshare = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=lambda: enter.write_text(str(os.getpid())) and None)  # noqa: PLW1509 - a fixed command; one thread
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        until = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < until:
            found = children.read_text("ascii").split() if children.exists() else []
            self.pid = int(found[0]) if found else 0
            if self.pid and self.user("systemctl --user is-system-running").out.strip() in {"running", "degraded"}:
                return
            time.sleep(0.5)
        raise SystemExit(f"It does not boot: {(self.folder.parent / 'boot.log').read_text('utf-8', 'replace')[-2000:]}")

    def close(self) -> None:
        """End all that runs in it, by ending its first process, and delete it."""
        if self._unshare is not None:
            if self.pid:
                os.kill(self.pid, 9)
            self._unshare.kill() if not self.pid else None
            self._unshare.wait()
        for _ in range(50):
            if not self._cgroup.exists():
                break
            for group in sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True):
                remove_group(group)
            remove_group(self._cgroup)
            time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)

    def root(self, script: str) -> Ran:
        """Run a shell's script in it as root."""
        return self._enter("sh", "-c", script)

    def user(self, script: str) -> Ran:
        """Run a shell's script in it as the user, in the user's home and with the user's systemd."""
        home = f"/home/{USER}"
        given = [
            f"HOME={home}",
            f"USER={USER}",
            f"LOGNAME={USER}",
            "PATH=/usr/bin:/bin",
            f"XDG_RUNTIME_DIR=/run/user/{USER_ID}",
            "TERM=dumb",
        ]
        return self._enter("runuser", "-u", USER, "--", "env", "-i", *given, "sh", "-c", f"cd; {script}")

    def _enter(self, *command: str) -> Ran:
        return ran("nsenter", "-t", str(self.pid), "-a", "--", *command)

    def python(self, code: str, *arguments: str) -> Ran:
        """Run this Python with only its network."""
        return ran("nsenter", "-t", str(self.pid), "-n", "--", sys.executable, "-c", code, *arguments)

    def listing(self) -> dict[str, str]:
        """Every file and folder of it: kind, mode, owner, and a hash of what it holds."""
        return dict(self._listed())

    def _listed(self) -> Iterator[tuple[str, str]]:
        for folder, folders, files in os.walk(self.folder):
            place = Path(folder)
            folders[:] = [name for name in folders if not self._is_passing(place / name)]
            for name in (*folders, *files):
                path = place / name
                if not self._is_passing(path):
                    yield str(path.relative_to(self.folder)), told(path)

    def _is_passing(self, path: Path) -> bool:
        inside = str(path.relative_to(self.folder))
        return inside in {"proc", "sys", "dev", "run", "tmp"} or any(inside == each or inside.startswith(f"{each}/") for each in CHANGING)


def told(path: Path) -> str:
    """What a listing says of a file: times are not compared, since folders get new ones."""
    seen = path.lstat()
    kind = f"{stat.filemode(seen.st_mode)} {seen.st_uid}:{seen.st_gid}"
    if path.is_symlink():
        return f"{kind} -> {path.readlink()}"
    return f"{kind} {hashlib.sha256(path.read_bytes()).hexdigest()}" if stat.S_ISREG(seen.st_mode) else kind


def cgroup2() -> Path:
    """Where control groups of version 2 are mounted."""
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise SystemExit("No control groups of version 2 are mounted here, which systemd needs.")


def remove_group(group: Path) -> None:
    """Remove a control group that has no processes any more; one that still has them is tried again."""
    try:
        group.rmdir()
    except OSError as error:
        if group.exists() and error.errno != 16:
            raise


def ran(*command: str) -> Ran:
    """Run a command."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return Ran(done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace"), time.monotonic() - began)


def call(*command: str) -> None:
    """Run a command; ends this program where it fails."""
    done = ran(*command)
    if done.code:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.out[-2000:]}")
