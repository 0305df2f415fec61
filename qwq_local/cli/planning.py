"""`qwq plan`: the machine found or described, and the plan printed."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import click

from qwq_local import card
from qwq_local.cli.activity import Activity
from qwq_local.cli.terminal import has_colour
from qwq_local.configuration import find_folders
from qwq_local.drafts import find_draft
from qwq_local.machine import tuned
from qwq_local.machine.machine import Machine, checked_bandwidth, described, described_gpus, helpful
from qwq_local.models.store import find
from qwq_local.plan.draft import DraftPlace
from qwq_local.plan.fit import with_tuning
from qwq_local.plan.memory import DeviceBytes
from qwq_local.plan.plan import LEAST_CTX, UNKNOWN_LOSS, Candidate, Offer, Plan, PlanWish, make_plan
from qwq_local.plan.race import RACES, RaceCost, cost_of_race
from qwq_local.plan.reasons import gib, why
from qwq_local.settings import LoadSettings
from qwq_local.tuning import UNTUNED, Tuning, told

BAR_CELLS: Final = 32
TOLD_RACE: Final = 3
PARTS: Final = (("weights", "█", "#", "cyan"), ("cache", "▓", "=", "magenta"), ("buffers", "▒", "+", "yellow"))
"""What a device holds: its name, its letter in a bar, that for terminals without it, its colour."""


def wished_machine(
    offers: Sequence[Offer],
    wish: PlanWish,
    vram: Sequence[float],
    ram: float | None,
    unified: float | None,
    bandwidth: float | None,
) -> Machine:
    """The machine to plan for: described, or this one, in part described. Raises SettingsError for sizes that cannot be."""
    if unified is not None or ram is not None:
        return described(vram, ram, unified, bandwidth)
    from qwq_local.survey import this_machine

    with Activity("looking at this machine and its CPU's speed"):
        here = this_machine(offers, wish, with_gpus=not vram)
    if vram:
        return replace(here, gpus=helpful(described_gpus(vram, bandwidth)), corrections={})
    if bandwidth is None:
        return here
    speed = checked_bandwidth(bandwidth)
    if not here.gpus:
        return replace(here, ram_bandwidth=speed, cpu_rates={}, corrections={})
    return replace(here, gpus=tuple(replace(gpu, bandwidth=speed) for gpu in here.gpus), corrections={})


def plan_beside(draft_model: str | None, machine: Machine, offers: Sequence[Offer], wish: PlanWish) -> Plan:
    """The plan, beside a draft model where one is named.

    Raises ModelFileError where that cannot be used (UnfitDraftError: for the chosen model), and DoesNotFitError where it finds no place.
    """
    draft = find_draft(LoadSettings(wish.n_ctx, wish.n_gpu_layers, wish.kv_type, draft_model=draft_model), wish, machine)
    if draft is None:
        return make_plan(machine, offers, wish)
    place = draft.place()
    plan = make_plan(machine, offers, wish, place)
    if plan.chosen is None:
        return plan
    if plan.chosen.offer.is_here:
        draft.require_fit(find(plan.chosen.offer.name), plan.chosen.offer)
    return replace(plan, draft=draft.settle(place, plan.chosen.placement.n_ctx, plan.chosen.offer.native_ctx))


def plan_with_races(plan: Plan) -> Plan:
    """The same, with what a race costs as far as it can be measured here."""
    if plan.chosen is None or not plan.machine.cpu_rates:
        return plan
    from qwq_local.survey import with_race_rates

    with Activity("looking at what several samples at once cost"):
        return with_race_rates(plan)


def known_tuning(plan: Plan) -> Tuning:
    """What `qwq tune` found for the chosen file, where that is here; the plan's machine must be this one."""
    chosen = plan.chosen
    if chosen is None or not chosen.offer.is_here or not tuned.read(find_folders().cache).entries:
        return UNTUNED
    from qwq_local.models.store import find_local
    from qwq_local.survey import find_tuning

    _, kept, _ = find_tuning(chosen, find_local(chosen.offer.name).path.name, plan.machine)
    return with_tuning(plan.machine, chosen, plan.wish, kept.tuning)[1] if kept else UNTUNED


def print_plan(plan: Plan, *, as_json: bool, tuning: Tuning) -> None:
    """Print it for people or for programs; `tuning` is what the chosen file will run with."""
    if as_json:
        click.echo(json.dumps({**plan_json(plan), "tuning": tuning.changes}, ensure_ascii=False))
    else:
        _Page(plan, tuning).show()


