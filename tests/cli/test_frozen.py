"""The program as an app that is its own Python: what it starts of itself is this program again."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "packaging/app"
FROZEN = "import sys; sys.frozen = True; from qwq_local.cli import main; main()"


def frozen(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", FROZEN, *arguments], capture_output=True, text=True, check=False, timeout=100)


def test_a_module_of_the_package_is_run_by_its_name() -> None:
    done = frozen("-m", "qwq_local.llama._build")
    assert done.returncode == 0, done.stderr
    assert "features" in json.loads(done.stdout)


def test_other_modules_are_no_business_of_an_app() -> None:
    done = frozen("-m", "http.server")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_the_process_that_compares_answers_starts_and_ends_with_its_input() -> None:
    done = frozen("--qwq-comparing-process")
    assert (done.returncode, done.stdout) == (0, "ready\n")


@pytest.mark.parametrize(("given", "then"), [(None, None), ("", ""), ("/opt/lib", "/opt/lib")])
def test_programs_that_an_app_starts_find_their_own_libraries(monkeypatch: pytest.MonkeyPatch, given: str | None, then: str | None) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/app/_internal")
    monkeypatch.delenv("LD_LIBRARY_PATH_ORIG", raising=False)
    if given is not None:
        monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", given)
    runpy.run_path(str(APP / "search_paths.py"))["restore_search_paths"]()
    assert os.environ.get("LD_LIBRARY_PATH") == then
    assert "LD_LIBRARY_PATH_ORIG" not in os.environ


@pytest.mark.skipif(sys.platform == "win32", reason="there it waits for the other program")
@pytest.mark.parametrize("given", [{}, {"LD_LIBRARY_PATH_ORIG": "/opt/lib"}])
def test_a_double_click_becomes_the_other_executable_of_its_folder_with_the_users_own_libraries(
    tmp_path: Path, given: dict[str, str]
) -> None:
    (tmp_path / "qwq").write_text('#!/bin/sh\necho "$@" "$LD_LIBRARY_PATH"\n')
    (tmp_path / "qwq").chmod(0o755)
    program, here = str(tmp_path / "qwq-desktop"), str(APP / "double_click.py")
    become = f"import runpy, sys; sys.executable = {program!r}; runpy.run_path({here!r}, None, '__main__')"
    packed = {"LD_LIBRARY_PATH": f"{tmp_path}/_internal", "PYTHONPATH": str(APP)}
    command = [sys.executable, "-c", become, "-m", "demo"]
    done = subprocess.run(command, env=os.environ | packed | given, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"desktop -m demo {given.get('LD_LIBRARY_PATH_ORIG', '')}\n"), done.stderr
