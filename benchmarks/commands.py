"""Programs run from start to end, and the seconds that this takes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

QWQ: Final = Path(sys.executable).with_name("qwq")
"""The program as a user starts it."""


def seconds_of(*command: object, environment: Mapping[str, str] | None = None) -> float:
    """Its wall time; raises CalledProcessError where it fails."""
    started_at = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True, env=environment)
    return time.perf_counter() - started_at
