"""The chunks that a text is read in (pure), cut as llama.cpp's llama-perplexity cuts it (`perplexity` in tools/perplexity/perplexity.cpp).

Each chunk is read by itself, and only the tokens of its second half are scored, so that each has at least half a chunk before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qwq_local.errors import PromptError, SettingsError
from qwq_local.settings import MAX_SAMPLES, KvType, LoadSettings


@dataclass(frozen=True)
class ScoringSettings:
    """How a text is read: in chunks of `n_ctx` tokens, at most `max_chunks` of them, by a model that is loaded so.

    `load` is how that model is loaded. Raises SettingsError for what cannot be.
    """

    n_ctx: int = 512
    max_chunks: int | None = None
    n_gpu_layers: int | None = None
    kv_type: KvType | None = None
    force: bool = False
    load: LoadSettings = field(init=False)

    def __post_init__(self) -> None:
        if self.max_chunks is not None and self.max_chunks < 1:
            raise SettingsError(f"chunks is {self.max_chunks}, but must be at least 1.", hint="Leave it out for the whole text.")
        # With memory for the logits of half a chunk, which is what those of so many answers at once take.
        load = LoadSettings(self.n_ctx, self.n_gpu_layers, self.kv_type, force=self.force, n_parallel=MAX_SAMPLES)
        object.__setattr__(self, "load", load)


@dataclass(frozen=True, eq=False)
class Chunks:
    """Token ids, (chunks, tokens of each); `start` is read instead of each chunk's first, where there is one."""

    tokens: NDArray[np.int32]
    start: int | None = None

    @property
    def n_chunks(self) -> int:
        """How many there are."""
        return len(self.tokens)

    @property
    def n_ctx(self) -> int:
        """Tokens of each."""
        return int(self.tokens.shape[1])

    @property
    def first_wanted(self) -> int:
        """The first place of a chunk after which the next token is scored."""
        return self.n_ctx // 2

    @property
    def n_scored(self) -> int:
        """Tokens of each that are scored; nothing follows the last place."""
        return self.n_ctx - 1 - self.first_wanted

    def read(self, index: int) -> list[int]:
        """The tokens of one as the model reads them."""
        tokens: list[int] = self.tokens[index].tolist()
        return tokens if self.start is None else [self.start, *tokens[1:]]


def cut(tokens: Sequence[int], settings: ScoringSettings, start: int | None = None) -> Chunks:
    """All whole chunks of a text, or the first of them.

    Raises PromptError for a text of less than two: llama-perplexity refuses it too.
    """
    n_ctx, needed = settings.n_ctx, 2 * settings.n_ctx
    if len(tokens) < needed:
        shorter = len(tokens) // 2
        raise PromptError(
            f"The text is {len(tokens):,} tokens long, and chunks of {n_ctx:,} need {needed:,}.",
            hint="Give a longer text" + (f", or read it in shorter chunks: --ctx {shorter}" if shorter >= 16 else "."),
        )
    n_chunks = min(len(tokens) // n_ctx, settings.max_chunks or len(tokens))
    return Chunks(np.array(tokens[: n_chunks * n_ctx], dtype=np.int32).reshape(n_chunks, n_ctx), start)


def batches(n_tokens: int, first_wanted: int, n_batch: int, n_outputs: int) -> Iterator[range]:
    """The places of a chunk that are read at once: at most `n_batch`, of which at most `n_outputs` are wanted."""
    begin = 0
    while begin < n_tokens:
        end = min(begin + n_batch, max(begin, first_wanted) + n_outputs, n_tokens)
        yield range(begin, end)
        begin = end
