"""Why a candidate was chosen or not: one sentence with figures (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from qwq_local.plan.draft import DraftPlace
from qwq_local.plan.placement import RAM, Placement, Shortage
from qwq_local.plan.plan import (
    FROM_RAM,
    LEAST_LOSS,
    MOST_LOSS,
    SPILLED,
    TOO_LARGE,
    TOO_SMALL,
    UNKNOWN_LOSS,
    WHOLE,
    WHOLE_3_BITS,
    WHOLE_3_BITS_SHORTER,
    WHOLE_SHORTER,
    Candidate,
    Plan,
    contexts,
)


def why(candidate: Candidate, plan: Plan) -> str:
    """Why the plan chose this candidate, or did not."""
    if candidate.shortage:
        return why_not_fitting(candidate, plan.draft)
    chosen = plan.chosen
    assert chosen is not None, "one that fits is chosen"
    return _why_chosen(candidate, plan) if candidate is chosen else _why_not(candidate, chosen)


def gib(size_bytes: float) -> str:
    """A size as people say it: 18.5 GiB."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 / 10 else f"{size_bytes / 2**20:.0f} MiB"


def why_not_fitting(candidate: Candidate, draft: DraftPlace | None = None) -> str:
    """What a candidate that does not fit needs, and what there is beside a draft model."""
    assert candidate.shortage is not None, "asked only of what does not fit"
    beside = f" beside the {gib(draft.bytes_on(candidate.shortage.device))} of the draft model {draft.name}" if draft else ""
    return f"{_needs(candidate.placement, candidate.shortage)}{beside}."


def why_draft_not_fitting(draft: DraftPlace) -> str:
    """What a draft model that does not fit needs, and what there is."""
    assert draft.shortage is not None, "asked only of what does not fit"
    return f"{_needs(draft.placement, draft.shortage)}."


def _needs(placement: Placement, shortage: Shortage) -> str:
    device = "of RAM" if shortage.device == RAM else f"on {shortage.device} for {_layers(placement)}"
    context = f"{placement.n_ctx:,} tokens in a {placement.kv_type} cache"
    return f"With {context} it needs {gib(shortage.needed_bytes)} {device}, and {gib(shortage.usable_bytes)} can be used"


def _loss(candidate: Candidate) -> str:
    return f"{candidate.offer.loss:.4f}" if candidate.offer.loss < UNKNOWN_LOSS else "unknown"


def _layers(placement: Placement) -> str:
    return f"{placement.gpu_layers} of {placement.all_layers} layers"


def _speed(candidate: Candidate) -> str:
    return f"about {candidate.tokens_per_second:.1f} tokens/s"


def _why_chosen(candidate: Candidate, plan: Plan) -> str:
    n_ctx = f"{candidate.placement.n_ctx:,} tokens of context"
    wanted = contexts(candidate.offer, plan.wish)[0]
    cache = _why_this_cache(candidate, plan)
    shorter = f", of {wanted:,} wanted" if candidate.placement.n_ctx < wanted else ""
    layers = _layers(candidate.placement)
    on_gpu = f", {layers} being on the GPU" if candidate.placement.gpu_layers else ""
    sentences: Mapping[int, str] = {
        WHOLE: f"The least loss ({_loss(candidate)}) of those that fit whole on the GPU with {n_ctx}{cache}.",
        WHOLE_SHORTER: f"Whole on the GPU with {n_ctx}{shorter}: at 4 bits the longest that fits (loss {_loss(candidate)}){cache}.",
        WHOLE_3_BITS: f"The least loss ({_loss(candidate)}) of those that fit whole on the GPU with {n_ctx}; 4 bits do not{cache}.",
        WHOLE_3_BITS_SHORTER: (
            f"Whole on the GPU with {n_ctx}{shorter}: a shorter context comes before layers in RAM (loss {_loss(candidate)}){cache}."
        ),
        SPILLED: f"The smallest that loses no more than {MOST_LOSS:.4f}: {layers} on the GPU, the rest in RAM, with {n_ctx}.",
        FROM_RAM: f"The least loss ({_loss(candidate)}) worth reading from RAM{on_gpu}: fits with {n_ctx}{shorter}{cache}.",
        TOO_LARGE: f"Larger than need be for this machine, but nothing better is at hand: fits with {n_ctx}{shorter}.",
        TOO_SMALL: f"Loses much ({_loss(candidate)}), but nothing better fits: {n_ctx}{shorter}.",
    }
    return sentences[candidate.rule]


def _why_this_cache(candidate: Candidate, plan: Plan) -> str:
    if candidate.placement.kv_type == plan.wish.kv_types[0]:
        return ""
    return f"; its cache is {candidate.placement.kv_type}, which costs less quality than fewer bits of weights"


def _why_not(candidate: Candidate, chosen: Candidate) -> str:
    if candidate.rule != chosen.rule:
        return _OTHER_RULE[candidate.rule](candidate, chosen)
    if candidate.rank == chosen.rank:
        return "As good as the chosen one."
    if candidate.rule in {WHOLE_SHORTER, WHOLE_3_BITS_SHORTER} and candidate.placement.n_ctx < chosen.placement.n_ctx:
        return f"Whole only with {candidate.placement.n_ctx:,} tokens of context, and {chosen.placement.n_ctx:,} are possible."
    if candidate.rule in {SPILLED, TOO_LARGE}:
        return (
            f"{_layers(candidate.placement)} on the GPU: {candidate.tokens_per_second:.1f} tokens/s against {chosen.tokens_per_second:.1f}."
        )
    return _loses_more(candidate, chosen)


def _shorter(candidate: Candidate, _: Candidate) -> str:
    return f"Whole on the GPU only with {candidate.placement.n_ctx:,} tokens."


def _loses_more(candidate: Candidate, chosen: Candidate) -> str:
    return f"Loses more: {_loss(candidate)} against {_loss(chosen)}."


def _spills(candidate: Candidate, _: Candidate) -> str:
    return f"Only {_layers(candidate.placement)} on the GPU: {_speed(candidate)}."


def _reads_from_ram(candidate: Candidate, _: Candidate) -> str:
    where = f"Only {_layers(candidate.placement)} on the GPU" if candidate.placement.gpu_layers else "Read from RAM"
    return f"{where}: {_speed(candidate)}."


def _too_large(candidate: Candidate, chosen: Candidate) -> str:
    if candidate.placement.kind == "gpu":
        return f"Larger than Q8_0, which loses {LEAST_LOSS:.4f}."
    return f"Read from RAM: {_speed(candidate)}, to lose {_loss(candidate)} instead of {_loss(chosen)}."


def _too_small(candidate: Candidate, _: Candidate) -> str:
    return f"Loses {_loss(candidate)}, and over {MOST_LOSS:.4f} is a last resort."


_OTHER_RULE: Final[Mapping[int, Callable[[Candidate, Candidate], str]]] = MappingProxyType(
    {
        WHOLE: _loses_more,
        WHOLE_SHORTER: _shorter,
        WHOLE_3_BITS: _loses_more,
        WHOLE_3_BITS_SHORTER: _shorter,
        SPILLED: _spills,
        FROM_RAM: _reads_from_ram,
        TOO_LARGE: _too_large,
        TOO_SMALL: _too_small,
    }
)
"""What keeps a candidate of that rule from being chosen before one of an earlier rule."""
