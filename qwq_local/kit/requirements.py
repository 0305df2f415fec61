"""What must be installed so that this program runs on another machine (pure): the versions that run here, and what it needs besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

Requires: TypeAlias = Callable[[NormalizedName], Sequence[str] | None]
"""The Requires-Dist of a package; None where nobody knows them yet."""


@dataclass
class Need:
    """A package that is needed: with which extras, and what was said of its version."""

    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    extras: set[str] = field(default_factory=set)

    def allows(self, version: Version) -> bool:
        """Whether that version would do."""
        return self.specifier.contains(version, prereleases=True)


def needs(roots: Sequence[str], environments: Sequence[Mapping[str, str]], requires: Requires) -> dict[NormalizedName, Need]:
    """All that the roots need, and what these need in turn, where the markers say so in one of the environments."""
    found: dict[NormalizedName, Need] = {}
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        is_new = name not in found
        need = found.setdefault(name, Need())
        need.specifier &= requirement.specifier
        fresh = requirement.extras - need.extras
        need.extras |= fresh
        if is_new or fresh:
            lines = [Requirement(line) for line in requires(name) or ()]
            waiting += [line for line in lines if _applies(line, {"", *need.extras}, environments)]
    return found


def pinned(name: str, need: Need, here: Version | None) -> str:
    """What pip is asked for: the version that runs here, where there is one and it will do."""
    if here is not None and need.allows(here):
        return f"{name}=={here}"
    return f"{name}{need.specifier}"


def _applies(line: Requirement, extras: set[str], environments: Sequence[Mapping[str, str]]) -> bool:
    if line.marker is None:
        return True
    return any(line.marker.evaluate({**environment, "extra": extra}) for environment in environments for extra in extras)
