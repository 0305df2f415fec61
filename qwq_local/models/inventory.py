"""The models on this machine: those of the store, those that other programs brought, the built-in one, and those that are half here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.configuration import find_folders
from qwq_local.models import names
from qwq_local.models.description import FILE_NAME, Description, Descriptions
from qwq_local.models.download import PARTS_FOLDER
from qwq_local.models.elsewhere import FoundFile, Owner, find_elsewhere
from qwq_local.models.record import read_record

DEMO: Final = "demo"
DEMO_FILE: Final = "qwq-nano-Q8_0.gguf"


@dataclass(frozen=True)
class LocalModel:
    """A model that can be named: `paths` are its files, the first first; `problem` says why it cannot be used, or nothing."""

    name: str
    base: str
    quantization: str
    owner: Owner
    paths: tuple[Path, ...]
    file_bytes: int
    problem: str = ""

    @property
    def path(self) -> Path:
        """The file to load."""
        return self.paths[0]


@dataclass(frozen=True)
class UnfinishedPull:
    """A file that was pulled in part; `total_bytes` is what it will have, or None where that is not known any more."""

    file_name: str
    path: Path
    done_bytes: int
    total_bytes: int | None


def demo_model() -> LocalModel:
    """The model inside the package."""
    path = Path(str(resources.files("qwq_local") / "demo" / DEMO_FILE))
    return LocalModel(DEMO, DEMO, names.parse(DEMO_FILE).quantization, "built in", (path,), path.stat().st_size)


def local_models() -> list[LocalModel]:
    """Every model on this machine but the built-in one: QwQ-32B first, and what keeps most first.

    Two of one name are told apart by calling the second by its path. Raises SettingsError where the settings cannot be read.
    """
    folders = find_folders()
    descriptions = Descriptions(folders.cache / FILE_NAME)
    models = _all_models(folders.models, descriptions.of)
    descriptions.keep()
    return models


def remembered_models() -> list[LocalModel]:
    """The same, as far as it is known at once: no model file is opened, and nothing is written. Raises SettingsError, likewise."""
    folders = find_folders()
    return _all_models(folders.models, Descriptions(folders.cache / FILE_NAME).remembered)


def _all_models(folder: Path, describe: Callable[[Path], Description]) -> list[LocalModel]:
    found = [*_in_store(folder), *find_elsewhere(os.environ, Path.home())]
    return sorted(_told_apart(_model(file, describe(file.path)) for file in _firsts(found)), key=_place)


def unfinished_pulls() -> list[UnfinishedPull]:
    """What `pull` began and can go on with."""
    pulls = []
    for path in sorted((find_folders().models / PARTS_FOLDER).glob("*.part")):
        record = read_record(path)
        file_name = path.name.rsplit(".", 2)[0]
        pulls.append(UnfinishedPull(file_name, path, path.stat().st_size, record.size_bytes if record else None))
    return pulls


def _in_store(folder: Path) -> Iterator[FoundFile]:
    for path in sorted(folder.glob(f"**/*{names.SUFFIX}")):
        if PARTS_FOLDER not in path.parts:
            yield FoundFile(path, path.name, "store")


def _firsts(found: Iterable[FoundFile]) -> Iterator[FoundFile]:
    """The first file of each model, once, also where several names lead to it."""
    seen: set[tuple[int, int]] = set()
    for file in found:
        if names.parse(file.file_name).shard != 1 or not file.path.is_file():
            continue
        state = file.path.stat()
        if (state.st_dev, state.st_ino) not in seen:
            seen.add((state.st_dev, state.st_ino))
            yield file


def _model(file: FoundFile, description: Description) -> LocalModel:
    parsed = names.parse(file.file_name)
    paths = tuple(file.path.with_name(name) for name in names.shards(file.path, parsed.n_shards))
    missing = [path for path in paths if not path.is_file()]
    quantization = parsed.quantization or description.quantization
    return LocalModel(
        names.model_name(parsed.base, quantization),
        parsed.base,
        quantization,
        file.owner,
        paths,
        sum(path.stat().st_size for path in paths if path not in missing),
        f"{missing[0]} is missing." if missing else description.problem,
    )


def _told_apart(models: Iterable[LocalModel]) -> Iterator[LocalModel]:
    taken: set[str] = {DEMO}
    for model in models:
        name = str(model.path) if model.name.casefold() in taken else model.name
        taken.add(name.casefold())
        yield replace(model, name=name)


def _place(model: LocalModel) -> tuple[bool, str, int, str]:
    return model.base != card.NAME, model.base.casefold(), names.quality(model.quantization), model.name
