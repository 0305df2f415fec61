"""Refuse to be built for a Python that is too old, in words.

Of an old Python, an old pip (before 24.3) tells only of the first library that has no version for it. hatchling runs this before pip
looks for libraries (hatch's metadata hooks, pyproject.toml); it must be read by the Pythons that it refuses.
"""

from __future__ import annotations

import sys
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

OLDEST = (3, 11)


class NewEnoughPython(MetadataHookInterface):
    """Changes nothing of the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Ends the build where Python is too old."""
        if sys.version_info < OLDEST:
            wanted, found = ".".join(map(str, OLDEST)), ".".join(map(str, sys.version_info[:3]))
            raise SystemExit(f"qwq-local needs Python {wanted} or newer; this is Python {found} ({sys.executable}).")
