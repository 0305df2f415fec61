"""`qwq desktop`: the page in a window of its own."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.cli.options import given_options, load_options


@click.command("desktop")
@click.option(
    "--browser",
    metavar="PROGRAM",
    shell_complete=values.files,
    help="Its path, or 'default'. [default: Chrome, Chromium, Edge or Brave; else the default one]",
)
@load_options
@click.pass_context
def command(context: click.Context, /, browser: str | None, **options: Any) -> None:  # noqa: ANN401 - click's
    """Open the page in a window of its own, and end when it is closed.

    In the default browser, a page among others, QwQ ends five minutes after it was last open. While it runs, another start opens another
    window. With no model here the demo answers. Started by a double click, it tells what goes wrong in a dialog, and in a log.

    \b
    Examples:
        qwq desktop
        qwq desktop -m demo --browser default
    """
    from qwq_local.cli.windowing import run

    given = given_options(context)
    run(browser, {name: value for name, value in options.items() if name in given})
