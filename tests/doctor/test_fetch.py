"""What pip and uv are asked for, and what their complaints mean."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local.doctor.condition import Packager
from qwq_local.doctor.fetch import Source, fetching, refused
from qwq_local.doctor.remedy import Choice
from qwq_local.doctor.running import Ended, Order, run
from tests.doctor.test_diagnosis import INDEX, SYSTEM

RETRYING = "WARNING: Retrying after connection broken by 'NewConnectionError(Connection refused)': /cpu/llama-cpp-python/\n"
NONE = "ERROR: Could not find a version that satisfies the requirement llama-cpp-python>=0.3.36 (from versions: 0.2.1)\n"
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
DENIED = "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/site'\n"
CPU, COMPILED = Choice("cpu"), Choice("source", "-DGGML_NATIVE=on")


def test_pip_fetches_a_build_into_a_folder_of_its_own_and_compiles_none() -> None:
    order = fetching(SYSTEM, Choice("cu124"), Source(), Path("/site/~qwq-new"))
    assert order.arguments == (
        "/venv/bin/python", "-m", "pip", "install", "--no-deps", "--target", "/site/~qwq-new",
        "--only-binary", "llama-cpp-python", "--index-url", f"{INDEX}/cu124", "llama-cpp-python>=0.3.36",
    )  # fmt: skip
    assert order.environment["PIP_USER"] == "0"


def test_uv_is_asked_where_there_is_no_pip() -> None:
    with_uv = replace(SYSTEM, packager=Packager(("uv", "pip", "install", "--python", "/venv/bin/python")))
    assert fetching(with_uv, CPU, Source(), Path("/t")).arguments[:6] == (
        "uv",
        "pip",
        "install",
        "--python",
        "/venv/bin/python",
        "--no-deps",
    )


def test_a_second_index_of_the_users_is_not_asked() -> None:
    of_pip = fetching(SYSTEM, CPU, Source(), Path("/t"))
    assert of_pip.environment["PIP_EXTRA_INDEX_URL"] == f"{INDEX}/cpu"
    with_uv = replace(SYSTEM, packager=Packager(("/bin/uv", "pip", "install")))
    of_uv = fetching(with_uv, CPU, Source(), Path("/t"))
    assert of_uv.arguments[-5:] == ("--index", f"{INDEX}/cpu", "--default-index", f"{INDEX}/cpu", "llama-cpp-python>=0.3.36")
    assert of_uv.environment["UV_FIND_LINKS"] == ""


def test_a_build_that_is_compiled_comes_from_pips_own_index_and_from_no_cache() -> None:
    order = fetching(SYSTEM, COMPILED, Source("/mirror"), Path("/t"))
    assert order.environment["CMAKE_ARGS"] == "-DGGML_NATIVE=on"
    assert order.arguments[-4:] == ("--no-cache-dir", "--no-binary", "llama-cpp-python", "llama-cpp-python>=0.3.36")
    assert "--index-url" not in order.arguments


def test_a_mirror_is_an_address_or_a_folder(tmp_path: Path) -> None:
    assert Source("https://m.example/whl/").of(CPU) == "https://m.example/whl/cpu"
    assert Source(str(tmp_path)).of(CPU) == f"{tmp_path.as_uri()}/cpu"


@pytest.mark.parametrize(
    ("told", "choice", "says", "hint"),
    [
        (
            RETRYING + NONE, CPU, "https://m.example/cpu cannot be reached", "--index-url",
        ),
        ("error: Failed to fetch: `https://m.example/cpu/`\n  Caused by: dns error\n", CPU, "cannot be reached", "--index-url"),
        (
            NONE, CPU, "https://m.example/cpu has no llama-cpp-python>=0.3.36 for Linux on x86_64", "--build source",
        ),
        ("  x No solution found when resolving dependencies:\n", CPU, "has no llama-cpp-python", "--build source"),
        (FULL, CPU, "disk is full", "Free some space"),
        (DENIED, CPU, "Permission denied", "Run it as"),
        ("CMake Error at CMakeLists.txt:3\nerror: failed-wheel-build-for-install\n", COMPILED, "could not be compiled", "above"),
        ("ERROR: something else\n", CPU, "cpu could not be fetched: ERROR: something else", "above"),
    ],
)  # fmt: skip
def test_a_complaint_is_told_in_our_words_with_what_to_do(told: str, choice: Choice, says: str, hint: str) -> None:
    error = refused(Ended(1, "", told), choice, Source("https://m.example"), SYSTEM)
    assert says in str(error)
    assert hint in error.hint


def test_a_programs_complaints_are_shown_and_kept(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os, sys; print('shown', flush=True); print('told', os.environ['MARK'], file=sys.stderr); sys.exit(3)"
    ended = run(Order((sys.executable, "-c", code), {"MARK": "it"}, is_shown=True))
    assert (ended.status, ended.told, ended.reason) == (3, "told it\n", "told it")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "told it" in shown.err


def test_a_program_that_does_not_end_is_given_up() -> None:
    assert run(Order((sys.executable, "-c", "import time; time.sleep(60)"), seconds=0.2)).reason == "it did not end in time"
