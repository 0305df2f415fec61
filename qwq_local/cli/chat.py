"""`qwq chat`: a conversation."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.cli.options import given_options, load_options, sampling_options, speculation_options, take_load, take_tools, tool_options


@click.command("chat")
@click.option("--system", metavar="TEXT", help="A system message.")
@click.option("--no-thoughts", is_flag=True, help="Don't show the thinking.")
@click.option(
    "--continue",
    "chat_id",
    is_flag=False,
    flag_value="",
    metavar="[ID]",
    shell_complete=values.chats,
    help="Go on with the latest chat, or with that one.",
)
@click.option("--no-history", is_flag=True, help="Keep nothing of what is said.")
@load_options
@speculation_options
@sampling_options
@tool_options
@click.pass_context
def command(context: click.Context, /, system: str | None, **options: Any) -> None:  # noqa: ANN401 - click's
    """Talk with the model. Answers go to stdout, everything else to stderr.

    On a terminal the answer is laid out while it is written. Each line is said to it, also those of a pipe. /help lists what else can be
    typed; Ctrl-C stops an answer. Chats are kept on this machine: /chats lists them.

    \b
    Examples:
        qwq chat -m demo
        qwq chat -m QwQ-32B-Q4_K_M.gguf --system "Answer in French."
        qwq chat -m QwQ-32B-Q4_K_M.gguf --mcp servers.json
        qwq chat --continue
    """
    from qwq_local.cli.chatting.converse import ChatWish, converse

    given = given_options(context)
    shows_thoughts, keeps = not options.pop("no_thoughts"), not options.pop("no_history")
    load, tools, chat_id = take_load(options), take_tools(options), options.pop("chat_id")
    converse(ChatWish(load, options, given, system, tools, shows_thoughts=shows_thoughts, chat_id=chat_id, keeps=keeps))
