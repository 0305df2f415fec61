"""A model and its draft model loaded into llama.cpp as the plan says."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from qwq_local.backend import Rope
from qwq_local.drafts import DraftLoad, speaking_of_the_draft
from qwq_local.llama import ContextShape, LlamaBackend, LoadListener
from qwq_local.loading.plan import LoadPlan
from qwq_local.machine import hardware
from qwq_local.models.store import ModelFile
from qwq_local.settings import KvType
from qwq_local.tuning import UNTUNED, Tuning


def context_shape(file: ModelFile, n_ctx: int | None = None, kv_type: KvType = "f16", tuning: Tuning = UNTUNED) -> ContextShape:
    """A context for one conversation; by default as long as the file reads without YaRN."""
    n_ctx = n_ctx or file.native_ctx
    return ContextShape(
        n_ctx=n_ctx,
        n_batch=min(tuning.n_batch, n_ctx),
        n_sequences=1,
        n_threads=hardware.usable_cores(),
        kv_type=kv_type,
        yarn_factor=file.yarn_factor,
        native_ctx=file.native_ctx,
        tuning=tuning,
    )


def open_backend(plan: LoadPlan, rope: Rope, on_progress: LoadListener | None = None) -> LlamaBackend:
    """Load it, and then its draft model, with room for the conversations that share its context. Raises LoadError."""
    if plan.draft is None:
        return _open(plan, plan.n_sequences, rope, on_progress, plan.tuning)
    share = plan.placement.weights_bytes / (plan.placement.weights_bytes + plan.draft.placement.weights_bytes)
    with ExitStack() as undo:
        backend = _open(plan, plan.n_sequences, rope, _scaled(on_progress, 0.0, share), plan.tuning)
        undo.callback(backend.close)
        with speaking_of_the_draft():
            backend.take_draft(_open(plan.draft, plan.n_sequences, rope, _scaled(on_progress, share, 1.0)))
        undo.pop_all()
    return backend


def open_to_score(plan: LoadPlan, rope: Rope, n_outputs: int, on_progress: LoadListener | None = None) -> LlamaBackend:
    """Load it for one text, where `n_outputs` tokens of a batch may want logits, or all if a batch has fewer. Raises LoadError."""
    return _open(plan, 1, rope, on_progress, plan.tuning, n_outputs)


def _open(
    what: LoadPlan | DraftLoad,
    n_sequences: int,
    rope: Rope,
    on_progress: LoadListener | None,
    tuning: Tuning = UNTUNED,
    n_outputs: int = 0,
) -> LlamaBackend:
    placement = what.placement
    shape = context_shape(what.file, placement.n_ctx, placement.kv_type, tuning)
    shape = replace(shape, n_sequences=n_sequences, n_outputs=min(n_outputs, shape.n_batch) or n_sequences)
    return LlamaBackend(what.file.path, shape, rope, placement.gpu_layers, on_progress, what.gpu_shares)


def _scaled(on_progress: LoadListener | None, begin: float, end: float) -> LoadListener | None:
    """A listener to a part of the loading, for one to all of it."""
    return on_progress and (lambda share: on_progress(begin + (end - begin) * share))
