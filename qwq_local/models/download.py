"""Pull model files: resumed at any byte, checked against the hub's hash, and only then given their names."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Self

from qwq_local.errors import HubError, StoreError
from qwq_local.models import names
from qwq_local.models.hub import Hub
from qwq_local.models.record import Record, read_record, record_path, write_record

PARTS_FOLDER: Final = ".partial"
SPARE_BYTES: Final = 64 * 2**20
"""Left free on the disk beside the files."""
MAX_TRIES: Final = 6
"""Tries in a row that bring nothing before an error that may pass is told."""
MAX_WAIT_SECONDS: Final = 60.0
FAT32: Final = "Its file system takes no file of 4 GiB or more (FAT32): format it as exFAT, or use another disk."
"""What to do where a file has become too large."""
_READ_BYTES: Final = 2**22


@dataclass(frozen=True)
class PullProgress:
    """How far a pull is: `stage` is what is done now, the rest counts bytes of all its files together."""

    stage: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Listener:
    """Whom a pull tells: of its progress, and in words of what the user should know; `sleep` passes the seconds it has to wait."""

    on_progress: Callable[[PullProgress], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep


def pull(hub: Hub, files: Sequence[Record], folder: Path, listener: Listener) -> Path:
    """Bring the files of one model into the folder and return the path of the first. What is there already is not fetched again.

    Raises:
        HubError: the hub cannot give them (now), or what it gave is not what it announced. What was fetched stays, for the next try.
        StoreError: the folder cannot be written, the disk is too full, or a file of another content has the name.
    """
    paths = [folder / local_name(file) for file in files]
    with _told_as_store_error(folder):
        (folder / PARTS_FOLDER).mkdir(parents=True, exist_ok=True)
    require_space(files, folder)
    done_bytes = 0
    for file, path in zip(files, paths, strict=True):
        _Pull(hub, file, path, listener, done_bytes, sum(file.size_bytes for file in files)).run()
        done_bytes += file.size_bytes
    return paths[0]


def local_name(file: Record) -> str:
    """The name a file gets here: QwQ-32B-Q4_K_M.gguf, whatever its repository calls it."""
    parsed = names.parse(PurePosixPath(file.file.replace("\\", "/")).name)
    stem = f"{parsed.base}-{parsed.quantization}" if parsed.quantization else parsed.base
    return stem + (f"-{parsed.shard:05}-of-{parsed.n_shards:05}" if parsed.n_shards > 1 else "") + names.SUFFIX


def part_path(path: Path, file: Record) -> Path:
    """Where a file grows; another content of the same name grows elsewhere."""
    return path.parent / PARTS_FOLDER / f"{path.name}.{file.sha256[:12]}.part"


def require_space(files: Sequence[Record], folder: Path) -> None:
    """Raise StoreError where the disk has no room for what is still to be fetched."""
    paths = [folder / local_name(file) for file in files]
    total_bytes = sum(file.size_bytes for file, path in zip(files, paths, strict=True) if not path.exists())
    needed_bytes = total_bytes - pulled_bytes(files, folder)
    with _told_as_store_error(folder):
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        free_bytes = shutil.disk_usage(existing).free
    if needed_bytes and needed_bytes + SPARE_BYTES > free_bytes:
        raise StoreError(
            f"{needed_bytes / 1e9:.1f} GB are still to be written to {folder}, and {free_bytes / 1e9:.1f} GB are free there.",
            hint="Free some space (qwq list, qwq rm NAME), take a smaller quantization, or name another folder in QWQ_MODELS.",
        )


def pulled_bytes(files: Sequence[Record], folder: Path) -> int:
    """What earlier pulls brought of files that are not whole yet."""
    paths = [folder / local_name(file) for file in files]
    return sum(_size_bytes(part_path(path, file)) for file, path in zip(files, paths, strict=True) if not path.exists())


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Pull:
    """One file on its way; `before_bytes` of `total_bytes` were files before it."""

    def __init__(self, hub: Hub, file: Record, path: Path, listener: Listener, before_bytes: int, total_bytes: int) -> None:
        self._hub = hub
        self._file = file
        self._path = path
        self._part_path = part_path(path, file)
        self._listener = listener
        self._before_bytes = before_bytes
        self._total_bytes = total_bytes

    def run(self) -> None:
        with _lock(self._part_path, self._listener.notice):
            if self._path.exists():
                self._adopt()
                return
            with _told_as_store_error(self._path.parent):
                write_record(self._part_path, self._file)
                part = _Part(self._part_path)
            with part:
                part.read_again(lambda n_bytes: self._tell("checking", n_bytes))
                self._fetch(part)
                part.finish()
            self._give_name(part.sha256)

    def _fetch(self, part: _Part) -> None:
        n_tries = 0
        while part.size_bytes < self._file.size_bytes:
            before_bytes = part.size_bytes
            try:
                for chunk in self._hub.stream(self._file, part.size_bytes):
                    part.append(chunk[: self._file.size_bytes - part.size_bytes])
                    self._tell("pulling", part.size_bytes)
            except HubError as error:
                n_tries = 1 if part.size_bytes > before_bytes else n_tries + 1
                self._wait(error, n_tries)

    def _wait(self, error: HubError, n_tries: int) -> None:
        seconds = error.retry_after_seconds or 2.0 ** (n_tries - 1)
        if not error.is_passing or n_tries >= MAX_TRIES or seconds > MAX_WAIT_SECONDS:
            raise error
        self._listener.notice(f"{error} Trying again in {seconds:.0f} s.")
        self._listener.sleep(seconds)

    def _give_name(self, sha256: str) -> None:
        with _told_as_store_error(self._path.parent):
            if sha256 != self._file.sha256:
                self._part_path.unlink()
                record_path(self._part_path).unlink()
                raise HubError(
                    f"{self._file.file} arrived damaged: its SHA-256 is {sha256[:12]}…, and the hub says {self._file.sha256[:12]}….",
                    hint="It was thrown away. Run the same command again.",
                )
            write_record(self._path, self._file)
            self._part_path.replace(self._path)
            record_path(self._part_path).unlink()

    def _adopt(self) -> None:
        """Take what has the name already, if it is what was asked for."""
        known = read_record(self._path)
        has_right_size = self._path.stat().st_size == self._file.size_bytes
        if known is None and has_right_size:
            with _told_as_store_error(self._path.parent):
                if file_sha256(self._path, lambda n_bytes: self._tell("checking", n_bytes)) == self._file.sha256:
                    write_record(self._path, known := self._file)
        if known is None or known.sha256 != self._file.sha256 or not has_right_size:
            raise StoreError(
                f"{self._path} is not the file that {self._file.repository} has under this name.",
                hint="Look at it with qwq verify; to replace it, remove it first with qwq rm.",
            )
        self._tell("pulling", self._file.size_bytes)

    def _tell(self, stage: str, n_bytes: int) -> None:
        self._listener.on_progress(PullProgress(stage, self._before_bytes + n_bytes, self._total_bytes))


class _Part:
    """A growing file whose hash is taken while it grows. Raises StoreError where the disk refuses."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent.parent
        self._file = path.open("a+b", buffering=0)  # unbuffered, so that what is on the disk is a beginning of the file at any moment
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def read_again(self, on_bytes: Callable[[int], None]) -> None:
        """Take the hash of what is there from an earlier start."""
        while block := self._read():
            self._hash.update(block)
            self.size_bytes += len(block)
            on_bytes(self.size_bytes)

    def _read(self) -> bytes:
        with _told_as_store_error(self._folder):
            self._file.seek(self.size_bytes)
            return self._file.read(_READ_BYTES)

    def append(self, chunk: bytes) -> None:
        with _told_as_store_error(self._folder):
            while chunk:
                n_bytes = self._file.write(chunk)
                self._hash.update(chunk[:n_bytes])
                self.size_bytes += n_bytes
                chunk = chunk[n_bytes:]

    def finish(self) -> None:
        """Have it on the disk itself, before the name says that it is whole."""
        with _told_as_store_error(self._folder):
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def file_sha256(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """The SHA-256 of a file's content, in hexadecimal; `on_bytes` is told the bytes read so far. Raises OSError."""
    digest = hashlib.sha256()
    n_bytes = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            n_bytes += len(block)
            on_bytes(n_bytes)
    return digest.hexdigest()


@contextmanager
def _lock(part: Path, notice: Callable[[str], None]) -> Iterator[None]:
    """Only one pull works on a part; the second waits and then finds the file, or goes on with the part."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # its documented place

    path = part.with_suffix(".lock")
    with ExitStack() as stack:
        with _told_as_store_error(part.parent.parent):
            try:
                stack.enter_context(WeakFileLock(path, timeout=0.2))
            except TimeoutError:
                notice(f"Another qwq pull is fetching {part.name.partition(names.SUFFIX)[0]}: waiting for it.")
                stack.enter_context(WeakFileLock(path))
        yield


@contextmanager
def _told_as_store_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = FAT32 if error.errno == errno.EFBIG else "Free some space or make the folder writable, or name another folder in QWQ_MODELS."
        raise StoreError(f"{folder} cannot take the file: {error.strerror or error}.", hint=f"{hint} What was fetched stays.") from error
