"""The command line for tests: in this process, as `main` runs it, and in processes of its own."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from qwq_local.cli import main

WAIT_SECONDS: Final = 100
PROGRAM: Final = (sys.executable, "-m", "qwq_local.cli")
SERVER: Final = shlex.join([sys.executable, str(Path(__file__).with_name("tool_server.py"))])
"""A server of tools, as --mcp wants it."""
posix = pytest.mark.skipif(os.name != "posix", reason="signals, terminals and closed streams are made with POSIX calls")


class Ended(NamedTuple):
    """How a run of the program ended, and what it printed."""

    code: int
    out: str
    err: str


class Qwq:
    """The program in this process, as `main` runs it."""

    def __init__(self, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self._patch, self._captured = patch, captured

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> Ended:
        """Run it with arguments, and with standard input from a pipe."""
        self._captured.readouterr()
        self._patch.setattr(sys, "argv", ["qwq", *map(str, arguments)])
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with pytest.raises(SystemExit) as caught:
            main()
        return Ended(int(caught.value.code or 0), *self._captured.readouterr())


def program(*arguments: str | bytes | Path, redirect: str = "", **environment: str) -> Ended:
    """The program in a process of its own; `redirect` is the shell's."""
    shell = ("sh", "-c", f'exec "$@" {redirect}', "sh") if redirect else ()
    done = subprocess.run(
        [*shell, *PROGRAM, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
        timeout=WAIT_SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_told(ended: Ended, code: int, *says: str) -> None:
    """An error in one line with a hint in another, and nothing on stdout."""
    assert ended.code == code, ended
    assert ended.out == ""
    error, hint = ended.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    for words in says:
        assert words in error
