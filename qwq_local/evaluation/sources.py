"""Where tasks are: a file here, the set that comes with this package, or a file of a data set on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Final

from qwq_local.errors import HubError, SettingsError
from qwq_local.models.hub_errors import translate

BUNDLED: Final = "nano"
HUB: Final = "hub:"
_ANSWERS_FOLDER: Final = "possible_answer"
_HUB_PATH: Final = re.compile(r"([\w.-]+/[\w.-]+)/(.+)")
_SUFFIXES: Final = (".gz", ".jsonl", ".json", ".csv")


@dataclass(frozen=True)
class Source:
    """A file of tasks, here now; `dataset` is the one on the hub that it came from, and `place` its path there."""

    name: str
    path: Path
    dataset: str = ""
    place: str = ""


def find_source(told: str, endpoint: str | None = None) -> Source:
    """What a user means: `nano`, `hub:OWNER/DATASET/PATH`, or a path. Raises SettingsError and HubError.

    A file of the hub is downloaded unless it is in huggingface_hub's cache as it is there now; offline the cache alone is asked.
    """
    if told == BUNDLED:
        return Source(BUNDLED, Path(str(resources.files("qwq_local.evaluation") / "data" / "nano.jsonl")))
    if told.startswith(HUB):
        return _of_hub(told, endpoint)
    path = Path(told).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SettingsError(
            f"{told} {what}.",
            hint=f"Give a file of tasks, {BUNDLED!r} for those that come along, or {HUB}OWNER/DATASET/PATH for one of the hub.",
        )
    return Source(_stem(path.name), path)


def answers_beside(source: Source, endpoint: str | None = None) -> Source | None:
    """The file of the same name in the folder possible_answer beside it, as BFCL has them; None where there is none. Raises HubError."""
    if not source.dataset:
        path = source.path.parent / _ANSWERS_FOLDER / source.path.name
        return Source(_stem(path.name), path) if path.is_file() else None
    place = PurePosixPath(source.place)
    there = str(place.parent / _ANSWERS_FOLDER / place.name)
    path_here = _fetch(source.dataset, there, endpoint)
    return Source(_stem(place.name), path_here, source.dataset, there) if path_here else None


def _of_hub(told: str, endpoint: str | None) -> Source:
    parts = _HUB_PATH.fullmatch(told.removeprefix(HUB))
    if parts is None or ".." in parts[2].split("/"):
        raise SettingsError(f"{told!r} names no file of a data set.", hint=f"Give it as {HUB}OWNER/DATASET/PATH, such as {_EXAMPLE}.")
    dataset, place = parts[1], parts[2]
    path = _fetch(dataset, place, endpoint)
    if path is None:
        page = f"huggingface.co/datasets/{dataset}/tree/main"
        raise HubError(f"The data set {dataset} has no file {place}.", hint=f"Its files are listed on {page}.")
    return Source(f"{dataset.partition('/')[2]}-{_stem(PurePosixPath(place).name)}", path, dataset, place)


_EXAMPLE: Final = "hub:HuggingFaceH4/MATH-500/test.jsonl"


def _fetch(dataset: str, place: str, endpoint: str | None) -> Path | None:
    """The file in huggingface_hub's cache, downloaded where needed; None where the data set has none of that name. Raises HubError."""
    from httpx2 import HTTPError
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RemoteEntryNotFoundError

    try:
        return Path(hf_hub_download(dataset, place, repo_type="dataset", endpoint=endpoint))
    except HFValidationError as error:
        raise HubError(f"{dataset!r} is no name of a data set.", hint=f"Give it as {HUB}OWNER/DATASET/PATH, such as {_EXAMPLE}.") from error
    except RemoteEntryNotFoundError:
        return None
    except LocalEntryNotFoundError as error:
        raise _not_here(error, dataset, place) from error
    except (HTTPError, OSError) as error:
        raise translate(error, dataset, "main") from error


def _not_here(error: Exception, dataset: str, place: str) -> HubError:
    """It is not in the cache, and the hub was not reached or may not be asked."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    cause = error.__cause__
    if cause is None or isinstance(cause, OfflineModeIsEnabled):
        return HubError(
            f"{place} of {dataset} is not on this machine, and HF_HUB_OFFLINE forbids asking the hub for it.",
            hint=f"Leave out HF_HUB_OFFLINE, or use tasks that are here: a file, or {BUNDLED!r}.",
        )
    return translate(cause if isinstance(cause, Exception) else error, dataset, "main")


def _stem(name: str) -> str:
    """A file's name without its endings."""
    while (suffix := PurePosixPath(name).suffix.lower()) in _SUFFIXES:
        name = name[: -len(suffix)]
    return name
