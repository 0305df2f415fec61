"""One bench, from the model's name to the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from qwq_local.backend import Rope
from qwq_local.bench.report import BenchReport, Decoding, Memory, decoding
from qwq_local.bench.rounds import BenchSettings, OnProgress, Rounds, Speeds
from qwq_local.errors import SettingsError
from qwq_local.loading import LoadPlan, choose_file, interruptibly, load_plan, open_backend, opened, wish_of
from qwq_local.machine import hardware
from qwq_local.machine.machine import Machine
from qwq_local.machine.reading import read_bandwidth
from qwq_local.plan.plan import Candidate
from qwq_local.plan.reasons import why_not_fitting
from qwq_local.plan.speed import bytes_per_token, tokens_per_second
from qwq_local.settings import LoadSettings
from qwq_local.survey import LEAST_WEIGHTS_BYTES, known_machine, see_devices, with_measured_cpu
from qwq_local.worker import call_apart

LOADING: Final = "loading"
HUNDREDTHS: Final = 100
STEADY: Final = 0.85
"""Of the better reading of the RAM, what the other must reach to be worth no note."""


@dataclass(frozen=True)
class BenchListener:
    """Whom a bench tells: that it begins something whose end nobody knows, and how far it is."""

    begin: Callable[[str], None] = lambda _: None
    on_progress: OnProgress = lambda *_: None


@dataclass(frozen=True)
class Prepared:
    """A model with its place on this machine, and what there is to say of both."""

    plan: LoadPlan
    candidate: Candidate
    machine: Machine
    notes: tuple[str, ...]


def run_bench(name: str | None, load: LoadSettings, settings: BenchSettings, listener: BenchListener) -> BenchReport:
    """Load the model of that name, or the one of QwQ-32B's files here that suits this machine best, and time it.

    Raises what `loading.plan_load` raises, LoadError, DecodeError, and SettingsError where the context is too short for what is wanted.
    """
    listener.begin("looking at this machine and its CPU's speed")
    # In a process of its own: where OpenMP has had more threads than cores, and be it one after the other, it waits more slowly.
    prepared = call_apart(partial(prepare, name, load, settings))
    listener.begin("reading the RAM")
    before = _ram_bandwidth()
    listener.begin(LOADING)
    started_at = time.perf_counter()
    rope: Rope = "yarn" if load.rope == "yarn" else "native"
    with opened(partial(open_backend, prepared.plan, rope), partial(_tell_loading, listener)) as backend:
        load_seconds = time.perf_counter() - started_at
        prefill, decodes = interruptibly(backend, partial(_time, Rounds(backend, settings, listener.on_progress), settings))
    listener.begin("reading the RAM again")
    memories, notes = ram_first(prepared.machine, before, _ram_bandwidth())
    prepared = replace(prepared, notes=(*prepared.notes, *notes))
    return _report(prepared, memories, load_seconds, prefill, decodes)


def prepare(name: str | None, load: LoadSettings, settings: BenchSettings) -> Prepared:
    """Choose and place the model, and measure the CPU for it. Raises what `run_bench` does before it loads."""
    devices, notes = see_devices()
    machine, cpu = known_machine(devices)
    choice = choose_file(name, load, machine, devices)
    candidate, n_ctx = choice.candidate, choice.candidate.placement.n_ctx
    if settings.n_ctx > n_ctx:
        raise SettingsError(
            f"The bench needs {settings.n_ctx:,} tokens of context, and {choice.file.name} is loaded with {n_ctx:,}.",
            hint=f"Lower --depth, --decode or --prefill, or give --ctx {settings.n_ctx}",
        )
    machine, missing = with_measured_cpu(machine, candidate.offer, wish_of(load))
    plan = load_plan(choice, load, (machine, cpu), devices)
    return Prepared(plan, candidate, machine, (*notes, *missing, *machine.notes))


def ram_first(machine: Machine, before: float | None, after: float | None) -> tuple[tuple[Memory, ...], tuple[str, ...]]:
    """The memories with the better of two readings of the RAM, and a note where they differ much or there are none."""
    gpus = [Memory(gpu.name, gpu.bandwidth) for gpu in machine.gpus]
    found = [rate for rate in (before, after) if rate]
    if not found:
        return (Memory("RAM", machine.ram_bandwidth), *gpus), ("How fast the RAM is read cannot be measured here: its speed is a guess.",)
    notes: tuple[str, ...] = ()
    if min(found) < STEADY * max(found):
        rates = " and ".join(f"{rate / 1e9:.0f}" for rate in found)
        notes = (f"The RAM was read at {rates} GB/s, before and after: others use it too, so that shares are rough.",)
    return (Memory("RAM", max(found), is_measured=True), *gpus), notes


def _ram_bandwidth() -> float | None:
    """Bytes a second; None where the system does not tell how much RAM is free, or has none."""
    try:
        return read_bandwidth(hardware.usable_cores())
    except (OSError, MemoryError):
        return None


def _tell_loading(listener: BenchListener, share: float) -> None:
    listener.on_progress(LOADING, round(share * HUNDREDTHS), HUNDREDTHS)


def _time(rounds: Rounds, settings: BenchSettings) -> tuple[Speeds, list[Speeds]]:
    rounds.warm_up()
    return rounds.prefill(), [rounds.decode(depth) for depth in settings.depths]


def _report(prepared: Prepared, memories: tuple[Memory, ...], load_seconds: float, prefill: Speeds, decodes: list[Speeds]) -> BenchReport:
    plan, offer = prepared.plan, prepared.candidate.offer
    weights_bytes = sum(offer.tensors.values())
    is_small = weights_bytes < LEAST_WEIGHTS_BYTES
    disturbed = [name for name, speeds in (("prefill", [prefill]), ("decode", decodes)) if any(each.is_disturbed for each in speeds)]
    return BenchReport(
        file=plan.file,
        placement=plan.placement,
        load_seconds=load_seconds,
        memories=memories,
        prefill=prefill,
        decodings=tuple(_decoding(prepared, memories, speeds) for speeds in decodes),
        is_small=is_small,
        correction=prepared.machine.corrections.get(plan.placement.kind, 1.0),
        notes=(
            *plan.notices,
            *prepared.notes,
            *([why_not_fitting(prepared.candidate)] if prepared.candidate.shortage else []),
            *(f"Other programs kept the CPU busy during {name}: it is faster than this." for name in disturbed),
        ),
        why_not_kept=_why_not_kept(prepared, is_small=is_small, is_disturbed="decode" in disturbed),
        expectation=plan.expectation,
    )


def _decoding(prepared: Prepared, memories: tuple[Memory, ...], speeds: Speeds) -> Decoding:
    placement, offer = prepared.plan.placement, prepared.candidate.offer
    n_filled = speeds.depth + speeds.n_tokens // 2
    read_bytes = bytes_per_token(placement, offer.tensors, offer.types, n_filled)
    return decoding(speeds, read_bytes, memories, tokens_per_second(placement, offer.tensors, offer.types, prepared.machine, n_filled))


def _why_not_kept(prepared: Prepared, *, is_small: bool, is_disturbed: bool) -> str:
    """Why the plan may not learn from it, or nothing."""
    if is_small:
        return f"with less than {LEAST_WEIGHTS_BYTES / 2**30:.0f} GiB of weights, this model says nothing of larger ones"
    if prepared.candidate.shortage:
        return "a model that does not fit says nothing of those that do"
    if is_disturbed:
        return "other programs kept the CPU busy"
    return "" if prepared.plan.expectation else "how fast the CPU is could not be measured"
