"""The man page: what the program says, and sound for what reads it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwq_local.cli import qwq
from tests.programs import WAIT_SECONDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "packaging/shell/qwq.1"


def test_the_page_is_what_the_program_says() -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "convert"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, ROOT / "packaging/shell/write.py", "--check"],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        env=os.environ | {"PYTHONPATH": paths},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_a_section_and_no_line_is_a_request_by_accident() -> None:
    lines = PAGE.read_text("ascii").splitlines()
    sections = {line.split()[2] for line in lines if line.startswith('.SS "qwq ')}
    assert sections == set(qwq.list_commands(None))  # type: ignore[arg-type] # which it does not look at
    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert requests <= {'.\\"', ".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".I", ".RS", ".RE", ".nf", ".fi", ".nh", ".ad"}


@pytest.mark.parametrize(
    ("command", "harmless"),
    [
        pytest.param(["mandoc", "-T", "lint"], r"missing date, using \"\": TH", id="mandoc"),
        pytest.param(["groff", "-man", "-ww", "-z"], "", id="groff"),
    ],
)
def test_the_page_is_sound(command: list[str], harmless: str) -> None:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([program, *command[1:], PAGE], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    found = [line for line in (done.stdout + done.stderr).splitlines() if not (harmless and re.search(harmless, line))]
    assert found == []


def test_the_page_has_room_on_80_columns() -> None:
    program = shutil.which("groff")
    if program is None:
        pytest.skip("groff is not installed")
    command = [program, "-man", "-Tascii", "-P-cbou", "-rLL=78n", str(PAGE)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=True).stdout
    assert "qwq ask -m demo" in shown
    assert max(map(len, shown.splitlines())) <= 80
