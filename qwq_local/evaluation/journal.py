"""A run's file: a line of JSON for what is run, and one for each answer as soon as it is graded, so that a killed run loses none.

A line that was cut short by a kill is taken away when the run is gone on with; what is left is exactly what was graded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from io import BufferedRandom
from pathlib import Path
from typing import Any, Final, Self

from qwq_local.errors import SettingsError
from qwq_local.evaluation.sample import RunHead, Sample, head_of

KIND: Final = "qwq-eval-1"


class Journal:
    """The answers of one run, graded before and now. Safe for several threads; only one process may write a run at a time.

    Raises SettingsError for a file that is another run's, or none.
    """

    def __init__(self, path: Path, head: RunHead) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BufferedRandom = path.open("a+b")
        try:
            _lock_file(self._file, path)
            self.samples = self._take_up(head)
        except BaseException:
            self._file.close()
            raise

    def _take_up(self, head: RunHead) -> list[Sample]:
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            self._file.truncate(0)
            self._write({"kind": KIND, **head.as_json()})
            return []
        found, samples = _read(self.path, whole)
        if found != head:
            raise SettingsError(f"{self.path} is a run of {found.model} on {found.tasks}, with other settings.", hint="Give another --out.")
        self._file.truncate(len(whole))
        return samples

    def add(self, sample: Sample) -> None:
        """Write one down; once it returns, a kill does not lose it."""
        with self._lock:
            self._write(asdict(sample))
            self.samples.append(sample)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        """Opened already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()


def read_run(path: Path) -> tuple[RunHead, list[Sample]]:
    """A run that was kept, as far as it came. Raises SettingsError for a file that is none."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", hint="Give the file of a run, as qwq eval names it.") from error
    return _read(path, text[: text.rfind(b"\n") + 1])


def _read(path: Path, text: bytes) -> tuple[RunHead, list[Sample]]:
    """Whole lines. A question answered twice counts once."""
    head: RunHead | None = None
    samples: dict[tuple[str, int], Sample] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            told = json.loads(line)
            if head is None:
                head = head_of(told, KIND)
            else:
                sample = Sample(**told)
                samples.setdefault((sample.question, sample.index), sample)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(
                f"{path} is no run of qwq eval: line {number} is not one of its lines.", hint="Give another file."
            ) from error
    if head is None:
        raise SettingsError(f"{path} is no run of qwq eval: it is empty.", hint="Give another file.")
    return head, [*samples.values()]


def _lock_file(file: BufferedRandom, path: Path) -> None:
    """Keep other processes out until this one closes the file, or ends."""
    try:
        _exclusive()(file.fileno())
    except OSError as error:
        raise SettingsError(f"{path} is being written by another qwq eval.", hint="Wait for it, or give another --out.") from error


def _exclusive() -> Callable[[int], None]:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        return lambda descriptor: msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    return lambda descriptor: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