def plan_json(plan: Plan) -> dict[str, Any]:
    """The object that `--json` prints: bytes, tokens, layers."""
    machine = plan.machine
    devices = [
        {
            "name": gpu.name,
            "kind": "igpu" if gpu.shares_ram and not gpu.is_metal else "gpu",
            "total_bytes": gpu.total_bytes,
            "free_bytes": gpu.free_bytes,
            "description": gpu.description,
        }
        for gpu in machine.gpus
    ]
    cpu = {"name": "CPU", "kind": "cpu", "total_bytes": machine.ram_total_bytes, "free_bytes": machine.ram_available_bytes}
    return {
        "hardware": {
            "devices": [*devices, cpu],
            "ram_total_bytes": machine.ram_total_bytes,
            "ram_available_bytes": machine.ram_available_bytes,
            "notes": list(machine.notes),
        },
        "draft": draft_json(plan.draft) if plan.draft else None,
        "chosen": candidate_json(plan.chosen, plan) if plan.chosen else None,
        "candidates": [candidate_json(candidate, plan) for candidate in plan.candidates],
    }


def candidate_json(candidate: Candidate, plan: Plan) -> dict[str, Any]:
    """One candidate; `tokens_per_second` is null where it does not fit, `quality_loss` where it is unknown."""
    placement, offer = candidate.placement, candidate.offer
    return {
        "quant": offer.quant,
        "name": offer.name,
        "is_here": offer.is_here,
        "file_bytes": offer.file_bytes,
        "fits": candidate.fits,
        "gpu_layers": placement.gpu_layers,
        "n_ctx": placement.n_ctx,
        "kv_type": placement.kv_type,
        "memory": _memory_json(candidate.memory),
        "tokens_per_second": None if candidate.tokens_per_second is None else round(candidate.tokens_per_second, 2),
        "race": [asdict(cost_of_race(candidate, plan.machine, n_samples)) for n_samples in RACES] if candidate.fits else [],
        "quality_loss": offer.loss if offer.loss < UNKNOWN_LOSS else None,
        "why": why(candidate, plan),
    }


def draft_json(draft: DraftPlace) -> dict[str, Any]:
    """The draft model, which has its place before the candidates have theirs."""
    placement = draft.placement
    return {
        "name": draft.name,
        "gpu_layers": placement.gpu_layers,
        "n_ctx": placement.n_ctx,
        "kv_type": placement.kv_type,
        "memory": _memory_json(placement.memory),
    }


def _memory_json(memory: Sequence[DeviceBytes]) -> list[dict[str, Any]]:
    return [{**asdict(part), "total_bytes": part.total_bytes} for part in memory]


def told_race(cost: RaceCost) -> str:
    """What a race costs, in a sentence."""
    slower = f"each token takes {'at least ' * cost.is_least}{cost.slowdown:.1f} times as long, and " if cost.slowdown else ""
    return f"A race of {cost.n_samples} (--race {cost.n_samples}): {slower}each sample may have {cost.tokens_each:,} tokens."


