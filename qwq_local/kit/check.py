"""A kit compared with what it says of itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qwq_local.errors import InstallationError
from qwq_local.kit.installer.files import Flaw, flaws
from qwq_local.kit.installer.manifest import Manifest, read_manifest
from qwq_local.kit.installer.trouble import InstallError


@dataclass(frozen=True)
class Checked:
    """What came of it: what the kit says of itself, and what is wrong with it."""

    folder: Path
    manifest: Manifest
    flaws: tuple[Flaw, ...]

    @property
    def mending(self) -> str:
        """The command that brings anew what is wrong."""
        return shlex.join(["qwq", "kit", "make", str(self.folder), *self.manifest.made_with])


def check_kit(folder: Path, on_bytes: Callable[[int, int], None] = lambda _done, _total: None) -> Checked:
    """Compare every file with its hash; `on_bytes` is told the bytes read and their number in all. Raises InstallationError."""
    try:
        manifest = read_manifest(folder)
    except InstallError as error:
        raise InstallationError(str(error), hint=error.hint) from error
    found = flaws(folder, manifest, manifest.files, lambda n_bytes: on_bytes(n_bytes, manifest.total_bytes))
    return Checked(folder, manifest, tuple(found))
