"""How a model is loaded: the file that was asked for, or the best of those here, and its place on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwq_local.drafts import DraftLoad, find_draft
from qwq_local.errors import SettingsError
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import Machine
from qwq_local.models.store import ModelFile, find, find_local, model_file
from qwq_local.offers import offer_of_file, offers_here
from qwq_local.plan.fit import choose, fit, shares_by_device, with_tuning
from qwq_local.plan.placement import Placement
from qwq_local.plan.plan import Candidate, PlanWish, contexts
from qwq_local.settings import N_IDLE, LoadSettings
from qwq_local.survey import Expectation, expect, find_tuning, known_machine, see_devices
from qwq_local.tuning import UNTUNED, Tuning, told


@dataclass(frozen=True)
class LoadPlan:
    """A file and how it is to be loaded on this machine: `gpu_shares` says how many layers each of llama.cpp's GPUs takes.

    `tokens_per_second` are those predicted for it, where they can be, whatever a draft model adds. `tuning` is what `qwq tune` found best
    for it here.
    """

    file: ModelFile
    quantization: str
    machine: Machine
    tokens_per_second: float | None
    placement: Placement
    gpu_shares: tuple[int, ...]
    n_sequences: int
    notices: tuple[str, ...] = ()
    expectation: Expectation | None = None
    draft: DraftLoad | None = None
    tuning: Tuning = UNTUNED


@dataclass(frozen=True)
class Choice:
    """A file that has its place on a machine, and its draft model where one is wanted; `machine` is what that leaves."""

    file: ModelFile
    candidate: Candidate
    machine: Machine
    draft: DraftLoad | None = None


def plan_load(name: str | None, settings: LoadSettings) -> LoadPlan:
    """How to load the model of that name, or the one of QwQ-32B's files here that suits this machine best.

    Raises SettingsError, ModelFileError, or DoesNotFitError where there is too little memory and `settings.force` is off.
    """
    devices, _ = see_devices()
    machine, cpu = known_machine(devices)
    return load_plan(choose_file(name, settings, machine, devices), settings, (machine, cpu), devices)


def wish_of(settings: LoadSettings) -> PlanWish:
    """What the user says of the placement."""
    return PlanWish(settings.n_ctx, settings.kv_type, settings.n_gpu_layers, settings.n_parallel + N_IDLE)


def choose_file(name: str | None, settings: LoadSettings, machine: Machine, devices: Sequence[DeviceMemory]) -> Choice:
    """The file of that name, or the best of QwQ-32B's here, and its place on this machine. Raises what `plan_load` does."""
    wish = wish_of(settings)
    draft = find_draft(settings, wish, machine)
    place = draft.place() if draft else None
    if name is None:
        candidate = choose(machine, offers_here(), wish, place, force=settings.force)
        file = find(candidate.offer.name)
        require_context(file, settings)
    else:
        model = find_local(name)
        file = model_file(model)
        require_context(file, settings)
        candidate = fit(machine, offer_of_file(model.paths, model.quantization, model.name), wish, place, force=settings.force)
    beside = draft.load_beside(file, candidate, place, devices) if draft and place else None
    return Choice(file, candidate, place.left if place else machine, beside)


def load_plan(choice: Choice, settings: LoadSettings, known: tuple[Machine, str], devices: Sequence[DeviceMemory]) -> LoadPlan:
    """How to load what was chosen; `known` is what `survey.known_machine` gave."""
    machine, cpu = known
    wish = wish_of(settings)
    _, kept, problem = find_tuning(choice.candidate, choice.file.path.name, machine)
    candidate, tuning = with_tuning(choice.machine, choice.candidate, wish, kept.tuning if kept else UNTUNED)
    shares = shares_by_device(machine, candidate.placement, devices)
    beside = choice.draft.notice(candidate.placement.n_ctx) if choice.draft else ""
    notices = (_notice(candidate, wish), beside, tuned_notice(tuning), problem)
    return LoadPlan(
        choice.file,
        candidate.offer.quant,
        machine,
        candidate.tokens_per_second,
        candidate.placement,
        shares,
        wish.n_sequences,
        tuple(filter(None, notices)),
        expect(candidate, machine, cpu),
        choice.draft,
        tuning,
    )


def tuned_notice(tuning: Tuning) -> str:
    """That a model runs otherwise than by default, or nothing."""
    return f"It runs as qwq tune found best here: {told(tuning)}." if tuning.changes else ""


def _notice(candidate: Candidate, wish: PlanWish) -> str:
    """What the plan took away for want of memory."""
    placement, wanted = candidate.placement, contexts(candidate.offer, wish)[0]
    if placement.n_ctx == wanted and placement.kv_type == wish.kv_types[0]:
        return ""
    return (
        f"{candidate.offer.name} runs with {placement.n_ctx:,} tokens of context in a {placement.kv_type} cache, "
        f"as this machine's memory allows (qwq plan)."
    )


def require_context(file: ModelFile, settings: LoadSettings) -> None:
    """Raise SettingsError where a longer context is wanted than the model can read."""
    longest = file.native_ctx if settings.rope == "native" else file.longest_ctx
    if settings.n_ctx is not None and settings.n_ctx > longest:
        more = f", or --rope auto for up to {file.longest_ctx:,}." if longest < file.longest_ctx else "."
        raise SettingsError(
            f"ctx is {settings.n_ctx:,}, but {file.name} reads at most {longest:,} tokens with --rope {settings.rope}.",
            hint=f"Use --ctx {longest}{more}",
        )
