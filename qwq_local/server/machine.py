"""What this runs on, how it was loaded, and how fast it is now: what the page shows of the machine."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from qwq_local import __version__
from qwq_local.engine import Snapshot
from qwq_local.installation import find_installation
from qwq_local.machine import hardware
from qwq_local.machine.machine import Gpu
from qwq_local.runtime import QwQ
from qwq_local.server.desk import Desk
from qwq_local.server.names import public_name
from qwq_local.server.told import Told
from qwq_local.settings import AnswerSettings, Sampling

router = APIRouter(tags=["qwq-local"])

_SHOWN = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "seed", "max_tokens", "think_tokens", "thinks")


class DeviceTold(Told):
    """A GPU; `free_bytes` are those before the model was loaded."""

    name: str
    description: str
    total_bytes: int
    free_bytes: int


class MemoryTold(Told):
    """What the model takes of a device."""

    device: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    total_bytes: int


class PlanTold(Told):
    """How the model was loaded; `tokens_per_second` are those predicted."""

    gpu_layers: int
    all_layers: int
    n_ctx: int
    kv_type: str
    memory: list[MemoryTold]
    tokens_per_second: float | None


class LiveTold(Told):
    """The engine now: speeds are tokens a second, lately."""

    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    used_cells: int
    all_cells: int
    running: int
    waiting: int
    rope: str


class MachineTold(Told):
    """The machine, and what runs on it; there is no plan and nothing live while no model is loaded.

    `defaults` are options of an answer; `pull_command` is what gets QwQ-32B when it is typed in a terminal.
    """

    version: str
    model: str
    quantization: str
    devices: list[DeviceTold]
    cores: int | None
    ram_total_bytes: int
    ram_available_bytes: int
    plan: PlanTold | None
    live: LiveTold | None
    defaults: dict[str, Any]
    pull_command: str


@router.get("/machine", response_model=MachineTold)
async def machine(request: Request) -> MachineTold:
    """The machine, the plan that the model was loaded by, the engine's speed now, and the defaults of answers."""
    desk: Desk = request.app.state.desk
    qwq = desk.qwq
    total_bytes, available_bytes = await asyncio.to_thread(hardware.ram_bytes)
    numbers = qwq.snapshot() if qwq else None
    return MachineTold(
        version=__version__,
        model=public_name(qwq.model.name) if qwq else desk.health().model,
        quantization=qwq.plan.quantization if qwq else "",
        devices=[_device(gpu) for gpu in qwq.plan.machine.gpus] if qwq else [],
        cores=hardware.usable_cores(),
        ram_total_bytes=total_bytes,
        ram_available_bytes=available_bytes,
        plan=_plan(qwq) if qwq else None,
        live=_live(numbers) if numbers else None,
        defaults=_defaults() | {name: desk.defaults[name] for name in _SHOWN if name in desk.defaults},
        pull_command=_pull_command(),
    )


@cache
def _pull_command() -> str:
    """By the short name, where the terminal knows this program by it."""
    program = find_installation().program
    if len(program) == 1 and shutil.which(Path(program[0]).stem) == program[0]:
        program = (Path(program[0]).stem,)
    return (subprocess.list2cmdline if sys.platform == "win32" else shlex.join)([*program, "pull"])


def _device(gpu: Gpu) -> DeviceTold:
    return DeviceTold(name=gpu.name, description=gpu.description, total_bytes=gpu.total_bytes, free_bytes=gpu.free_bytes)


def _plan(qwq: QwQ) -> PlanTold:
    placement = qwq.plan.placement
    return PlanTold(
        gpu_layers=placement.gpu_layers,
        all_layers=placement.all_layers,
        n_ctx=qwq.n_ctx,
        kv_type=placement.kv_type,
        memory=[MemoryTold(**asdict(part), total_bytes=part.total_bytes) for part in placement.memory],
        tokens_per_second=qwq.plan.tokens_per_second,
    )


def _live(numbers: Snapshot) -> LiveTold:
    return LiveTold(**{name: getattr(numbers, name) for name in LiveTold.model_fields})


def _defaults() -> dict[str, Any]:
    sampling, answer = Sampling(), AnswerSettings()
    return {name: getattr(sampling if hasattr(sampling, name) else answer, name) for name in _SHOWN}
