"""A start's life: settings, this machine, the plan, the model loaded as the plan says, and the engine that runs it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from qwq_local.backend import Rope, Vocabulary
from qwq_local.configuration import find_folders
from qwq_local.drafts import DraftLoad, find_draft, speaking_of_the_draft
from qwq_local.engine import Engine, EngineSettings, PrefixShelf
from qwq_local.errors import LoadError, SettingsError
from qwq_local.llama import ContextShape, FileVocabulary, LlamaBackend, LoadListener, cpu_build
from qwq_local.machine import hardware
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import Machine
from qwq_local.models.store import ModelFile, find, find_local, model_file
from qwq_local.offers import offer_of_file, offers_here
from qwq_local.plan.fit import choose, fit, shares_by_device, with_tuning
from qwq_local.plan.placement import Placement
from qwq_local.plan.plan import Candidate, PlanWish, contexts
from qwq_local.settings import N_IDLE, KvType, LoadSettings
from qwq_local.survey import Expectation, expect, find_tuning, known_machine, see_devices
from qwq_local.tuning import UNTUNED, Tuning, told
from qwq_local.worker import EngineClient, Supervisor, Worker, call_apart

SPILL_SHARE, MOST_SPILL_BYTES = 8, 8 * 2**30
"""The part of the free RAM that may hold what had to leave the KV cache, and the most of it."""
SHELF_BYTES = 4 * 2**30
"""Disk for the chats of one model."""
CLOSING_SECONDS, SHELVING_SECONDS = 5.0, 60.0
"""How long a process has to close: without writing chats to disk, and with it."""

Made = TypeVar("Made")


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


@dataclass(frozen=True)
class Serving:
    """How an engine lives on: whether chats are kept on disk when it is closed, and after how many idle seconds it is unloaded."""

    keeps_chats: bool = False
    idle_seconds: float | None = None


@dataclass(frozen=True)
class OpenModel:
    """A model that answers, in a thread or in a process of its own; `n_ctx` counts the tokens that prompt and answer fill together.

    `supervisor` is the engine, where that has a process.
    """

    plan: LoadPlan
    n_ctx: int
    vocabulary: Vocabulary
    chat_template: str | None
    engine: EngineClient
    close: Callable[[], None]
    supervisor: Supervisor | None = None


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


def _open(
    what: LoadPlan | DraftLoad, n_sequences: int, rope: Rope, on_progress: LoadListener | None, tuning: Tuning = UNTUNED
) -> LlamaBackend:
    placement = what.placement
    shape = context_shape(what.file, placement.n_ctx, placement.kv_type, tuning)
    shape = replace(shape, n_sequences=n_sequences, n_outputs=n_sequences)
    return LlamaBackend(what.file.path, shape, rope, placement.gpu_layers, on_progress, what.gpu_shares)


def _scaled(on_progress: LoadListener | None, begin: float, end: float) -> LoadListener | None:
    """A listener to a part of the loading, for one to all of it."""
    return on_progress and (lambda share: on_progress(begin + (end - begin) * share))


def apart(work: Callable[[threading.Event], Made], discard: Callable[[Made], None]) -> Made:
    """Do work in a thread of its own, so that Ctrl-C reaches Python: raised in a function that C calls, it would be lost.

    After Ctrl-C the event is set, the work awaited and what it made discarded.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work, stop)
        try:
            wait([future])
        except KeyboardInterrupt:
            stop.set()
            wait([future])
            if future.exception() is None:
                discard(future.result())
            raise
    return future.result()


def _first_rope(settings: LoadSettings) -> Rope:
    return "yarn" if settings.rope == "yarn" else "native"


def engine_settings(plan: LoadPlan, settings: LoadSettings, serving: Serving) -> EngineSettings:
    """How the model is shared, and where its chats are kept: in a folder of this file, this cache and this llama.cpp."""
    shelf = None
    if serving.keeps_chats:
        status = plan.file.path.stat()
        cache = (plan.placement.kv_type, plan.tuning.flash_attention)
        kept_for = (plan.file.path.name, status.st_size, status.st_mtime_ns, *cache, cpu_build())
        key = hashlib.sha256(repr(kept_for).encode()).hexdigest()[:16]
        shelf = PrefixShelf(find_folders().cache / "chats" / key, SHELF_BYTES)
    return EngineSettings(settings.n_parallel, spill_bytes=_spill_bytes(), shelf=shelf, speculates=settings.speculates)


def _spill_bytes() -> int:
    try:
        return min(MOST_SPILL_BYTES, hardware.ram_bytes()[1] // SPILL_SHARE)
    except OSError:  # nobody knows what is free: then nothing is taken
        return 0


def open_here(name: str | None, settings: LoadSettings, on_progress: LoadListener | None, serving: Serving) -> OpenModel:
    """Plan, and load into this process. Raises what `plan_load` raises, LoadError, and what `on_progress` raises."""

    def load(stop: threading.Event) -> tuple[LoadPlan, LlamaBackend]:
        def goes_on(share: float) -> None:
            if stop.is_set():
                raise LoadError("Loading was interrupted.")
            if on_progress:
                on_progress(share)

        plan = plan_load(name, settings)
        return plan, open_backend(plan, _first_rope(settings), goes_on)

    plan, backend = apart(load, lambda made: made[1].close())
    with ExitStack() as undo:
        undo.callback(backend.close)
        worker = Worker(backend, partial(Engine, settings=engine_settings(plan, settings, serving)))
        undo.pop_all()
    return OpenModel(plan, backend.n_ctx, backend.vocabulary, backend.chat_template, worker, worker.close)


def open_in_process(name: str | None, settings: LoadSettings, on_progress: LoadListener | None, serving: Serving) -> OpenModel:
    """Plan, and load into a process of its own, which is ended after `idle_seconds` without requests and started again on demand.

    Nothing here asks a GPU for anything, since that would take some of its memory for as long as this process lives. Raises what
    `plan_load` raises, LoadError, WorkerDiedError, and what `on_progress` raises.
    """
    plan = call_apart(partial(plan_load, name, settings))
    # It may be loaded again when the current folder is another.
    plan = replace(plan, file=plan.file.absolute(), draft=plan.draft and replace(plan.draft, file=plan.draft.file.absolute()))
    with ExitStack() as stack:
        supervisor = Supervisor(
            partial(open_backend, plan, _first_rope(settings)),
            make_engine=partial(Engine, settings=engine_settings(plan, settings, serving)),
            idle_seconds=serving.idle_seconds,
            grace_seconds=SHELVING_SECONDS if serving.keeps_chats else CLOSING_SECONDS,
        )
        stack.callback(supervisor.close)
        supervisor.load(on_progress)
        # Only now: a file that llama.cpp dies of has ended the other process.
        vocabulary = FileVocabulary(plan.file.path)
        stack.callback(vocabulary.close)
        n_ctx, template = plan.placement.n_ctx, vocabulary.chat_template
        return OpenModel(plan, n_ctx, vocabulary, template, supervisor, stack.pop_all().close, supervisor)
