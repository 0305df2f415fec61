"""`qwq bench`: speed here, beside what the memory could give and what the plan predicted."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.options import load_options, take_load


@click.command("bench")
@load_options
@click.option("--prefill", "n_prefill", type=int, default=512, show_default=True, metavar="N", help="Tokens of the prompt that is read.")
@click.option("--decode", "n_decode", type=int, default=128, show_default=True, metavar="N", help="Tokens that are written, one by one.")
@click.option("--depth", type=int, default=0, show_default=True, metavar="N", help="Write behind N tokens too, as late in an answer.")
@click.option("--rounds", "n_rounds", type=int, default=3, show_default=True, metavar="N", help="How often; the median is told.")
@click.option("--store/--no-store", "stores", default=None, help="Let qwq plan reckon with it, or don't. [default: ask, on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, stores: bool | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Measure how fast a model reads and writes here, and how much of the memory's bandwidth that is.

    To write a token is to read all the weights and the cache once, so nothing writes faster than bandwidth / bytes. The RAM's bandwidth
    is measured in the same run, a GPU's is what its driver says. Nothing else should run meanwhile.

    \b
    Examples:
        qwq bench
        qwq bench -m QwQ-32B:Q4_K_M --depth 8192
        qwq bench --gpu-layers 32 --rounds 5 --json
    """
    from qwq_local.cli.benching import bench

    bench(take_load(options), options, stores=stores, as_json=as_json)
