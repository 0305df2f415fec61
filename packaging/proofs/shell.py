"""Prove what shells, man and `qwq uninstall` promise on a real installation.

Run python packaging/proofs/shell.py [PYTHON].
The wheel is built and installed with all that it needs into a new virtual environment of PYTHON (by default this one), in a temporary
folder with a home of its own. There everything is used that leaves something behind; then the program is uninstalled: killed half-way,
without permission, to its end, and with all that was asked to stay. It prints what was asked and seen, and ends with 1 where something is
not as promised. Needs the network or pip's cache; man, bash-completion and root's rights are used where they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
WAIT_SECONDS: Final = 900
DATA, CACHE = ".local/share/qwq", ".cache/qwq"
LINES: Final = ("qwq ", "qwq ask --", "qwq ask -m ", "qwq history show ", "qwq pull ")
NOBODY: Final = 65534
MANY: Final = 20000
BASH_COMPLETION: Final = Path("/usr/share/bash-completion/bash_completion")
SHARED: Final = (".cache", ".config", ".local/share", ".local/state")
"""Folders of a home that belong to nobody's program."""


@dataclass
class Table:
    """What was asked and seen."""

    is_right: bool = True

    def add(self, asked: str, seen: str, *, is_right: bool) -> None:
        """A row, printed at once."""
        self.is_right &= is_right
        print(f"{'ok ' if is_right else 'NOT'} | {asked} | {seen}", flush=True)


@dataclass(frozen=True)
class Installed:
    """The program in a virtual environment, used by somebody with a home of their own."""

    environment: Path
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        """What its processes see; nothing of whoever runs this."""
        path = f"{self.environment / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return {"PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8", "TERM": "xterm", "HF_HUB_OFFLINE": "1"}

    def run(self, *words: str, stdin: str = "", user: int | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """`qwq` with these words."""
        command = [str(self.environment / "bin/qwq"), *words]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            env=self.variables | variables,
            user=user,
            check=False,
        )

    def install(self, wheel: Path, *flags: str) -> None:
        """Put the wheel in."""
        subprocess.run([self.environment / "bin/pip", "install", "--quiet", *flags, wheel], check=True)

    def files(self) -> set[str]:
        """Every file in the home."""
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.is_dir()}

    def left_in_environment(self) -> set[str]:
        """What is there of the program, but for what it needed."""
        names = ("qwq", "qwq_local", "qwq_convert", "qwq.1", "_qwq", "qwq.fish", "qwq_local-*")
        return {str(path) for name in names for path in self.environment.rglob(name) if "__pycache__" not in path.parts}


