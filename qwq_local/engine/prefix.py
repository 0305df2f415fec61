"""How much of a prompt need not be read, where a text that begins like it was read before (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwq_local.backend import Rope
from qwq_local.speculation.alike import common_prefix

TILE, FEW, LONG = 64, 8, 1024
"""llama.cpp's flash attention on the CPU takes 64 tokens at a time; from FEW to there it takes them one by one, six times slower
(ggml_compute_forward_flash_attn_ext, ggml/src/ggml-cpu/ops.cpp). Behind a LONG prefix it pays to read some of that again."""


@dataclass(frozen=True)
class SavedPrefix:
    """Tokens with what the KV cache held of them, good for contexts of this scaling (and of the same model and KV type)."""

    rope: Rope
    tokens: tuple[int, ...]
    state: bytes


def n_spared(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many of a prompt's tokens are best taken over from tokens that are held: all but the last at most, which must be read anew."""
    n_common = common_prefix(held, prompt)
    n_unread = max(1, len(prompt) - n_common)
    return len(prompt) - (TILE if n_common >= LONG and FEW <= n_unread < TILE else n_unread)