class _Page:
    """The plan as text, as wide as the terminal."""

    def __init__(self, plan: Plan, tuning: Tuning) -> None:
        self._plan, self._tuning = plan, tuning
        self._width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        self._has_colour = has_colour(sys.stdout)
        self._has_blocks = _can_write(PARTS[0][1])

    def show(self) -> None:
        """Print it."""
        lines = [*self._machine(), *self._draft(), "", *self._chosen(), "", *self._others()]
        click.echo("\n".join(lines))

    def _machine(self) -> list[str]:
        machine = self._plan.machine
        gpus = [
            f"{self._head(gpu.name)}{gib(gpu.total_bytes)}, {gib(gpu.free_bytes)} free, {_rate(gpu.bandwidth)}  {gpu.description}"
            for gpu in machine.gpus
        ]
        cores = f"  {machine.cores} cores" if machine.cores else ""
        total, available = gib(machine.ram_total_bytes), gib(machine.ram_available_bytes)
        ram = f"{self._head('RAM')}{total}, {available} available, {_rate(machine.ram_bandwidth)}{cores}"
        disk = [] if machine.disk_free_bytes is None else [f"{self._head('Disk')}{gib(machine.disk_free_bytes)} free"]
        return [
            *(gpus or [f"{self._head('GPU')}none that llama.cpp can use"]),
            ram,
            *disk,
            *(line for note in machine.notes for line in self._wrapped(note, self._head("Note"))),
        ]

    def _draft(self) -> list[str]:
        draft = self._plan.draft
        if draft is None:
            return []
        parts = [("RAM" if part is draft.memory[0] else part.device, part.total_bytes) for part in draft.memory]
        taken = " and ".join(f"{gib(size_bytes)} of {device}" for device, size_bytes in parts if size_bytes)
        return self._wrapped(f"{draft.name} takes {taken} first, for {draft.placement.n_ctx:,} tokens of context", self._head("Draft"))

    def _chosen(self) -> list[str]:
        chosen = self._plan.chosen
        if chosen is None:
            return [self._styled("Nothing fits.", fg="red", bold=True), *self._advice()]
        speed = f"about {chosen.tokens_per_second:.{0 if (chosen.tokens_per_second or 0) >= 10 else 1}f} tokens/s"
        facts = f"{gib(chosen.offer.file_bytes)}, {speed}, {chosen.placement.n_ctx:,} tokens of context, {chosen.placement.kv_type} cache"
        title = self._styled(f"{card.NAME}:{chosen.offer.quant}", fg="green", bold=True)
        beside = f" --draft-model {self._plan.draft.name}" if self._plan.draft else ""
        how = f"qwq ask -m {chosen.offer.name}{beside}" if chosen.offer.is_here else f"qwq pull {chosen.offer.quant}"
        return [
            f"{title}  {facts}",
            *self._wrapped(why(chosen, self._plan), ""),
            *self._wrapped(told_race(cost_of_race(chosen, self._plan.machine, TOLD_RACE)), ""),
            *self._bars(chosen),
            *(self._wrapped(told(self._tuning), self._head("Tuned")) if self._tuning.changes else []),
            f"{self._head('Load it' if chosen.offer.is_here else 'Get it')}{how}",
        ]

    def _advice(self) -> list[str]:
        if not self._plan.candidates:
            return []
        smallest = min(self._plan.candidates, key=lambda candidate: candidate.offer.file_bytes)
        shorter = f" A shorter context takes less: --ctx {LEAST_CTX}." if (self._plan.wish.n_ctx or 0) > LEAST_CTX else ""
        return self._wrapped(f"{smallest.offer.quant}, the smallest: {why(smallest, self._plan)}{shorter}", "")

    def _bars(self, candidate: Candidate) -> list[str]:
        host, *on_gpus = candidate.memory
        machine = self._plan.left
        rows = [
            *((gpu.name, part, gpu.free_bytes) for gpu, part in zip(machine.gpus, on_gpus, strict=True) if part.total_bytes),
            ("RAM", host, machine.ram_available_bytes),
        ]
        return [
            f"{self._head(name)}{self._bar(part, room)} {gib(part.total_bytes):>8} of {gib(room):>8}: {_parts(part)}"
            for name, part, room in rows
        ]

    def _bar(self, part: DeviceBytes, room_bytes: int) -> str:
        bar, used = "", 0
        done_bytes = 0
        for size_bytes, (_, block, letter, colour) in zip(_sizes(part), PARTS, strict=True):
            done_bytes += size_bytes
            cells = min(BAR_CELLS, round(BAR_CELLS * done_bytes / max(1, room_bytes))) - used
            bar += self._styled((block if self._has_blocks else letter) * cells, fg=colour)
            used += cells
        return bar + ("░" if self._has_blocks else ".") * (BAR_CELLS - used)

    def _others(self) -> list[str]:
        others = [candidate for candidate in self._plan.candidates if candidate is not self._plan.chosen]
        head = f"{'':9}{'size':>8}  {'loss':>6}  {'layers':>6}  {'context':>7}  {'tokens/s':>8}  "
        lines = [self._styled(f"{head}why not", dim=True)] if others else []
        for candidate in others:
            placement = candidate.placement
            speed = f"{candidate.tokens_per_second:.1f}" if candidate.tokens_per_second else "-"
            loss = f"{candidate.offer.loss:.4f}" if candidate.offer.loss < UNKNOWN_LOSS else "-"
            row = (
                f"{candidate.offer.quant + ('*' if candidate.offer.is_here else ''):9}{gib(candidate.offer.file_bytes):>8}  {loss:>6}  "
                f"{placement.gpu_layers:>3}/{placement.all_layers}  {placement.n_ctx:>7,}  {speed:>8}  "
            )
            lines.extend(self._wrapped(why(candidate, self._plan), row))
        if any(candidate.offer.is_here for candidate in others):
            lines.append(self._styled("* is here already", dim=True))
        return lines

    def _wrapped(self, text: str, row: str) -> list[str]:
        indent = len(click.unstyle(row))
        first, *rest = textwrap.wrap(text, max(30, self._width - indent)) or [""]
        return [row + first, *(" " * indent + line for line in rest)]

    def _head(self, name: str) -> str:
        return self._styled(f"{name:9}", dim=True)

    def _styled(self, text: str, **style: Any) -> str:  # noqa: ANN401 - click's
        return click.style(text, **style) if self._has_colour else text


def _sizes(part: DeviceBytes) -> tuple[int, int, int]:
    return part.weights_bytes, part.kv_bytes, part.compute_bytes


def _parts(part: DeviceBytes) -> str:
    named = zip(PARTS, _sizes(part), strict=True)
    return ", ".join(f"{name} {gib(size_bytes)}" for (name, *_), size_bytes in named if size_bytes)


def _rate(bandwidth: float) -> str:
    return f"{bandwidth / 1e9:,.0f} GB/s"


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
