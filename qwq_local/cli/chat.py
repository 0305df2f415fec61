"""`qwq chat`: a conversation."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.options import load_options, sampling_options, take_load, take_tools, tool_options


@click.command("chat")
@click.option("--system", metavar="TEXT", help="A system message.")
@click.option("--no-thoughts", is_flag=True, help="Don't show the thinking.")
@load_options
@sampling_options
@tool_options
def command(system: str | None, **options: Any) -> None:  # noqa: ANN401 - click's
    """Talk with the model. Answers go to stdout, the thinking to stderr.

    Each line is said to it, also those of a pipe. /help lists what else can be typed; Ctrl-C stops an answer.

    \b
    Examples:
        qwq chat -m demo
        qwq chat -m QwQ-32B-Q4_K_M.gguf --system "Answer in French."
        qwq chat -m QwQ-32B-Q4_K_M.gguf --mcp servers.json
    """
    from qwq_local.cli.conversation import converse

    load, tools = take_load(options), take_tools(options)
    shows_thoughts = not options.pop("no_thoughts")
    converse(system, load, options, tools=tools, shows_thoughts=shows_thoughts)
