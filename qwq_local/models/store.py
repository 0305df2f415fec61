"""From a model's name to its file, checked before llama.cpp sees it; and away with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.configuration import find_folders
from qwq_local.errors import DamagedFileError, ModelNotFoundError, StoreError, WrongArchitectureError
from qwq_local.gguf import GgufHeader, read_header
from qwq_local.models import names
from qwq_local.models.elsewhere import Owner
from qwq_local.models.inventory import DEMO, LocalModel, UnfinishedPull, demo_model, local_models, unfinished_pulls
from qwq_local.models.record import record_path

MAX_NATIVE_CTX: Final = 2**24
MAX_YARN_FACTOR: Final = 1024
"""More would be a damaged file: QwQ-32B's are 32768 tokens and 4."""


@dataclass(frozen=True)
class ModelFile:
    """A model on this machine; the two context lengths count tokens, without YaRN and with it."""

    name: str
    path: Path
    native_ctx: int
    yarn_factor: float

    @property
    def longest_ctx(self) -> int:
        """Tokens of context with YaRN."""
        return int(self.native_ctx * self.yarn_factor)

    def absolute(self) -> ModelFile:
        """The same file, wherever the current folder is."""
        return replace(self, path=self.path.absolute())


def find(name: str) -> ModelFile:
    """The model file of that name: `demo`, a path to a .gguf, or a name that `qwq list` shows (also without its quantization).

    Raises ModelNotFoundError, NotGgufError, DamagedFileError, WrongArchitectureError, or SettingsError where the settings cannot be read.
    """
    return model_file(find_local(name))


def model_file(model: LocalModel) -> ModelFile:
    """A model's first file, its header checked, and all others there. Raises what `find` does of a model that exists."""
    missing = [path for path in model.paths if not path.is_file()]
    if missing:
        raise ModelNotFoundError(f"The model {model.name!r} lacks {missing[0]}.", hint="Pull it again: qwq pull")
    return describe(read_header(model.path), model.name)


def find_local(name: str) -> LocalModel:
    """The model of that name, its content not looked at. Raises ModelNotFoundError."""
    if name == DEMO:
        return demo_model()
    if _is_path(name):
        return _at(name)
    models = local_models()
    named = [model for model in models if name.casefold() in {model.name.casefold(), model.base.casefold()}]
    if named:
        return min(named, key=lambda model: (bool(model.problem), names.quality(model.quantization)))
    by_spelling = {model.name.casefold(): model.name for model in models}
    near = get_close_matches(name.casefold(), by_spelling, n=1)
    suggestion = f"Did you mean {by_spelling[near[0]]}? " if near else ""
    raise ModelNotFoundError(f"The model {name!r} does not exist.", hint=f"{suggestion}{_here(models)}Or give the path of a .gguf file.")


def require_owned(model: LocalModel) -> None:
    """Raise StoreError unless all of the model's files are the store's own."""
    folder = find_folders().models
    if model.owner != "store" or any(not path.parent.resolve().is_relative_to(folder.resolve()) for path in model.paths):
        raise StoreError(
            f"{model.path} is not in the folder of models ({folder}).",
            hint=f"It belongs to {model.owner}: remove it there." if model.owner not in {"store", "built in", "elsewhere"} else "It stays.",
        )


def remove(model: LocalModel) -> int:
    """Delete a model's files and return the bytes that are free now. Raises StoreError for what is not the store's or cannot go."""
    require_owned(model)
    for path in model.paths:
        _delete(path)
        _delete(record_path(path))
    return model.file_bytes


def remove_unfinished(pull: UnfinishedPull) -> int:
    """Delete what was pulled in part and return the bytes that are free now. Raises StoreError."""
    _delete(pull.path)
    _delete(record_path(pull.path))
    return pull.done_bytes


def find_unfinished(name: str) -> list[UnfinishedPull]:
    """The unfinished pulls of the model of that name."""
    pulls = {pull: names.parse(pull.file_name) for pull in unfinished_pulls()}
    return [pull for pull, parsed in pulls.items() if names.model_name(parsed.base, parsed.quantization).casefold() == name.casefold()]


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}.", hint="Make its folder writable.") from error


def _is_path(name: str) -> bool:
    return name.endswith(names.SUFFIX) or os.sep in name or "/" in name or os.path.isfile(name)  # noqa: PTH113 - as below


def _at(name: str) -> LocalModel:
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name too long
        what = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112 - likewise
        raise ModelNotFoundError(f"The model {name!r} {what}.", hint="Give the path of a .gguf file, a name of qwq list, or -m demo")
    parsed = names.parse(path.name)
    paths = tuple(path.with_name(shard) for shard in names.shards(path, parsed.n_shards))
    file_bytes = sum(shard.stat().st_size for shard in paths if shard.is_file())
    owner: Owner = "store" if path.resolve().is_relative_to(find_folders().models.resolve()) else "elsewhere"
    return LocalModel(name, parsed.base, parsed.quantization, owner, paths, file_bytes)


def _here(models: list[LocalModel]) -> str:
    if not models:
        return "Get one: qwq pull. "
    return f"Here are: {', '.join(model.name for model in models[:8])}. "


def describe(header: GgufHeader, name: str) -> ModelFile:
    """What the runtime needs to know of a file; raises WrongArchitectureError or DamagedFileError."""
    architecture = header.text("general.architecture")
    if architecture != card.ARCHITECTURE:
        raise WrongArchitectureError(
            f"{header.path} holds a model of the architecture {architecture!r}; QwQ's is {card.ARCHITECTURE!r}.",
            hint="Use a GGUF of QwQ-32B (or of another Qwen2 model).",
        )
    scaling = f"{architecture}.rope.scaling"
    native_ctx = min(header.integer(f"{architecture}.context_length"), card.ORIGINAL_CONTEXT)
    native_ctx = header.integer(f"{scaling}.original_context_length", native_ctx)
    yarn_factor = header.number(f"{scaling}.factor", card.YARN_FACTOR)
    if not 1 <= native_ctx <= MAX_NATIVE_CTX or not 1 <= yarn_factor <= MAX_YARN_FACTOR:
        raise DamagedFileError(
            f"{header.path} says its context is {native_ctx} tokens with a scaling factor of {yarn_factor}.",
            hint="Convert or download it again.",
        )
    return ModelFile(name, header.path, native_ctx, yarn_factor)
