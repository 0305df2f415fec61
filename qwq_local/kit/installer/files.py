"""Are a kit's files what they should be?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .manifest import MANIFEST, MODELS, SUMS, WHEELS, KitFile, Manifest, sums_text

READ_BYTES = 2**22
LOOKED_AT: dict[str, set[str]] = {WHEELS: set(), MODELS: {".gguf"}, "installer": {".py"}}
"""Where strange files are looked for, by their suffixes; pip takes files of many."""
LEFT_BY_WINDOWS = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Flaw:
    """What is wrong with one file: it is `missing`, `damaged`, or `strange`, which is to say that no kit has it; `detail` says more."""

    path: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path} {self.detail}"


def flaws(kit: Path, manifest: Manifest, files: Iterable[KitFile], on_bytes: Callable[[int], None] = lambda _: None) -> Iterator[Flaw]:
    """What is wrong with some of a kit's files, and with its lists; `on_bytes` is told the bytes read of all of them together."""
    if _text(kit / SUMS) != sums_text(manifest):
        what = "damaged" if (kit / SUMS).exists() else "missing"
        yield Flaw(SUMS, what, f"is {what}, or {MANIFEST} is damaged: they say different things")
    done_bytes = 0
    for file in files:
        flaw = flaw_of(kit, file, lambda n_bytes, before=done_bytes: on_bytes(before + n_bytes))  # type: ignore[misc]
        if flaw:
            yield flaw
        done_bytes += file.size_bytes
    yield from _strangers(kit, manifest)


def flaw_of(kit: Path, file: KitFile, on_bytes: Callable[[int], None] = lambda _: None) -> Flaw | None:
    """What is wrong with one file, or nothing."""
    path = kit / file.path
    try:
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            return Flaw(file.path, "damaged", f"has {size_bytes:,} bytes instead of {file.size_bytes:,}")
        found = sha256_of(path, on_bytes)
    except FileNotFoundError:
        return Flaw(file.path, "missing", "is missing")
    except OSError as error:
        return Flaw(file.path, "damaged", f"cannot be read: {error.strerror}")
    return None if found == file.sha256 else Flaw(file.path, "damaged", f"has the SHA-256 {found[:12]}… instead of {file.sha256[:12]}…")


def sha256_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    n_bytes = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            n_bytes += len(block)
            on_bytes(n_bytes)
    return digest.hexdigest()


def _strangers(kit: Path, manifest: Manifest) -> Iterator[Flaw]:
    """Files that could be installed though no hash is known of them. What file managers leave on sticks is none of these."""
    known = {file.path for file in manifest.files}
    for folder, suffixes in LOOKED_AT.items():
        for path in sorted((kit / folder).glob("*")):
            name = f"{folder}/{path.name}"
            is_ours = name in known or path.name.startswith(".") or path.name.lower() in LEFT_BY_WINDOWS
            if not is_ours and (not suffixes or path.suffix in suffixes):
                yield Flaw(name, "strange", "does not belong to this kit")


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
