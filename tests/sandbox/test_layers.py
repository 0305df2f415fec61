"""Each layer of the confinement alone, so that none stands only because of another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qwq_local.sandbox.filter import seccomp_filter
from qwq_local.sandbox.places import interpreter
from tests.source import PACKAGE

pytestmark = pytest.mark.usefixtures("confinement")
ROOM = PACKAGE / "sandbox"
ATTEMPT = """
import ctypes, os, resource, socket, sys
sys.path.insert(0, sys.argv[1])
import confine
def fails(what):
    try:
        what()
    except OSError:
        return True
    return False
"""


def alone(source: str, *arguments: str) -> str:
    """What a program says that takes a layer by itself."""
    command = [interpreter(), "-I", "-S", "-B", "-c", ATTEMPT + source, str(ROOM), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.stdout.strip()


def test_namespaces_alone_leave_no_network_and_no_processes_of_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        reach = f"not fails(lambda: socket.create_connection(('127.0.0.1', {port}), 5))"
        assert alone(f"print({reach})") == "True"
        assert alone(f"confine.separate()\nprint({reach})") == "False"
    child = f"print(os.getpid(), fails(lambda: os.kill({os.getpid()}, 0)), flush=True)"
    assert alone(f"confine.separate()\nif os.fork() == 0:\n    {child}\n    os._exit(0)\nos.wait()") == "1 True"


def test_a_root_folder_alone_hides_files_and_takes_none(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("here", "utf-8")
    limits = {"folder_bytes": 1 << 20, "n_files": 5}
    pivot_root = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
    job = {"trees": [str(interpreter())], "links": [], "hidden": [], "source": "", "limits": limits, "pivot_root": pivot_root}
    attempts = (
        f"[fails(lambda: open({str(canary)!r})), fails(lambda: open('/new', 'w')), fails(lambda: open({interpreter()!r}, 'r+b')), "
        "fails(lambda: open('/work/new', 'w').close()), fails(lambda: [open(f'/work/{n}', 'w').close() for n in range(9)])]"
    )
    found = alone(f"uid = confine.separate()\nconfine.build_root({job!r}, uid)\nprint({attempts})\nprint(sorted(os.listdir('/')))")
    assert found.splitlines()[0] == "[True, True, True, False, True]"
    assert not {"proc", "etc", "dev", "sys"} & set(found.splitlines()[1].split("'"))


def test_the_filter_alone_lets_threads_start_and_no_processes_or_sockets() -> None:
    install = "confine._prctl('', 38, 1)\nconfine.filter_calls(bytes.fromhex(sys.argv[2]))\n"
    attempts = "[fails(os.fork), fails(socket.socket), fails(socket.socketpair), fails(lambda: os.kill(os.getpid(), 0))]"
    code = seccomp_filter(os.uname().machine).hex()
    assert alone(f"{install}print({attempts})", code) == "[True, True, False, False]"
    thread = "import threading\nthread = threading.Thread(target=print, args=('ran',))\nthread.start()\nthread.join()"
    assert alone(install + thread, code) == "ran"


def test_limits_alone_cannot_be_raised_again() -> None:
    limits = {"memory_bytes": 256 << 20, "cpu_seconds": 5, "folder_bytes": 1 << 20, "n_open": 20, "n_threads": 4}
    source = (
        f"confine.set_limits({limits})\n"
        "kinds = [getattr(resource, 'RLIMIT_' + name) for name in ('AS', 'CPU', 'FSIZE', 'NOFILE', 'NPROC')]\n"
        "print([resource.getrlimit(kind) for kind in kinds])"
    )
    limited = [(value, value) for value in (256 << 20, 5, 1 << 20, 20, 7)]
    assert alone(source) == str(limited)


def test_privileges_alone_are_gone_for_good() -> None:
    source = (
        "uid = confine.separate()\nconfine.give_up_privileges(uid)\nconfine._drop_capabilities()\n"
        "print(os.getuid() == uid != 0, fails(lambda: os.setuid(0)), fails(lambda: os.chroot('/')), confine._libc.prctl(39, 0, 0, 0, 0))"
    )
    assert alone(source) == "True True True 1"


def test_it_is_the_interpreter_that_runs_the_tests() -> None:
    assert Path(interpreter()).samefile(sys.executable)
