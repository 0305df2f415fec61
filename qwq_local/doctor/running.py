"""Other programs, run for the exchange of llama.cpp: what they show goes to the terminal, what they complain of is kept as well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

WINDOWS_ILLEGAL_INSTRUCTION: Final = 0xC000001D
"""How a process ends there that met one (learn.microsoft.com, NTSTATUS values)."""


@dataclass(frozen=True)
class Order:
    """A program to run: its arguments, what its environment has beside this process's, and whether its output is shown."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_shown: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class Ended:
    """How it ended: `status` as subprocess has it, negative for a signal; None where it did not end in time."""

    status: int | None
    printed: str = ""
    told: str = ""

    @property
    def reason(self) -> str:
        """Its ending in words, where it was not as wanted: a signal's name, or the last that it complained of."""
        if self.status is None:
            return "it did not end in time"
        if self.status == 0:
            return "it ended without an answer"
        if self.status < 0:
            return signal.strsignal(-self.status) or f"signal {-self.status}"
        if self.status == WINDOWS_ILLEGAL_INSTRUCTION:
            return "Illegal instruction"
        lines = [line for line in self.told.strip().splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit status {self.status:#x}"

    @property
    def answer(self) -> dict[str, Any] | None:
        """The JSON object that it printed, in the last line that is one: libraries print before it and after."""
        for line in reversed(self.printed.splitlines()):
            with suppress(ValueError):
                if isinstance(said := json.loads(line), dict):
                    return said
        return None


Runner: TypeAlias = Callable[[Order], Ended]


def run(order: Order) -> Ended:
    """Run it to its end. Raises OSError where it cannot be started."""
    environment = {**os.environ, **order.environment}
    if order.is_shown:
        return _run_shown(order.arguments, environment)
    try:
        done = subprocess.run(  # noqa: S603 - pip, uv or ourselves
            order.arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=order.seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Ended(None)
    return Ended(done.returncode, done.stdout, done.stderr)


def _run_shown(arguments: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Its output goes to our stderr: ours is for answers."""
    told: list[str] = []
    with subprocess.Popen(  # noqa: S603 - pip or uv
        arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stderr_descriptor(),
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            told.append(line)
            sys.stderr.write(line)
    return Ended(process.returncode, "", "".join(told))


def stderr_descriptor() -> int:
    """The descriptor of our stderr, or nowhere: a test's has none."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):
        return subprocess.DEVNULL
