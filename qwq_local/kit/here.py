"""What is installed here, which a kit is to have too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

from packaging.utils import NormalizedName
from packaging.version import Version


@cache
def version_here(name: NormalizedName) -> Version | None:
    """The version of a package that is installed here."""
    try:
        return Version(distribution(name).version)
    except PackageNotFoundError:
        return None


def requires_here(name: NormalizedName) -> Sequence[str] | None:
    """What a package that is installed here needs; None for one that is not."""
    try:
        return distribution(name).requires or ()
    except PackageNotFoundError:
        return None
