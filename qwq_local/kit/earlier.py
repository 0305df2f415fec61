"""The kit that this program came from, while it is still at hand: what is in it need not be brought, so that no network is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qwq_local.installation import KIT_MARK, find_installation
from qwq_local.kit.here import version_here
from qwq_local.kit.installer.manifest import WHEELS, Manifest, read_manifest
from qwq_local.kit.installer.trouble import InstallError
from qwq_local.kit.wheels import read_wheel
from qwq_local.kit.wish import KitWish


@dataclass(frozen=True)
class EarlierKit:
    """A kit, and what it says of itself."""

    folder: Path
    manifest: Manifest

    def wheels(self, wish: KitWish, python: str, names: Iterable[str]) -> list[Path]:
        """Its wheels of some packages, in the versions that are installed here, where they run on that machine."""
        tags, wanted = frozenset(wish.platform.tags(python)), set(names)
        found = [wheel for path in sorted((self.folder / WHEELS).glob("*.whl")) if (wheel := read_wheel(path))]
        return [each.path for each in found if each.name in wanted and each.runs_on(tags) and each.version == version_here(each.name)]

    def holds_llama_of(self, wish: KitWish) -> bool:
        """Whether its llama.cpp is the one that is wished for: of that build, and compiled for one processor or for all alike."""
        is_native = "--native" in self.manifest.made_with
        return (self.manifest.platform, self.manifest.build, is_native) == (wish.platform.name, wish.chosen_build, wish.is_native)


def earlier_kit() -> EarlierKit | None:
    """The kit, if this program came from one that is still where it was."""
    mark = find_installation().folder / KIT_MARK
    if not mark.is_file():
        return None
    folder = Path(json.loads(mark.read_text("utf-8"))["kit"])
    try:
        return EarlierKit(folder, read_manifest(folder))
    except InstallError:  # unplugged, moved or made anew since
        return None
