"""QwQ files that other programs have brought here: they are used where they are, and never changed.

Places: the Hugging Face cache (huggingface_hub/constants.py; its guide "Understand caching"), LM Studio's folders (its documentation,
"Manage models": `models/publisher/model/file.gguf`) and Ollama's (github.com/ollama/ollama, docs/faq.md and server/manifest.go: a manifest
names the layers, and the layer of the type below is a GGUF file among the blobs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Owner: TypeAlias = Literal["store", "built in", "elsewhere", "Hugging Face", "LM Studio", "Ollama"]
"""Whose a file is: only those of the store are ours to change."""

OLLAMA_MODEL: Final = "application/vnd.ollama.image.model"
_FAMILY: Final = "qwq"
_CONTENT_NAME: Final = re.compile(r"(?:sha256-)?([0-9a-f]{64})")


@dataclass(frozen=True)
class FoundFile:
    """A GGUF file on this machine; `file_name` is what it is called, which is not always its name on the disk."""

    path: Path
    file_name: str
    owner: Owner


def find_elsewhere(environment: Mapping[str, str], home: Path) -> list[FoundFile]:
    """All QwQ files of other programs on this machine. A folder that is not there or may not be read holds none."""
    return [*_hugging_face(environment, home), *_lm_studio(home), *_ollama(environment, home)]


def content_sha256(path: Path) -> str | None:
    """What the SHA-256 of such a file must be, in hexadecimal: both the Hugging Face cache and Ollama name the file on the disk by it."""
    match = _CONTENT_NAME.fullmatch(path.resolve().name)
    return match[1] if match else None


def ollama_name(blob: Path) -> str | None:
    """What `ollama pull` calls the model whose file this is: host, namespace, model and tag, as its manifest's path says."""
    folder, digest = blob.parent.parent, blob.name.replace("-", ":", 1)
    for manifest in _entries(folder, "manifests/*/*/*/*"):
        if any(layer.get("digest") == digest for layer in _read_layers(manifest)):
            return f"{'/'.join(manifest.parts[-4:-1])}:{manifest.name}"
    return None


def _hugging_face(environment: Mapping[str, str], home: Path) -> Iterator[FoundFile]:
    cache = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    if not cache:
        base = environment.get("XDG_CACHE_HOME") or str(home / ".cache")
        cache = str(Path(environment.get("HF_HOME") or f"{base}/huggingface") / "hub")
    for repository in _entries(Path(cache).expanduser(), "models--*"):
        if _FAMILY in repository.name.casefold():
            yield from (FoundFile(path, path.name, "Hugging Face") for path in _entries(repository, "snapshots/*/**/*.gguf"))


def _lm_studio(home: Path) -> Iterator[FoundFile]:
    folders = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    with suppress(OSError, UnicodeDecodeError):
        folders.insert(0, Path((home / ".lmstudio-home-pointer").read_text("utf-8").strip()))
    for folder in dict.fromkeys(folders):
        for path in _entries(folder, "models/*/*/*.gguf"):
            if _FAMILY in path.name.casefold():
                yield FoundFile(path, path.name, "LM Studio")


def _ollama(environment: Mapping[str, str], home: Path) -> Iterator[FoundFile]:
    named = environment.get("OLLAMA_MODELS")
    folders = [Path(named)] if named else [home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]
    for folder in folders:
        for manifest in _entries(folder, "manifests/*/*/*/*"):
            if _FAMILY in manifest.parent.name.casefold():
                yield from _layers(folder, manifest)


def _layers(folder: Path, manifest: Path) -> Iterator[FoundFile]:
    """The model's file: that of `qwq:32b-q8_0` is called qwq-32b-q8_0.gguf."""
    for layer in _read_layers(manifest):
        digest = str(layer.get("digest", ""))
        blob = folder / "blobs" / digest.replace(":", "-")
        if layer.get("mediaType") == OLLAMA_MODEL and digest.startswith("sha256:") and blob.is_file():
            called = f"{manifest.parent.name.removesuffix('-GGUF')}-{manifest.name}.gguf"
            yield FoundFile(blob, called.replace("qwq-latest", "qwq-32b"), "Ollama")


def _read_layers(manifest: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return [layer for layer in json.loads(manifest.read_text("utf-8")).get("layers", []) if isinstance(layer, dict)]
    return []


def _entries(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
    except OSError:
        return []
