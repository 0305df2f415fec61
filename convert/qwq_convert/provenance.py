"""Where a checkpoint comes from: repository, revision and content hash, as far as they are known without reading the weights.

The header of a GGUF file stands before its weights and its own SHA-256 covers both, so the content hash of the source must be known before
the one pass over the weights begins. Weights downloaded from the hub have theirs on record: in the hub's cache a file is a link to a blob
named by its SHA-256, and a download to a folder keeps it under .cache/huggingface (huggingface_hub's documentation, "Manage your cache").
For any other folder a file SHA256SUMS says it. Where no record is, the hash is left out; it is never made of less than all files' content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwq_convert.metadata import KeyValue
from qwq_local.errors import ConversionError

DOCUMENTS = (
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""What a conversion reads beside the weights, where it is there."""

SUMS = "SHA256SUMS"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Provenance:
    """What is known of a checkpoint's origin.

    `sha256` is that of the listing that sha256sum prints of the files read, sorted by name. `stamp` tells this state of the folder from
    another by names, sizes and times of change.
    """

    repository: str | None
    revision: str | None
    sha256: str | None
    stamp: str

    @property
    def name(self) -> str | None:
        """The repository's name without its owner's."""
        return self.repository.rpartition("/")[2] if self.repository else None

    def beyond(self, about: Sequence[KeyValue]) -> tuple[KeyValue, ...]:
        """What a file made of it says of it, as far as `about` does not."""
        values = {
            "general.source.repo_url": f"https://huggingface.co/{self.repository}" if self.repository else None,
            "qwq_local.source.revision": self.revision,
            "qwq_local.source.sha256": self.sha256,
        }
        given = {entry.key for entry in about}
        return tuple(KeyValue(key, "string", value) for key, value in values.items() if value is not None and key not in given)


def trace(folder: Path, shards: Sequence[Path]) -> Provenance:
    """Find what is known of the checkpoint in `folder`, whose weights are in `shards`.

    Raises:
        ConversionError: a file cannot be read.
    """
    files = sorted([*(folder / name for name in DOCUMENTS if (folder / name).is_file()), *shards])
    try:
        sums = {path.name: _sum_on_record(path) if path in shards else hash_file(path) for path in files}
        stamp = "".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files)
    except OSError as error:
        raise ConversionError(f"{error.filename} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    known = {name: found for name, found in sums.items() if found is not None}
    return Provenance(
        _repository(folder),
        _revision(folder, shards),
        _digest(known) if len(known) == len(files) else None,
        hashlib.sha256(stamp.encode()).hexdigest(),
    )


def hash_file(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_sums(text: str) -> dict[str, str]:
    """SHA-256 by file name, from what `sha256sum` prints; lines that are none of its are passed over."""
    found = (re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in text.splitlines())
    return {match[2]: match[1] for match in found if match}


def _digest(sums: Mapping[str, str]) -> str:
    listing = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def _sum_on_record(shard: Path) -> str | None:
    blob = shard.resolve().name  # in the hub's cache
    if shard.is_symlink() and _SHA256.fullmatch(blob):
        return blob
    _, etag = _download_record(shard)
    if _SHA256.fullmatch(etag):
        return etag
    listing = shard.parent / SUMS
    if not listing.is_file() or listing.stat().st_mtime < shard.stat().st_mtime:
        return None
    return parse_sums(listing.read_text(encoding="utf-8", errors="replace")).get(shard.name)


def _download_record(path: Path) -> tuple[str, str]:
    """Commit and ETag (the SHA-256, for weights) of a file that huggingface_hub put into a folder; empty where it was changed since."""
    record = path.parent / ".cache" / "huggingface" / "download" / f"{path.name}.metadata"
    if not record.is_file() or record.stat().st_mtime < path.stat().st_mtime - 1:
        return "", ""
    commit, etag, *_ = [*record.read_text(encoding="utf-8", errors="replace").splitlines(), "", ""]
    return commit, etag


def _snapshot(folder: Path) -> Path | None:
    """The folder, where it is a snapshot in the hub's cache: models--OWNER--NAME/snapshots/COMMIT."""
    resolved = folder.resolve()
    is_one = _COMMIT.fullmatch(resolved.name) and resolved.parent.name == "snapshots"
    return resolved if is_one and resolved.parent.parent.name.startswith("models--") else None


def _repository(folder: Path) -> str | None:
    snapshot = _snapshot(folder)
    return snapshot.parent.parent.name.removeprefix("models--").replace("--", "/", 1) if snapshot else None


def _revision(folder: Path, shards: Sequence[Path]) -> str | None:
    if snapshot := _snapshot(folder):
        return snapshot.name
    commits = {_download_record(shard)[0] for shard in shards}
    return commits.pop() if len(commits) == 1 and all(map(_COMMIT.fullmatch, commits)) else None
