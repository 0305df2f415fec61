"""`qwq plan`: what would run on this machine, and why."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.settings import KvType


@click.command("plan")
@click.option("--vram", type=float, multiple=True, metavar="GIB", help="Plan for a GPU of this size instead of this machine's. Repeatable.")
@click.option("--ram", type=float, metavar="GIB", help="Plan for so much RAM; without --vram, for a machine without GPU.")
@click.option("--unified", type=float, metavar="GIB", help="Plan for a Mac with so much unified memory.")
@click.option("--bandwidth", type=float, metavar="GB/S", help="How fast that memory is. [default: that of a common one of its size]")
@click.option("--ctx", "n_ctx", type=int, metavar="N", help="Tokens of prompt and answer together. [default: 32768, or what fits]")
@click.option("--kv-type", type=click.Choice(["f16", "q8_0", "q4_0"]), help="Number format of the KV cache. [default: f16, or else q8_0]")
@click.option("--gpu-layers", "n_gpu_layers", type=int, metavar="N", help="Layers to put on the GPU. [default: all that go]")
@click.option(
    "--draft-model",
    metavar="NAME",
    shell_complete=values.models,
    help="A model that guesses for it, here already: it takes its place first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    n_ctx: int | None,
    kv_type: KvType | None,
    n_gpu_layers: int | None,
    *,
    draft_model: str | None,
    as_json: bool,
    **machine: Any,  # noqa: ANN401 - click's
) -> None:
    """Say which quantization of QwQ-32B to run on this machine, how, how fast it will be, and why no other.

    Nothing is downloaded or loaded. The first rule that a candidate meets decides: whole on the GPU at 4 bits or more with the context
    wanted; with half of it; at 3 bits; with 8,192 tokens; most layers on the GPU; and last, from RAM.

    \b
    Examples:
        qwq plan
        qwq plan --ctx 16384
        qwq plan --vram 24 --ram 64
        qwq plan --vram 12 --vram 12 --json
        qwq plan --unified 32
    """
    from qwq_local.cli.planning import known_tuning, plan_beside, plan_with_races, print_plan, wished_machine
    from qwq_local.offers import offers_here, wish_for
    from qwq_local.tuning import UNTUNED

    wish = wish_for(n_ctx, kv_type, n_gpu_layers)
    offers = offers_here()
    plan = plan_with_races(plan_beside(draft_model, wished_machine(offers, wish, **machine), offers, wish))
    is_here = not (machine["vram"] or machine["ram"] or machine["unified"])
    print_plan(plan, as_json=as_json, tuning=known_tuning(plan) if is_here else UNTUNED)
