"""What a model file says of itself, remembered: a header with a vocabulary of 152,064 tokens takes some 30 ms to walk through."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from qwq_local import card
from qwq_local.errors import DamagedFileError, ModelFileError
from qwq_local.gguf import GgufHeader, read_header
from qwq_local.quants import QUANTIZATIONS

FILE_NAME: Final = "models.json"
"""Where descriptions are kept, in the folder of what can be made again."""
_FILE_TYPES: Final = {quantization.file_type: quantization.name for quantization in QUANTIZATIONS.values()}


@dataclass(frozen=True)
class Description:
    """Of one file: the model's name in it, its quantization (empty where it does not say), and why it cannot be used (or nothing)."""

    title: str = ""
    quantization: str = ""
    problem: str = ""


def describe_file(path: Path) -> Description:
    """Read the header; what is wrong with it is described too, instead of being raised."""
    try:
        header = read_header(path)
        title, quantization = header.text("general.name", ""), _quantization(header)
        architecture = header.text("general.architecture")
    except ModelFileError as error:
        return Description(problem=str(error))
    problem = "" if architecture == card.ARCHITECTURE else f"{path} holds a model of the architecture {architecture!r}."
    return Description(title, quantization, problem)


def _quantization(header: GgufHeader) -> str:
    with suppress(DamagedFileError):
        return _FILE_TYPES.get(header.integer("general.file_type", -1), "")
    return ""


class Descriptions:
    """Descriptions by file, kept in a JSON file as long as a file's length and time of change stay the same.

    It can be thrown away at any time, so one that cannot be read is empty, and one that cannot be written is not kept.
    """

    def __init__(self, kept_in: Path) -> None:
        self._kept_in = kept_in
        self._known = _load(kept_in)
        self._used: dict[str, list[Any]] = {}

    def of(self, path: Path) -> Description:
        """The description of a file, read only where it is unknown or has changed."""
        entry = self._entry(path) or [*_stamp(path), asdict(describe_file(path))]
        self._used[str(path)] = entry
        return Description(**entry[2])

    def remembered(self, path: Path) -> Description:
        """The description of a file where it is known, and else an empty one."""
        entry = self._entry(path)
        return Description(**entry[2]) if entry else Description()

    def _entry(self, path: Path) -> list[Any] | None:
        entry = self._known.get(str(path))
        return entry if entry and entry[:2] == _stamp(path) else None

    def keep(self) -> None:
        """Write down what was asked for since the start, where anything changed, and forget the rest."""
        if self._used == self._known:
            return
        with suppress(OSError):
            self._kept_in.parent.mkdir(parents=True, exist_ok=True)
            draft = self._kept_in.with_suffix(".new")
            draft.write_text(json.dumps(self._used), "utf-8")
            draft.replace(self._kept_in)
            self._known = dict(self._used)


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _load(path: Path) -> dict[str, list[Any]]:
    with suppress(OSError, ValueError):
        read = json.loads(path.read_text("utf-8"))
        if isinstance(read, dict) and all(_is_entry(entry) for entry in read.values()):
            return read
    return {}


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 3
        and isinstance(entry[2], dict)
        and entry[2].keys() == Description.__dataclass_fields__.keys()
    )
