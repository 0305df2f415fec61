"""This machine: what there is, how fast its CPU was measured to be, what answers taught about predicted speed, and so the plan for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from qwq_local.configuration import find_folders
from qwq_local.errors import LoadError
from qwq_local.llama import CpuMeter, cpu_build, list_devices
from qwq_local.machine import hardware, measured, nvidia, tuned
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import Machine, Shared, rate_name
from qwq_local.machine.measured import Measurements, Work
from qwq_local.machine.tuned import Kept, TunedFor
from qwq_local.plan.plan import Candidate, Offer, Plan, PlanWish, make_plan
from qwq_local.plan.race import RACES
from qwq_local.plan.speed import host_work, tokens_per_second
from qwq_local.quants import F32, WEIGHT_TYPES
from qwq_local.settings import KvType

MEASURED_CACHES: Final[frozenset[KvType]] = frozenset({"f16", "q8_0", "q4_0"})
"""Those that flash attention reads; f32 goes without it."""
LEAST_TOKENS: Final = 32
"""What an answer must have written to teach anything."""
LEAST_WEIGHTS_BYTES: Final = 2**30
"""Smaller models are read from caches in part, of which predictions know nothing."""


@dataclass(frozen=True)
class Expectation:
    """How fast a loaded model is predicted to write, by the tokens in its context, and where measured / predicted is kept."""

    folder: Path
    cpu: str
    kind: str
    predict: Callable[[int], float]

    def learn(self, n_tokens: int, seconds: float, n_filled: int) -> None:
        """Keep what an answer teaches that wrote so many tokens alone, one a step, in so many seconds."""
        if n_tokens >= LEAST_TOKENS and seconds > 0:
            self.keep(n_tokens / seconds / self.predict(n_filled))

    def keep(self, *ratios: float) -> bool:
        """Keep measured / predicted; False where the folder cannot be written."""
        kept = measured.read(self.folder, self.cpu)
        for ratio in ratios:
            kept = measured.with_ratio(kept, self.kind, ratio)
        return measured.write(self.folder, kept)


def see_devices() -> tuple[tuple[DeviceMemory, ...], tuple[str, ...]]:
    """The devices as llama.cpp sees them, and what is wrong where it sees none."""
    try:
        return list_devices(), ()
    except (LoadError, OSError) as error:
        return (), (f"llama.cpp cannot say which devices it has: {error}",)


def plan_here(offers: Sequence[Offer], wish: PlanWish) -> Plan:
    """The plan for this machine."""
    return make_plan(this_machine(offers, wish), offers, wish)


def this_machine(offers: Iterable[Offer], wish: PlanWish, *, with_gpus: bool = True) -> Machine:
    """This machine, or what it is without its GPUs. Its CPU is measured where it is not known yet how fast it works through the offers."""
    devices, notes = see_devices() if with_gpus else ((), ())
    cards = nvidia.ask() if with_gpus else nvidia.Report()
    kept, missing = _measured(_works(offers, wish))
    machine = hardware.find_machine(devices, kept.cpu_rates, find_folders().models, cpu=hardware.cpu_name(), cards=cards)
    return replace(machine, corrections=kept.corrections, notes=(*notes, *missing, *machine.notes))


def known_machine(devices: Sequence[DeviceMemory]) -> tuple[Machine, str]:
    """This machine as far as it is known without measuring, and the name that its measurements are kept under."""
    folders, cpu = find_folders(), _measured_cpu(hardware.usable_cores())
    kept = measured.read(folders.cache, cpu)
    return hardware.find_machine(devices, kept.cpu_rates, folders.models, cpu=hardware.cpu_name(), cards=nvidia.ask()), cpu


def with_measured_cpu(machine: Machine, offer: Offer, wish: PlanWish) -> tuple[Machine, tuple[str, ...]]:
    """This machine with its CPU measured for one offer, as often as it takes to be believed, and a note where that could not be."""
    kept, notes = _measured(_works([offer], wish))
    for _ in range(measured.ENOUGH_ROUNDS - 1):
        kept, notes = _measured(_works([offer], wish))
    ram_bandwidth = kept.cpu_rates.get(F32.name, machine.ram_bandwidth)
    return replace(machine, cpu_rates=kept.cpu_rates, ram_bandwidth=ram_bandwidth, corrections=kept.corrections), notes


def with_race_rates(plan: Plan) -> Plan:
    """The same plan, with the CPU measured for what several samples at once cost with the chosen model, where a part of it is in RAM.

    Nothing is measured for a machine that is described, or whose CPU is too busy to be.
    """
    if plan.chosen is None or not plan.machine.cpu_rates:
        return plan
    offer = plan.chosen.offer
    on_host = host_work(plan.chosen.placement, offer.tensors, offer.types)
    types = {tensor_type for tensor_type in WEIGHT_TYPES.intersection(offer.types.values()) if rate_name(tensor_type) in on_host}
    kept, _ = _measured({Shared(tensor_type, n_samples) for tensor_type in types for n_samples in RACES})
    return replace(plan, machine=replace(plan.machine, cpu_rates={**plan.machine.cpu_rates, **kept.cpu_rates}))


def expect(candidate: Candidate, machine: Machine, cpu: str) -> Expectation | None:
    """What to expect of a candidate on this machine; None where an answer would teach nothing."""
    offer, placement = candidate.offer, candidate.placement
    on_host = {*host_work(placement, offer.tensors, offer.types), *([rate_name(placement.kv_type)] if placement.memory[0].kv_bytes else ())}
    if candidate.shortage or not on_host <= machine.cpu_rates.keys() or sum(offer.tensors.values()) < LEAST_WEIGHTS_BYTES:
        return None
    predict = partial(tokens_per_second, placement, offer.tensors, offer.types, machine)
    return Expectation(find_folders().cache, cpu, placement.kind, predict)


def find_tuning(candidate: Candidate, file_name: str, machine: Machine) -> tuple[TunedFor, Kept | None, str]:
    """What a candidate's tuning is kept under, what is kept there, and what is wrong with the file of all that is kept, or nothing.

    `file_name` is that of its first file. Raises LoadError where llama.cpp does not load.
    """
    key = TunedFor(file_name, candidate.offer.file_bytes, candidate.placement.kind, what_computes(machine))
    kept = tuned.read(find_folders().cache)
    return key, kept.find(key), kept.problem


def what_computes(machine: Machine) -> str:
    """The processor, its threads, llama.cpp's build and the GPUs: what a tuning holds for.

    Raises LoadError where llama.cpp does not load.
    """
    return _measured_cpu(hardware.usable_cores()) + "".join(f", {gpu.name} {gpu.description}" for gpu in machine.gpus)


def _works(offers: Iterable[Offer], wish: PlanWish) -> set[Work]:
    """What the CPU would read of them."""
    types = {F32, *(tensor_type for offer in offers for tensor_type in offer.types.values())}
    return {*(WEIGHT_TYPES & types), *MEASURED_CACHES.intersection(wish.kv_types)}


def _measured(wanted: set[Work]) -> tuple[Measurements, tuple[str, ...]]:
    """What is known of the CPU, and a note where that is less than it should be."""
    n_threads = hardware.usable_cores()
    try:
        cpu = _measured_cpu(n_threads)
        kept = measured.measure(find_folders().cache, cpu, wanted, partial(CpuMeter, n_threads))
    except (LoadError, OSError) as error:
        return Measurements(""), (f"The CPU's speed cannot be measured: {error}",)
    if kept.rates.keys() >= {rate_name(work) for work in wanted}:
        return kept, ()
    return kept, ("Other programs keep the CPU busy, so that its speed is a guess.",)


def _measured_cpu(n_threads: int) -> str:
    """What the rates depend on. Raises LoadError where llama.cpp does not load."""
    return f"{hardware.cpu_name()}, {n_threads} threads, {cpu_build()}"
