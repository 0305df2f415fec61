"""From a model's name to its file, checked before llama.cpp sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.errors import DamagedFileError, ModelNotFoundError, WrongArchitectureError
from qwq_local.gguf import GgufHeader, read_header

DEMO: Final = "demo"
MAX_YARN_FACTOR: Final = 1024
"""More would be a damaged file: QwQ-32B's is 4."""
DEMO_FILE: Final = "qwq-nano-Q8_0.gguf"


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


def find(name: str | None) -> ModelFile:
    """The model file of that name: `demo` or a path to a .gguf.

    Raises ModelNotFoundError, NotGgufError, DamagedFileError or WrongArchitectureError.
    """
    if name is None:
        raise ModelNotFoundError("No model was named.", hint="Name a GGUF file with -m PATH, or try the built-in one: -m demo")
    path = Path(str(resources.files("qwq_local") / "demo" / DEMO_FILE)) if name == DEMO else Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name too long
        what = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112 - likewise
        raise ModelNotFoundError(f"The model {name!r} {what}.", hint="Give the path of a .gguf file, or -m demo")
    return describe(read_header(path), name)


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
    if native_ctx < 1 or not 1 <= yarn_factor <= MAX_YARN_FACTOR:
        raise DamagedFileError(
            f"{header.path} says its context is {native_ctx} tokens with a scaling factor of {yarn_factor}.",
            hint="Convert or download it again.",
        )
    return ModelFile(name, header.path, native_ctx, yarn_factor)
