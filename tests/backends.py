"""Backends of the built-in model and of others, what they are made to read, and what transformers made of the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qwq_local.backend import BatchToken
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "transformers.json").read_text("utf-8"))
"""Prompts, logits and greedy replies of the demo's checkpoint."""


def open_backend(path: str, **load: Any) -> LlamaBackend:
    """A model of that name or path, loaded by these settings."""
    file = find(path)
    return LlamaBackend(file.path, context_shape(file, **load), "native", 0)


def read(backend: LlamaBackend, tokens: list[int], start: int = 0) -> None:
    """Decode tokens of sequence 0 from a position on; the last one's logits are wanted."""
    backend.decode([BatchToken(token, start + i, 0, wants_logits=i == len(tokens) - 1) for i, token in enumerate(tokens)])