def make(folder: Path, python: str) -> tuple[Installed, Path]:
    """The wheel, and an installation of it."""
    environment = folder / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    pip = environment / "bin/pip"
    subprocess.run([pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "wheels", ROOT], check=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    here = Installed(environment, folder / "home")
    here.install(wheel)
    for name in SHARED:
        (here.home / name).mkdir(parents=True)
    return here, wheel


def use(here: Installed) -> list[str]:
    """Everything that leaves something behind; the commands that failed."""
    asked: Sequence[tuple[list[str], str]] = (
        (["ask", "-m", "demo", "What is 47 + 85?"], ""),
        (["chat", "-m", "demo"], "What is 12 + 30?\n/quit\n"),
        (["bench", "-m", "demo", "--rounds", "1", "--prefill", "32", "--decode", "8", "--store"], ""),
        (["tune", "-m", "demo", "--seconds", "4"], ""),
        (["plan"], ""),
        (["list"], ""),
        (["history", "list"], ""),
        *((["completion", shell, "--install"], "") for shell in ("bash", "zsh", "fish")),
    )
    failed = [" ".join(words) for words, stdin in asked if here.run(*words, stdin=stdin).returncode]
    return failed + serve(here)


def serve(here: Installed) -> list[str]:
    """A chat through the endpoint, whose prefix is kept when the server ends."""
    command = [str(here.environment / "bin/qwq"), "serve", "-m", "demo", "--port", "18231"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=here.variables) as server:
        body = json.dumps({"messages": [{"role": "user", "content": "What is 47 + 85?"}]}).encode()
        request = urllib.request.Request("http://127.0.0.1:18231/v1/chat/completions", body, {"Content-Type": "application/json"})
        answered = ""
        for _ in range(240):
            try:
                answered = urllib.request.urlopen(request, timeout=120).read().decode()  # noqa: S310 - this machine
                break
            except OSError:
                time.sleep(0.5)
        refused = here.run("uninstall", "--yes")
        server.send_signal(signal.SIGINT)
    is_refused = refused.returncode == 1 and str(server.pid) in refused.stderr
    return [*([] if "132" in answered else ["serve"]), *([] if is_refused else ["uninstall while it serves"])]


def look_at_shells(here: Installed, table: Table) -> None:
    """The man page, completion found by itself, and how long TAB takes."""
    if man := shutil.which("man"):
        found = subprocess.run([man, "-w", "qwq"], capture_output=True, text=True, env=here.variables, check=False).stdout.strip()
        table.add("man finds the page beside PATH", found, is_right=found == str(here.environment / "share/man/man1/qwq.1"))
    if BASH_COMPLETION.is_file():
        script = f"source {BASH_COMPLETION}; _completion_loader qwq; complete -p qwq"
        bash = [shutil.which("bash") or "bash", "--norc", "-c", script]
        shown = subprocess.run(bash, capture_output=True, text=True, env=here.variables, check=False).stdout.strip()
        table.add("bash-completion finds the script beside PATH", shown, is_right="-F _qwq qwq" in shown)
    for line in LINES:
        offered, seconds = here.run(_QWQ_COMPLETE="bash_complete", _QWQ_LINE=line), []
        for _ in range(9):
            began = time.perf_counter()
            here.run(_QWQ_COMPLETE="bash_complete", _QWQ_LINE=line)
            seconds.append(time.perf_counter() - began)
        n_offered, load = offered.stdout.count("plain\t"), os.getloadavg()[0]
        told = f"{n_offered} offered, {statistics.median(seconds):.3f} s (load {load:.0f})"
        table.add(f"TAB behind {line!r}", told, is_right=n_offered > 0 and not offered.stderr)


def interrupt(here: Installed, table: Table) -> None:
    """Kill an uninstallation half-way."""
    profile = here.home / DATA / "desktop/browser/Default"
    profile.mkdir(parents=True)
    for number in range(MANY):
        (profile / str(number)).touch()
    with subprocess.Popen([here.environment / "bin/qwq", "uninstall", "--yes"], env=here.variables, stdout=subprocess.DEVNULL) as child:
        while (n_left := sum(1 for _ in profile.iterdir())) > MANY * 0.9:
            time.sleep(0.002)
        child.kill()
    is_half = 0 < n_left < MANY and (here.environment / "bin/qwq").exists()
    table.add("killed half-way: the program is still there", f"{n_left} of {MANY} files of a profile left", is_right=is_half)


@contextmanager
def another_user(here: Installed) -> Iterator[None]:
    """The home belongs to somebody who is not root, but for the folder of caches."""
    paths = [here.home, *here.home.rglob("*")]
    for path in paths:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.chown(here.home / CACHE, 0, 0)
    (here.home / CACHE).chmod(0o755)
    yield
    for path in [here.home, *here.home.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)


def deny(here: Installed, table: Table) -> None:
    """Uninstall as somebody who may not change the folder of caches."""
    if os.getuid() != 0:
        return
    before = here.files()
    with another_user(here):
        done = here.run("uninstall", "--yes", "--json", user=NOBODY)
    said = json.loads(done.stdout)
    stuck = {path for path in before if path.startswith(f"{CACHE}/") and path.count("/") == 2}
    named = {str(Path(left["path"]).relative_to(here.home)) for left in said["left"]}
    is_right = done.returncode == 1 and named == stuck and here.left_in_environment() != set()
    table.add("no permission: named, the rest goes, exit 1", f"exit {done.returncode}, named {', '.join(sorted(named))}", is_right=is_right)


def main() -> int:
    """Do it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="?", default=sys.executable, metavar="PYTHON", help="what the environment is made with")
    python = parser.parse_args().python
    table = Table()
    with tempfile.TemporaryDirectory(prefix="qwq-shell-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        here, wheel = make(folder, python)
        before = here.files()
        failed = use(here)
        used = here.files()
        table.add("everything used that writes", f"{len(used)} files; failed: {', '.join(failed) or 'none'}", is_right=not failed)
        look_at_shells(here, table)
        deny(here, table)
        interrupt(here, table)
        done = here.run("uninstall", "--yes")
        stays = {path for path in used if path.startswith((f"{DATA}/chats.db", f"{DATA}/evaluations/"))}
        left = here.files()
        table.add("uninstalled: chats and evaluations stay", f"exit {done.returncode}: {', '.join(sorted(left))}", is_right=left == stays)
        inside = here.left_in_environment()
        table.add(
            "the environment holds nothing of it", ", ".join(sorted(inside)) or "nothing", is_right=done.returncode == 0 and not inside
        )
        here.install(wheel, "--no-deps")
        done = here.run("uninstall", "--all", "--yes")
        folders = {str(path.relative_to(here.home)) for path in here.home.rglob("*") if path.is_dir()}
        extra = folders - {str(parent) for name in SHARED for parent in (Path(name), *Path(name).parents)}
        is_right = done.returncode == 0 and here.files() == before and not extra
        table.add(
            "installed again, --all: the home is as before", f"{len(here.files())} files, other folders: {sorted(extra)}", is_right=is_right
        )
    return 0 if table.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
