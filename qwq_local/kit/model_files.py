"""Models into a kit: those of this machine compared with their hashes and linked or copied, others pulled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.errors import DamagedFileError, InstallationError, SettingsError
from qwq_local.kit.installer.manifest import MODELS, KitFile, KitModel
from qwq_local.kit.installer.models import copy
from qwq_local.kit.wish import KitListener, KitWish
from qwq_local.models import names
from qwq_local.models.download import Listener, PullProgress, file_sha256, local_name, pull, pulled_bytes
from qwq_local.models.elsewhere import content_sha256
from qwq_local.models.hub import Hub
from qwq_local.models.inventory import DEMO, LocalModel, local_models
from qwq_local.models.record import Record, read_record, record_path, write_record
from qwq_local.models.store import find_local, model_file

ORIGIN: Final = "an offline kit"
"""The repository in the record of a file that none is known of."""


@dataclass(frozen=True)
class Source:
    """A model that a kit is to have: one of this machine, or the hub's files of it."""

    name: str
    local: LocalModel | None
    files: tuple[Record, ...] = ()

    @property
    def file_names(self) -> list[str]:
        """Its files' names in the kit."""
        if self.local is None:
            return [local_name(file) for file in self.files]
        model = self.local
        stem = f"{model.base}-{model.quantization}" if model.quantization else model.base
        if len(model.paths) == 1:
            return [stem + names.SUFFIX]
        return [f"{stem}-{number:05}-of-{len(model.paths):05}{names.SUFFIX}" for number in range(1, len(model.paths) + 1)]

    def lacking_bytes(self, folder: Path) -> int:
        """What it still takes in the kit's folder of models, beside what a run that was broken off left there."""
        if self.local is None:
            lacking = [file for file, name in zip(self.files, self.file_names, strict=True) if not (folder / name).exists()]
            return sum(file.size_bytes for file in lacking) - pulled_bytes(self.files, folder)
        targets = [(path, folder / name) for path, name in zip(self.local.paths, self.file_names, strict=True)]
        return sum(path.stat().st_size - _size_bytes(_part(target)) for path, target in targets if not target.exists())


def find_sources(wish: KitWish, hub: Hub) -> list[Source]:
    """Where each model is that the kit is to have, each once. Raises ModelFileError, HubError or SettingsError."""
    found = [Source(model.name, model) for name in wish.models if (model := find_local(name)).name != DEMO]
    for quant in wish.quants:
        wanted = quant.upper().removeprefix(f"{card.NAME.upper()}:")
        name = names.model_name(card.NAME, wanted)
        here = [model for model in local_models() if model.name == name and not model.problem]
        found.append(Source(name, here[0]) if here else Source(name, None, tuple(hub.find(wanted, card.GGUF_REPOSITORIES))))
    for source in found:
        if source.local:
            model_file(source.local)
    found = list({tuple(source.local.paths) if source.local else source.files: source for source in found}.values())
    _require_names_apart(found)
    return [replace(source, name=_kit_name(source)) for source in found]


def _require_names_apart(sources: list[Source]) -> None:
    every = [name for source in sources for name in source.file_names]
    for name in every:
        if every.count(name) > 1:
            raise SettingsError(f"Two of the models would both be {name} in the kit.", hint="Rename the file of one of them.")


def _kit_name(source: Source) -> str:
    """What `qwq list` will call it there, also where it was given by its path."""
    parsed = names.parse(source.file_names[0])
    return names.model_name(parsed.base, parsed.quantization)


def bring(source: Source, folder: Path, hub: Hub, listener: KitListener) -> tuple[KitModel, list[KitFile]]:
    """Have it in the kit's folder of models, each file with its record. Raises ModelFileError, HubError, StoreError or OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if source.local is None:
        pull(hub, source.files, folder, Listener(lambda progress: _pulled(progress, listener), listener.notice))
    else:
        for path, name in zip(source.local.paths, source.file_names, strict=True):
            _take(path, folder / name, lambda done, total: listener.on_bytes(f"copying {source.name}", done, total))
    files = [file for name in source.file_names for file in _listed(folder / name)]
    return KitModel(source.name, tuple(file.path for file in files if file.path.endswith(names.SUFFIX))), files


def _pulled(progress: PullProgress, listener: KitListener) -> None:
    listener.on_bytes(progress.stage, progress.done_bytes, progress.total_bytes)


def _take(path: Path, target: Path, on_bytes: Callable[[int, int], None]) -> None:
    """Link or copy one file of this machine, and give it its record. What is there already with that hash stays."""
    size_bytes = path.stat().st_size
    record, known = read_record(path), read_record(target)
    tell = partial(_tell, on_bytes, size_bytes)
    expected = (record.sha256 if record else content_sha256(path)) or file_sha256(path, tell)
    if known and known.sha256 == expected and target.is_file() and file_sha256(target, tell) == expected:
        return
    part = _part(target)
    part.unlink(missing_ok=True)
    found = _link(path, part, tell) or copy(path, part, tell)
    if found != expected:
        part.unlink()
        raise DamagedFileError(
            f"{path} is damaged: its SHA-256 is {found[:12]}…, and was {expected[:12]}….", hint="qwq doctor says how to get it anew."
        )
    write_record(target, record or Record(ORIGIN, found, target.name, size_bytes, found))
    part.replace(target)


def _part(target: Path) -> Path:
    """A copy in the making, which begins anew whenever it was broken off."""
    return target.with_name(target.name + ".part")


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tell(on_bytes: Callable[[int, int], None], size_bytes: int, done_bytes: int) -> None:
    on_bytes(done_bytes, size_bytes)


def _link(path: Path, part: Path, on_bytes: Callable[[int], None]) -> str:
    """The hash of a file that could be linked; nothing where it could not."""
    try:
        os.link(path.resolve(), part)
    except OSError:  # another disk, one that knows no links, or somebody else's file
        return ""
    return file_sha256(part, on_bytes)


def _listed(path: Path) -> list[KitFile]:
    """A model file and its record, as kit.json lists them; the file's hash is the one that it was just compared with."""
    record = read_record(path)
    if record is None:
        raise InstallationError(f"{path} has no record of its hash.", hint="Remove it, and run the same command again.")
    beside = record_path(path)
    folder = path.parent.name
    return [
        KitFile(f"{folder}/{path.name}", path.stat().st_size, record.sha256),
        KitFile(f"{folder}/{beside.name}", beside.stat().st_size, file_sha256(beside)),
    ]


def require_room(sources: list[Source], folder: Path, extra_bytes: int) -> None:
    """Raise InstallationError where the disk has no room for what is still to come."""
    lacking = sum(source.lacking_bytes(folder / MODELS) for source in sources)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    if lacking + extra_bytes > free_bytes:
        raise InstallationError(
            f"The kit still needs about {(lacking + extra_bytes) / 1e9:.1f} GB, and {folder} has {free_bytes / 1e9:.1f} GB free.",
            hint="Free some space, take a smaller quantization, or make it on another disk.",
        )
