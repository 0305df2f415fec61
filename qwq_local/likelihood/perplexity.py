"""One perplexity, from the model's name to the figures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qwq_local.likelihood.chunks import Chunks, ScoringSettings
from qwq_local.likelihood.estimates import mean_of
from qwq_local.likelihood.figures import Extent, Perplexity
from qwq_local.likelihood.reading import ScoredBackend, ScoringListener, cut_text, joined, scored_rows, scoring
from qwq_local.likelihood.scores import in_pieces, surprises
from qwq_local.loading import interruptibly, plan_load
from qwq_local.models.store import find


def run_perplexity(model: str, text: str, settings: ScoringSettings, listener: ScoringListener) -> Perplexity:
    """How likely the model of that name finds a text.

    Raises what `loading.plan_load` raises, LoadError, DecodeError, and PromptError for a text that is too short.
    """
    listener.begin("cutting the text into tokens")
    chunks, _ = cut_text(find(model), text, settings)
    listener.begin("looking at this machine")
    plan = plan_load(model, settings.load)
    with scoring(plan, chunks, listener) as (backend, threads):
        found = interruptibly(backend, partial(surprises_of, backend, chunks, threads, listener))
    return Perplexity(plan.file.name, Extent.of(chunks), mean_of(found), plan.notices)


def surprises_of(backend: ScoredBackend, chunks: Chunks, threads: ThreadPoolExecutor, listener: ScoringListener) -> NDArray[np.float64]:
    """The surprise at each token that is scored, in nats."""
    found: list[NDArray[np.float64]] = []
    for logits, targets in scored_rows(backend, chunks, lambda index: listener.on_progress("reading", index, chunks.n_chunks)):
        found += in_pieces(threads, surprises, logits, targets)
    return joined(found)
