"""What a kit says of itself: `kit.json`, which is written last, and `SHA256SUMS`, which `sha256sum -c` reads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .trouble import InstallError

FORMAT = 1
MANIFEST = "kit.json"
SUMS = "SHA256SUMS"
WHEELS = "wheels"
MODELS = "models"
AGAIN = "Make it again where it was made (qwq kit make, with the same options), or copy the whole folder again."


@dataclass(frozen=True)
class KitFile:
    """A file of a kit: its path below the kit's folder with `/` between the parts, its length, and its SHA-256 in hexadecimal."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class KitModel:
    """A model as `qwq list` will show it, and its files in the kit, the first first."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """All that a kit says of itself.

    `requirement` is what pip is to install. `glibc` and `macos` are the oldest versions that its wheels run on ("" for any), `cpu_flags`
    what the processor must be able to do, as /proc/cpuinfo names it. `unpacked_bytes` is what the program takes when it is installed.
    `made_with` are the options that made it.
    """

    version: str
    platform: str
    pythons: tuple[str, ...]
    build: str
    requirement: str
    models: tuple[KitModel, ...]
    glibc: str
    macos: str
    cpu_flags: tuple[str, ...]
    unpacked_bytes: int
    made_with: tuple[str, ...]
    files: tuple[KitFile, ...]

    @property
    def total_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)

    def under(self, folder: str) -> list[KitFile]:
        """Its files in one of its folders."""
        return [file for file in self.files if file.path.startswith(folder + "/")]


def to_json(manifest: Manifest) -> str:
    """The text of kit.json."""
    said = {"format": FORMAT, **vars(manifest)}
    said["models"] = [vars(model) for model in manifest.models]
    said["files"] = [vars(file) for file in manifest.files]
    return json.dumps(said, indent=1) + "\n"


def read_manifest(kit: Path) -> Manifest:
    """What the kit in a folder says of itself. Raises InstallError where it is not finished, or is damaged."""
    path = kit / MANIFEST
    try:
        said = json.loads(path.read_text("utf-8"))
        if said["format"] != FORMAT:
            raise InstallError(f"{path} is of format {said['format']}, and this program reads {FORMAT}.", "Use the program that made it.")
        return _manifest(said)
    except FileNotFoundError as error:
        raise InstallError(f"{kit} is no finished kit: it has no {MANIFEST}.", "Finish it: qwq kit make, with the same options.") from error
    except OSError as error:
        raise InstallError(f"{path} cannot be read: {error.strerror}.", "Check the disk and your permissions.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InstallError(f"The kit is damaged: {path} cannot be understood.", AGAIN) from error


def _manifest(said: dict[str, Any]) -> Manifest:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items() if name != "format"}
    fields["models"] = tuple(KitModel(model["name"], tuple(model["files"])) for model in said["models"])
    fields["files"] = tuple(KitFile(file["path"], int(file["size_bytes"]), file["sha256"]) for file in said["files"])
    for file in fields["files"]:
        parts = PurePosixPath(file.path)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(file.path)
    return Manifest(**fields)


def sums_text(manifest: Manifest) -> str:
    """The text of SHA256SUMS: a line for each file and one for kit.json."""
    own = hashlib.sha256(to_json(manifest).encode()).hexdigest()
    lines = [f"{file.sha256}  {file.path}" for file in manifest.files]
    return "\n".join([*lines, f"{own}  {MANIFEST}"]) + "\n"
