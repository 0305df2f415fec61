"""One tuning, from the model's name to the report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from qwq_local.errors import LoadError, SettingsError
from qwq_local.llama import FileVocabulary, InterruptSwitch, LlamaModel, may_interleave, uses_extra_layouts
from qwq_local.loading import LoadPlan, choose_file, context_shape, load_plan, wish_of
from qwq_local.machine import hardware
from qwq_local.machine.contention import Contention
from qwq_local.machine.tuned import TunedFor
from qwq_local.plan.fit import shares_by_device, with_tuning
from qwq_local.plan.plan import Candidate
from qwq_local.plan.reasons import why_not_fitting
from qwq_local.settings import LoadSettings
from qwq_local.survey import LEAST_WEIGHTS_BYTES, find_tuning, known_machine, see_devices
from qwq_local.tune.knobs import Surroundings, knobs_for, passed_over
from qwq_local.tune.report import TuneReport
from qwq_local.tune.search import LAST, Knob, Search, Tried
from qwq_local.tune.trials import Sizes, Trials
from qwq_local.tuning import NAMES, UNTUNED, Layout, Tuning, shown
from qwq_local.worker import call_apart

LEAST_SECONDS, MOST_SECONDS = 1.0, 86_400.0
LOADING: Final = "loading"
HUNDREDTHS: Final = 100


@dataclass(frozen=True)
class TuneListener:
    """Whom a tuning tells: that it begins something whose end nobody knows, and how far it is."""

    begin: Callable[[str], None] = lambda _: None
    on_progress: Callable[[str, int, int], None] = lambda *_: None


@dataclass(frozen=True)
class Prepared:
    """A model with its place on this machine, as it runs untuned, and what a tuning of it is kept under."""

    plan: LoadPlan
    candidate: Candidate
    key: TunedFor
    layouts: tuple[Layout, ...]
    can_copy: bool
    notes: tuple[str, ...]


def run_tune(name: str | None, load: LoadSettings, seconds: float, listener: TuneListener) -> TuneReport:
    """Load the model of that name, or what suits this machine best of QwQ-32B's files here, and try what makes it faster.

    The first load is not counted into the `seconds`. Raises what `loading.plan_load` raises, LoadError, DecodeError, and SettingsError
    where `seconds` cannot be.
    """
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise SettingsError(
            f"seconds is {seconds:g}, but must lie between {LEAST_SECONDS:g} and {MOST_SECONDS:,.0f}.", hint="120 are usual."
        )
    listener.begin("looking at this machine")
    # In a process of its own: where OpenMP has had more threads than cores, and be it one after the other, it waits more slowly.
    prepared = call_apart(partial(prepare, name, load))
    return _interruptibly(partial(_measure, prepared, load, seconds, listener))


def prepare(name: str | None, load: LoadSettings) -> Prepared:
    """Choose and place the model. Raises what `run_tune` does before it loads."""
    devices, notes = see_devices()
    machine, cpu = known_machine(devices)
    choice = choose_file(name, load, machine, devices)
    file, candidate = choice.file, choice.candidate
    key, _, problem = find_tuning(candidate, file.path.name, machine)
    shares = shares_by_device(machine, candidate.placement, devices)
    plan = load_plan(choice, load, (machine, cpu), devices)
    plan = replace(plan, placement=candidate.placement, gpu_shares=shares, tuning=UNTUNED)
    layouts: list[Layout] = ["plain"] if uses_extra_layouts() else []
    if may_interleave(file.path):
        layouts.append("repacked")
    # A copy of weights for which there is no room would end this process, or another.
    can_copy = not uses_extra_layouts() and candidate.fits
    problems = [problem] if problem else []
    return Prepared(plan, candidate, key, tuple(layouts) if candidate.fits else (), can_copy, (*notes, *machine.notes, *problems))


def _interruptibly(work: Callable[[threading.Event, InterruptSwitch], TuneReport]) -> TuneReport:
    """Do work in one thread, whose loads and decodes Ctrl-C ends: raised in a function that C calls, it would be lost."""
    stop, switch = threading.Event(), InterruptSwitch()
    with ThreadPoolExecutor(1, "qwq-tune") as thread:
        future = thread.submit(work, stop, switch)
        try:
            wait([future])
        except KeyboardInterrupt:
            stop.set()
            switch.turn(on=True)
            wait([future])
            raise
    return future.result()


def _measure(
    prepared: Prepared, load: LoadSettings, seconds: float, listener: TuneListener, stop: threading.Event, switch: InterruptSwitch
) -> TuneReport:
    plan = prepared.plan
    shape = context_shape(plan.file, plan.placement.n_ctx, plan.placement.kv_type)
    with closing(Trials(partial(_load, plan, listener, stop), shape, switch, _count_vocabulary(plan))) as trials:
        trials.fit_into(seconds)
        here = _surroundings(prepared, trials.sizes)
        contention, started_at = Contention(), time.monotonic()
        knobs, too_large = _that_fit(knobs_for(here), prepared, load)
        found = Search(trials, seconds, time.monotonic, partial(_tell, listener)).run(knobs)
        listener.begin("trying the number formats of the KV cache")
        cache_types = trials.cache_types(found.best, prepared.candidate.offer.shape.head_size, started_at + seconds)
        is_disturbed, took_seconds = contention.is_disturbing, time.monotonic() - started_at
    is_small = sum(prepared.candidate.offer.tensors.values()) < LEAST_WEIGHTS_BYTES
    return TuneReport(
        plan=plan,
        key=prepared.key,
        best=found.best,
        tried=(*found.tried, *too_large, *passed_over(here)),
        last=found.last,
        rates=trials.usual_rates,
        cache_types=cache_types,
        sizes=trials.sizes,
        seconds=took_seconds,
        is_small=is_small,
        why_not_kept=_why_not_kept(prepared, is_small=is_small, is_disturbed=is_disturbed),
        notes=prepared.notes,
    )


def _tell(listener: TuneListener, setting: str, value: object) -> None:
    listener.begin("comparing the best with the defaults" if setting == LAST else f"trying {NAMES[setting]} {shown(value)}")


def _load(plan: LoadPlan, listener: TuneListener, stop: threading.Event, tuning: Tuning) -> LlamaModel:
    def goes_on(share: float) -> None:
        if stop.is_set():
            raise LoadError("Loading was interrupted.")
        listener.on_progress(LOADING, round(share * HUNDREDTHS), HUNDREDTHS)

    return LlamaModel(plan.file.path, plan.placement.gpu_layers, goes_on, plan.gpu_shares, tuning=tuning)


def _count_vocabulary(plan: LoadPlan) -> int:
    with closing(FileVocabulary(plan.file.path)) as vocabulary:
        return vocabulary.n_tokens


def _surroundings(prepared: Prepared, sizes: Sizes) -> Surroundings:
    placement = prepared.plan.placement
    return Surroundings(
        kind=placement.kind,
        kv_type=placement.kv_type,
        n_cores=hardware.usable_cores(),
        n_cpus=hardware.usable_cpus(),
        n_prefill=sizes.n_prefill,
        layouts=prepared.layouts,
        can_copy=prepared.can_copy,
    )


def _that_fit(knobs: tuple[Knob, ...], prepared: Prepared, load: LoadSettings) -> tuple[tuple[Knob, ...], tuple[Tried, ...]]:
    """The knobs with those values that leave the context its memory, and what became of the others."""
    wish, machine = wish_of(load), prepared.plan.machine

    def fits(knob: Knob, value: object) -> bool:
        tuning = UNTUNED.changed(knob.setting, value)
        return with_tuning(machine, prepared.candidate, wish, tuning)[1] == tuning

    fitting = {(knob, value): fits(knob, value) for knob in knobs for value in knob.values}
    kept = tuple(replace(knob, values=tuple(value for value in knob.values if fitting[knob, value])) for knob in knobs)
    too_large = [(knob.setting, value) for (knob, value), is_fitting in fitting.items() if not is_fitting]
    return kept, tuple(Tried(setting, value, "refused", why="it takes memory that the context needs") for setting, value in too_large)


def _why_not_kept(prepared: Prepared, *, is_small: bool, is_disturbed: bool) -> str:
    """Why no load may use it, or nothing."""
    if is_small:
        return f"with less than {LEAST_WEIGHTS_BYTES / 2**30:.0f} GiB of weights, what is measured says little"
    if prepared.candidate.shortage:
        return f"the model does not fit here ({why_not_fitting(prepared.candidate)})"
    return "other programs kept the CPU busy" if is_disturbed else ""
