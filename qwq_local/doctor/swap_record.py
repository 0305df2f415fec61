"""What is known of exchanges of llama.cpp: the one that is going on, or was broken off, and the one that can be undone.

A folder for each environment, in the folder of the user's data: `going.json` while an exchange goes on, `done.json` after it, and the kept
wheel. Each is written at once, so that whoever is killed leaves the one before or the one after.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from filelock import FileLock, Timeout

from qwq_local.errors import InstallationError

FOLDER: Final = "builds"
GOING, DONE, LOCK = "going.json", "done.json", "lock"

Step: TypeAlias = Literal["fetching", "exchanging"]


@dataclass(frozen=True)
class Swap:
    """An exchange: what came into which folder, what was there before (empty: nothing), and its wheel, relative to the record's folder."""

    build: str
    site: str
    step: Step = "fetching"
    before: str = ""
    kept: str = ""
    is_undo: bool = False


class SwapRecord:
    """The record of one folder of packages, kept in a folder of `data`."""

    def __init__(self, data: Path, site: Path) -> None:
        self.site = site
        self.folder = data / FOLDER / hashlib.sha256(os.fsencode(site.resolve())).hexdigest()[:12]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process out. Raises InstallationError where one is at work, OSError where nothing can be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InstallationError("Another qwq doctor is exchanging llama-cpp-python.", hint="Wait until it is done.") from error
        try:
            yield
        finally:
            lock.release()

    def broken_off(self) -> Swap | None:
        """The exchange that was begun and not ended, unless a process is still at it. Raises InstallationError as `going`."""
        if not self._read(GOING):
            return None
        try:
            with self.locked():
                pass
        except InstallationError:
            return None
        except OSError:
            pass  # nothing can be locked there: whether a process is at it cannot be told
        return self._read(GOING)

    def going(self) -> Swap | None:
        """The exchange that was begun and not ended. Raises InstallationError where the file says nothing sensible."""
        return self._read(GOING)

    def done(self) -> Swap | None:
        """The last exchange that ended. Raises InstallationError as `going`."""
        return self._read(DONE)

    def begin(self, swap: Swap) -> None:
        """From now on this exchange is going on, at this step."""
        part = self.folder / f"{GOING}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(swap), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / GOING)

    def end(self) -> None:
        """It is done, and is what can be undone from now on; what was kept for the one before goes."""
        (self.folder / GOING).replace(self.folder / DONE)
        self._sweep()

    def drop(self, *, with_done: bool = False) -> None:
        """It is as if the exchange had never been; `with_done`: nor the one before it, which it has undone."""
        if with_done:
            (self.folder / DONE).unlink(missing_ok=True)
        (self.folder / GOING).unlink(missing_ok=True)
        self._sweep()

    def new_folder(self) -> Path:
        """A folder for a wheel, of its own since builds of one version have the same name."""
        numbers = [path.name.partition("-")[2] for path in self.folder.glob("kept-*")]
        return self.folder / f"kept-{max((int(number) for number in numbers if number.isdecimal()), default=0) + 1}"

    def _sweep(self) -> None:
        """Away with wheels that nothing is put back from; what cannot be deleted stays until the next time."""
        done = self._read(DONE)
        used = (self.folder / done.kept).parent if done and done.kept else None
        for folder in self.folder.glob("kept-*"):
            if folder != used:
                shutil.rmtree(folder, ignore_errors=True)

    def _read(self, name: str) -> Swap | None:
        path = self.folder / name
        try:
            return Swap(**json.loads(path.read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            hint = "Make it readable for you, or run qwq as the one whose it is."
            raise InstallationError(f"{path} cannot be read: {error.strerror}.", hint=hint) from error
        except (ValueError, TypeError) as error:
            raise InstallationError(f"{path} cannot be read: {error}.", hint="Delete it, then run qwq doctor again.") from error
