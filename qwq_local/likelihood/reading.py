"""A text read by a model for its logits: loaded as the plan says, chunk by chunk, never more logits at once than those of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwq_local.backend import BatchToken, Rope
from qwq_local.errors import DecodeError
from qwq_local.likelihood.chunks import Chunks, ScoringSettings, batches, cut
from qwq_local.llama import FileVocabulary, LlamaBackend
from qwq_local.loading import LoadPlan, open_to_score, opened
from qwq_local.machine import hardware
from qwq_local.models.store import ModelFile
from qwq_local.settings import MAX_SEQUENCES

N_OUTPUTS: Final = MAX_SEQUENCES
"""Tokens of a batch whose logits are wanted: half a usual chunk, and as many as the plan keeps memory for (`ScoringSettings.load`)."""
HUNDREDTHS: Final = 100

Number = TypeVar("Number", np.float64, np.bool_)


@dataclass(frozen=True)
class ScoringListener:
    """Whom it tells: that something begins whose end nobody knows, how far it is, and what the user should know meanwhile."""

    begin: Callable[[str], None] = lambda _: None
    on_progress: Callable[[str, int, int], None] = lambda *_: None
    notice: Callable[[str], None] = lambda _: None


class ScoredBackend(Protocol):
    """As much of `llama.LlamaBackend` as it takes."""

    @property
    def n_batch(self) -> int:
        """Tokens one decode can read."""
        ...

    @property
    def n_outputs(self) -> int:
        """Tokens of one decode that can want logits."""
        ...

    def decode(self, batch: list[BatchToken]) -> None:
        """Read a batch."""
        ...

    def wanted_logits(self, n_rows: int) -> NDArray[np.float32]:
        """The logits after all tokens of the last batch that wanted them, (n_rows, vocabulary)."""
        ...

    def truncate(self, sequence: int, n_tokens: int) -> None:
        """Forget all but the first `n_tokens` of a sequence."""
        ...


def cut_text(file: ModelFile, text: str, settings: ScoringSettings) -> tuple[Chunks, int]:
    """The chunks of a text by a model's vocabulary, and how many tokens that has. Raises PromptError, and LoadError for the file."""
    with closing(FileVocabulary(file.path)) as vocabulary:
        return cut(vocabulary.tokenize_whole(text), settings, vocabulary.chunk_start), vocabulary.n_tokens


@contextmanager
def scoring(plan: LoadPlan, chunks: Chunks, listener: ScoringListener) -> Iterator[tuple[LlamaBackend, ThreadPoolExecutor]]:
    """The model, loaded, and threads that work on its logits. Raises LoadError."""
    rope: Rope = "native" if chunks.n_ctx <= plan.file.native_ctx else "yarn"
    stage = f"loading {plan.file.name}"
    listener.begin(stage)
    with (
        opened(
            partial(open_to_score, plan, rope, N_OUTPUTS),
            lambda share: listener.on_progress(stage, round(share * HUNDREDTHS), HUNDREDTHS),
        ) as backend,
        ThreadPoolExecutor(hardware.usable_cores()) as threads,
    ):
        yield backend, threads


def scored_rows(
    backend: ScoredBackend, chunks: Chunks, on_chunk: Callable[[int], None]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
    """The logits at each place that is scored, (places, vocabulary), and the tokens that follow, as many at once as one batch gives.

    The logits are llama.cpp's own memory: use them before the next. Those of a chunk's last place are computed too, as llama-perplexity
    does, since other sizes of batches may be multiplied by other kernels. Raises DecodeError and InterruptedDecodeError.
    """
    first, last = chunks.first_wanted, chunks.n_ctx - 1
    for index in range(chunks.n_chunks):
        on_chunk(index)
        tokens = chunks.read(index)
        backend.truncate(0, 0)
        for places in batches(chunks.n_ctx, first, backend.n_batch, backend.n_outputs):
            backend.decode([BatchToken(tokens[place], place, 0, wants_logits=place >= first) for place in places])
            begin, end = max(places.start, first), min(places.stop, last)
            if begin < end:
                yield backend.wanted_logits(places.stop - begin)[: end - begin], chunks.tokens[index, begin + 1 : end + 1]


def joined(found: list[NDArray[Number]]) -> NDArray[Number]:
    """Figures of all places in one; raises DecodeError where one is NaN or infinite."""
    whole: NDArray[Number] = np.concatenate(found)
    if not np.isfinite(whole).all():
        raise DecodeError("What the model computes is NaN or infinite.", hint="Its file may be damaged: convert or download it again.")
    return whole
