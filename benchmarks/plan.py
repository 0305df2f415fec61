"""What the plan chooses on machines that people have.

python -m benchmarks.plan [--json FILE]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local.machine.machine import Machine, described
from qwq_local.offers import offer_to_pull
from qwq_local.plan.plan import Plan, PlanWish, make_plan
from qwq_local.plan.reasons import gib
from qwq_local.quants.quality import OFFERED

MACHINES: Final[Sequence[tuple[str, Machine]]] = (
    *((f"{vram} GB VRAM, {ram} GB RAM", described([vram], ram)) for vram, ram in ((8, 32), (12, 32), (16, 32), (24, 32), (32, 64))),
    *((f"{vram} GB VRAM, 64 GB RAM", described([vram], 64)) for vram in (48, 80)),
    ("2 x 24 GB VRAM, 64 GB RAM", described([24, 24], 64)),
    *((f"{size} GB unified", described(unified_gib=size)) for size in (16, 32, 64, 128)),
    *((f"{size} GB RAM, no GPU", described(ram_gib=size)) for size in (16, 32, 64)),
)


def row(name: str, plan: Plan, seconds: float) -> tuple[str | float, ...]:
    """A machine's row of the table."""
    chosen = plan.chosen
    if chosen is None:
        return (name, "nothing fits", *[""] * 7, seconds)
    placement = chosen.placement
    held = " + ".join(gib(part.total_bytes).removesuffix(" GiB") for part in (*chosen.memory[1:], chosen.memory[0]))
    return (
        name,
        chosen.offer.quant,
        chosen.offer.loss,
        f"{placement.gpu_layers}/{placement.all_layers}",
        f"{placement.n_ctx:,}",
        placement.kv_type,
        held,
        f"{chosen.tokens_per_second:.1f}",
        chosen.rule,
        seconds,
    )


@click.command()
@json_option
def main(json_path: Path | None) -> None:
    """Plan for each, and print the table."""
    offers = [offer_to_pull(quantization) for quantization in OFFERED]
    columns = ["machine", "choice", "loss", "layers on GPU", "context", "cache", "GiB: GPUs + RAM", "tokens/s", "rule", "seconds to plan"]
    table = Table("The plan's choice", columns)
    for name, machine in MACHINES:
        started_at = time.perf_counter()
        plan = make_plan(machine, offers, PlanWish())
        table.add(*row(name, plan, time.perf_counter() - started_at))
    table.show(json_path)


if __name__ == "__main__":
    main()
