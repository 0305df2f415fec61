"""`qwq tune`: what makes a model faster here, measured and kept."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.options import given_options, load_options, take_load


@click.command("tune")
@load_options
@click.option("--seconds", type=float, default=120.0, show_default=True, metavar="S", help="How long to measure, once it is loaded.")
@click.option("--store/--no-store", "stores", default=True, show_default=True, help="Let every later load of this file use the best.")
@click.option("--show", "shows", is_flag=True, help="List what was tuned on this machine.")
@click.option("--forget", "forgets", is_flag=True, help="Take back what was tuned: of the model given with -m, or of all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, /, *, seconds: float, stores: bool, shows: bool, forgets: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Try what may make a model faster on this machine, and let every later load of it use what did.

    Threads, micro-batches, flash attention and the layout of weights are changed one at a time, and each change is compared with the
    best so far by turns. None of them changes what the model answers, but for rounding. What is no better beyond doubt is left as it was.
    Nothing else should run meanwhile.

    \b
    Examples:
        qwq tune
        qwq tune -m QwQ-32B:Q4_K_M --seconds 600
        qwq tune --show
        qwq tune --forget
    """
    from qwq_local.cli.tuning import forget, show, tune

    load = take_load(options)
    if shows and forgets:
        raise click.UsageError("--show and --forget are both given.")
    if shows:
        show(as_json=as_json)
    elif forgets:
        forget(load["model"] if "model" in given_options(context) else None, as_json=as_json)
    else:
        tune(load, seconds, stores=stores, as_json=as_json)
