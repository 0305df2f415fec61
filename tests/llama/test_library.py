"""How llama.cpp's library is loaded."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = "import os; from qwq_local.llama._library import library; library(); print(os.environ.get('GOMP_SPINCOUNT'))"


def spins(**environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=clean | environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="elsewhere a round of spinning takes next to no time")
def test_threads_that_wait_spin_briefly_unless_the_user_says_otherwise() -> None:
    assert spins() == "1000"
    assert spins(GOMP_SPINCOUNT="5") == "5"
    assert spins(OMP_WAIT_POLICY="active") == "None"
