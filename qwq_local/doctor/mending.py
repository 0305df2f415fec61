"""How a damaged model file is got anew, with the program that brought it."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

from qwq_local import card
from qwq_local.models.elsewhere import ollama_name
from qwq_local.models.inventory import LocalModel


def mending(model: LocalModel, path: Path) -> str:
    """The command for one file of a model. What would find the damaged file and keep it has it deleted first."""
    if model.owner == "Hugging Face":
        return _from_hub(path)
    if model.owner == "Ollama":
        name = _quoted(ollama_name(path) or "qwq")
        return f"ollama rm {name} && ollama pull {name}"
    if model.owner == "LM Studio":
        quantization = f"@{model.quantization.lower()}" if model.quantization else ""
        repository = "/".join(path.parts[-3:-1])
        return f"{'del' if _is_windows() else 'rm'} {_quoted(str(path))} && lms get {_quoted(repository + quantization)}"
    return f"qwq rm {_quoted(model.name)} --yes" + (f" && qwq pull {model.quantization}" if model.base == card.NAME else "")


def _from_hub(path: Path) -> str:
    """Of the same revision, since the damaged file is that one's (huggingface_hub's guide "Understand caching")."""
    parts = path.parts
    snapshots = len(parts) - 1 - parts[::-1].index("snapshots")
    repository = parts[snapshots - 1].removeprefix("models--").replace("--", "/")
    revision, *inside = parts[snapshots + 1 :]
    return f"hf download {_quoted(repository)} {_quoted('/'.join(inside))} --revision {_quoted(revision)} --force-download"


def _quoted(text: str) -> str:
    return f'"{text}"' if _is_windows() else shlex.quote(text)


def _is_windows() -> bool:
    return platform.system() == "Windows"
