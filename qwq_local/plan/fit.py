"""From a plan to what is loaded: the file, and the settings that the user left open (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qwq_local.errors import DoesNotFitError, ModelNotFoundError
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import Machine
from qwq_local.plan.draft import DraftPlace, DraftPlacer
from qwq_local.plan.placement import Placement
from qwq_local.plan.plan import Candidate, Offer, PlanWish, consider, make_plan
from qwq_local.plan.reasons import why_draft_not_fitting, why_not_fitting
from qwq_local.tuning import Tuning


def choose(machine: Machine, offers: Sequence[Offer], wish: PlanWish, draft: DraftPlace | None = None, *, force: bool = False) -> Candidate:
    """The best of the files here, as it is to be loaded beside the draft model; with `force`, the smallest where none fits.

    Raises:
        ModelNotFoundError: there is no file.
        DoesNotFitError: none fits.
    """
    here = [offer for offer in offers if offer.is_here]
    if not here:
        raise ModelNotFoundError(
            "There is no model of QwQ-32B here.", hint="Get one: qwq pull (qwq plan says which), or try the built-in one: -m demo"
        )
    chosen = make_plan(machine, here, wish, draft).chosen
    return chosen or fit(machine, min(here, key=lambda offer: offer.file_bytes), wish, draft, force=force)


def fit(machine: Machine, offer: Offer, wish: PlanWish, draft: DraftPlace | None = None, *, force: bool = False) -> Candidate:
    """How to load this file beside the draft model: its `placement` has the context, the cache and the layers on the GPUs.

    With `force` a file that does not fit is loaded in its smallest form.

    Raises:
        DoesNotFitError: it does not fit.
    """
    candidate = consider(draft.left if draft else machine, offer, wish)
    if candidate.shortage is None or force:
        return candidate
    less = [
        *(["a shorter context (--ctx)"] if wish.n_ctx else []),
        *(["--kv-type q8_0"] if wish.kv_type in {"f32", "f16"} else []),
        *(["fewer layers on the GPU (--gpu-layers)"] if wish.n_gpu_layers else []),
        *(["no draft model, or a smaller one (--draft-model)"] if draft else []),
        "a smaller quantization (qwq plan)",
    ]
    raise DoesNotFitError(
        f"{offer.name} does not fit this machine. {why_not_fitting(candidate, draft)}",
        hint=f"Try {', '.join(less)}, close other programs, or load it all the same: --force",
    )


def fit_draft(placer: DraftPlacer, n_ctx: int, wish: PlanWish, *, force: bool = False) -> DraftPlace:
    """Where to load a draft model with so much context, before the model that it guesses for. Raises DoesNotFitError, not with `force`."""
    place = placer.place(n_ctx, may_use_gpu=wish.n_gpu_layers != 0)
    if place.shortage is None or force:
        return place
    raise DoesNotFitError(
        f"The draft model {place.name} does not fit this machine. {why_draft_not_fitting(place)}",
        hint="Try a smaller one or none (--draft-model), a shorter context (--ctx), or load it all the same: --force",
    )


def with_tuning(machine: Machine, candidate: Candidate, wish: PlanWish, tuning: Tuning) -> tuple[Candidate, Tuning]:
    """The candidate with the memory that a tuning takes, and as much of the tuning as costs no context, no cache and no layers."""
    if tuning == tuning.without_memory:
        return candidate, tuning
    tuned = consider(machine, candidate.offer, replace(wish, tuning=tuning))
    before, after = ((each.n_ctx, each.kv_type, each.gpu_layers) for each in (candidate.placement, tuned.placement))
    return (tuned, tuning) if tuned.fits and before == after else (candidate, tuning.without_memory)


def shares_by_device(machine: Machine, placement: Placement, devices: Sequence[DeviceMemory]) -> tuple[int, ...]:
    """How many layers each of llama.cpp's GPUs takes, in its order (`tensor_split` in include/llama.h); none on those the plan left out."""
    layers = {gpu.name: share for gpu, share in zip(machine.gpus, placement.gpu_shares, strict=True)}
    return tuple(layers.get(device.name, 0) for device in devices if device.kind in {"gpu", "igpu"})
