"""What a confined program may use, and what became of it (data)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from qwq_local.errors import SettingsError

End: TypeAlias = Literal["done", "signal", "too slow", "too much memory", "too much output"]


@dataclass(frozen=True)
class Limits:
    """What one program may use. Raises SettingsError for what cannot be.

    `cpu_seconds` are those of all its threads, rounded up to whole ones; `seconds` are those of the clock, which a machine that does other
    things too makes longer. `memory_bytes` is its address space, the interpreter's own 20 MB included. `output_bytes` holds for what it
    prints and for its errors, each. Of files there is a folder of `folder_bytes` with at most `n_files`. Processes it may not start.
    """

    seconds: float = 20.0
    cpu_seconds: float = 10.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 4 << 20
    folder_bytes: int = 64 << 20
    n_files: int = 1000
    n_open: int = 64
    n_threads: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise SettingsError(f"{name} is {value}: a program cannot run with that.", hint=f"Give more than 0 for {name}.")


@dataclass(frozen=True)
class Outcome:
    """What a program came to.

    `code` is its exit code, or the negative number of the signal that ended it, as Python's subprocess has it. What was printed is cut off
    at the limit, and bytes that are not UTF-8 are replaced. `seconds` runs from the interpreter's start; `peak_bytes` is resident memory.
    """

    end: End
    code: int
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def is_done(self) -> bool:
        """Whether it ended by itself and without an error."""
        return self.end == "done" and self.code == 0

    @property
    def last_words(self) -> str:
        """The last line of its errors, which names the exception of a Python program."""
        lines = self.stderr.split("\n")[-20:]
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
