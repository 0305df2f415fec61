"""The program for pages full of commands, started in a moment: a process that has imported everything once, and copies itself for each.

`python -m tests.documents.quick SOCKET` waits there. A shell that types `qwq …` runs the script that `write_client` puts on its PATH, which
hands over its arguments, environment, folder and standard streams, and ends as the copy ends. What a command does is done in a process of
its own, with pipes and redirections that are the shell's.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, Final, NoReturn

MODULES: Final = (
    "qwq_local.runtime",
    "qwq_local.survey",
    "qwq_local.server.run",
    "qwq_local.evaluation",
    "qwq_convert.pipeline",
    "rich.console",
)
CLIENT: Final = """#!{python} -IS
import array, json, os, signal, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({place!r})
told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
link.sendmsg([len(told).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
link.sendall(told)
link.shutdown(socket.SHUT_WR)
copy = int.from_bytes(link.recv(4), "big")
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: os.kill(copy, number))
code = link.recv(1)
sys.exit(code[0] if code else 99)
"""


def write_client(path: Path, place: Path) -> None:
    """The script that stands for `qwq`."""
    path.write_text(CLIENT.format(python=sys.executable, place=str(place)), "utf-8")
    path.chmod(0o755)


def main(place: str) -> NoReturn:
    """Serve until killed."""
    from qwq_local import cli

    for name in (*MODULES, *(f"qwq_local.cli.{name}" for name in cli._COMMANDS)):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        while True:
            link = server.accept()[0]
            if os.fork() == 0:
                server.close()
                _answer(link)
            link.close()


def _answer(link: socket.socket) -> NoReturn:
    """In a copy: make another that does what is asked, and tell its client how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, *_ = socket.recv_fds(link, 4, 3)
    told = b""
    while len(told) < int.from_bytes(size, "big"):
        told += link.recv(2**16)
    copy = os.fork()
    if copy == 0:
        link.close()
        arguments, folder, environment = json.loads(told)
        _become(arguments, folder, environment, streams)
    for stream in streams:
        os.close(stream)
    link.sendall(copy.to_bytes(4, "big"))
    code = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    link.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _become(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> NoReturn:
    """The program, as a shell would have started it."""
    code: Any = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, "rb" if number == 0 else "wb", closefd=False), "utf-8", write_through=number == 2)
            for number in range(3)
        )
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["qwq", *arguments]
        from qwq_local.cli import main as run

        run()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - told as Python does
        traceback.print_exc()
    for written in (sys.stdout, sys.stderr):
        if written is not None:
            written.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
