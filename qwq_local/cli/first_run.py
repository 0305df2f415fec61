"""The first run: no QwQ-32B is here yet, and whoever sits at the terminal is told which one suits this machine, and asked once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import click

from qwq_local import card
from qwq_local.errors import HubError, ModelNotFoundError, StoreError
from qwq_local.models.hub import Hub
from qwq_local.models.record import Record
from qwq_local.plan.plan import Candidate, Plan, PlanWish

DEMO: Final = "demo"
NO_MODEL: Final = "There is no model of QwQ-32B here."
LABEL_WIDTH: Final = 14


@dataclass(frozen=True)
class Proposal:
    """What would be pulled: `files` of the hub for the plan's choice. `obstacle` says why it cannot be, and what to do; or nothing."""

    plan: Plan
    files: tuple[Record, ...] = ()
    here_bytes: int = 0
    obstacle: str = ""

    @property
    def total_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)


def is_watched() -> bool:
    """Whether somebody sits there who can be asked."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def with_model(load: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of QwQ.load with a model where none is named, none is here, and a user can be asked; elsewhere as they are.

    Raises SettingsError for what cannot be, ModelNotFoundError where the user wants none, and what pulling raises.
    """
    from qwq_local.models.inventory import local_models
    from qwq_local.offers import wish_for

    has_one = load.get("model") is not None or any(model.base == card.NAME and not model.problem for model in local_models())
    if has_one or not is_watched():
        return dict(load)
    return {**load, "model": ask(wish_for(load.get("n_ctx"), load.get("kv_type"), load.get("n_gpu_layers")))}


def ask(wish: PlanWish) -> str:
    """Say what would be pulled, ask, and do it; the name of the model to load. Raises as `with_model` does."""
    from qwq_local.cli.activity import Activity
    from qwq_local.cli.terminal import notice, width_of

    with Activity("looking at this machine") as activity:
        plan = plan_apart(wish)
        activity.begin("asking the hub")
        hub = Hub()
        proposal = propose(plan, hub)
    for line in page(proposal, min(width_of(sys.stderr), 100)):
        notice(line)
    answer = _answer(can_pull=not proposal.obstacle)
    if answer == "n":
        raise ModelNotFoundError(NO_MODEL, hint="Get one: qwq pull (qwq plan says which), or try the built-in one: -m demo")
    if answer == "d":
        return DEMO
    from qwq_local.cli.pull import bring

    chosen = plan.chosen
    assert chosen is not None, "there is an obstacle where nothing fits"
    bring(hub, proposal.files)
    return f"{card.NAME}:{chosen.offer.quant}"


def plan_apart(wish: PlanWish) -> Plan:
    """The plan for this machine, made in a process of its own: measuring here would slow down the model that is loaded later."""
    from qwq_local.offers import offers_here
    from qwq_local.survey import plan_here
    from qwq_local.worker import call_apart

    return call_apart(partial(plan_here, offers_here(), wish))


def propose(plan: Plan, hub: Hub) -> Proposal:
    """What would be pulled for the plan's choice, or why nothing can be; nothing is begun. Raises SettingsError."""
    from qwq_local.configuration import find_folders
    from qwq_local.models.download import pulled_bytes, require_space
    from qwq_local.plan.reasons import why

    chosen = plan.chosen
    if chosen is None:
        smallest = min(plan.candidates, key=lambda candidate: candidate.offer.file_bytes)
        reason = f"{smallest.offer.quant}, the smallest: {why(smallest, plan)} Close other programs, or ask for less with --ctx."
        return Proposal(plan, obstacle=f"No quantization of it fits this machine. {reason}")
    folder = find_folders().models
    files: tuple[Record, ...] = ()
    try:
        files = tuple(hub.find(chosen.offer.quant, list(card.GGUF_REPOSITORIES)))
        require_space(files, folder)
    except (HubError, StoreError) as error:
        return Proposal(plan, files, obstacle=f"It cannot be pulled now. {error} {error.hint}")
    return Proposal(plan, files, pulled_bytes(files, folder))


def page(proposal: Proposal, width: int) -> Iterator[str]:
    """What this machine has, what would be pulled, and why it cannot be where that is so."""
    from qwq_local.plan.reasons import gib, why

    machine, chosen = proposal.plan.machine, proposal.plan.chosen
    parts = [
        *(f"{gpu.description} with {gib(gpu.free_bytes)} of {gib(gpu.total_bytes)} free" for gpu in machine.gpus),
        f"{'' if machine.gpus else 'no GPU that llama.cpp can use, '}{gib(machine.ram_available_bytes)} of RAM available",
        *([] if machine.disk_free_bytes is None else [f"{machine.disk_free_bytes / 1e9:,.0f} GB of disk free"]),
    ]
    yield f"No {card.NAME} is here yet."
    yield from _entry("this machine", ", ".join(parts), width)
    if chosen is not None:
        yield from _entry("suits it", f"{card.NAME}:{chosen.offer.quant}, {_size(proposal, chosen)}, {_speed(chosen)}", width)
        yield from _entry("", why(chosen, proposal.plan), width)
    if proposal.obstacle:
        yield from _entry("but", proposal.obstacle, width)
    yield from _entry("or the demo", "a toy of a few MB that comes along: it answers a few questions, and shows how all this works", width)


def _size(proposal: Proposal, chosen: Candidate) -> str:
    if not proposal.files:
        return f"{chosen.offer.file_bytes / 1e9:.1f} GB"
    here = f", {proposal.here_bytes / 1e9:.1f} GB of which are here already" if proposal.here_bytes else ""
    return f"{proposal.total_bytes / 1e9:.1f} GB from {proposal.files[0].repository}{here}"


def _speed(chosen: Candidate) -> str:
    speed = chosen.tokens_per_second
    assert speed is not None, "what fits has a speed"
    return f"about {speed:.{0 if speed >= 10 else 1}f} tokens/s"


def _entry(label: str, text: str, width: int) -> Iterator[str]:
    import textwrap

    for i, line in enumerate(textwrap.wrap(text, max(30, width - LABEL_WIDTH - 1))):
        yield f"{'' if i else label:{LABEL_WIDTH}}{line}"


def _answer(*, can_pull: bool) -> str:
    """y, d or n; Ctrl-C and Ctrl-D raise click.Abort."""
    words = ("yes", "demo", "no") if can_pull else ("demo", "no")
    shown = {"yes": "[Y]es", "demo": "[d]emo" if can_pull else "[D]emo", "no": "[n]o"}

    def parse(text: str) -> str:
        answer = text.strip().lower()
        found = next((word for word in words if answer and word.startswith(answer)), None)
        if found is None:
            raise click.UsageError(f"{text!r} is none of {', '.join(words)}.")
        return found[0]

    question = f"{'Pull it' if can_pull else 'Try the demo'}? {', '.join(shown[word] for word in words)}"
    return str(click.prompt(question, default=words[0], show_default=False, err=True, value_proc=parse))
