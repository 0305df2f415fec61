"""`qwq history`: the chats that were held in the terminal and on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.cli.options import given_options, load_options, sampling_options, speculation_options, take_load, take_tools, tool_options

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group("history")
def command() -> None:
    """List, search, show, continue, export and remove chats: those of the terminal and those of the page.

    A chat is named by its id, or by the beginning of it.

    \b
    Examples:
        qwq history list
        qwq history search "prime numbers"
        qwq history show 3f9a
        qwq history continue 3f9a
        qwq history export 3f9a --out primes.md
    """


@command.command("list", short_help="List the latest chats.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="So many of the latest.")
@_JSON
def list_command(limit: int, *, as_json: bool) -> None:
    """List the latest chats.

    \b
    Example:
        qwq history list -n 50
    """
    from qwq_local.cli.chats import list_chats

    list_chats(limit, as_json=as_json)


@command.command("search", short_help="Find chats by what is said in them.")
@click.argument("words", nargs=-1, required=True)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="So many of the latest.")
@_JSON
def search_command(words: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    """Find the chats in which all WORDS are said in one message; a word may be a part of another.

    \b
    Example:
        qwq history search prime numbers
    """
    from qwq_local.cli.chats import search_chats

    search_chats(" ".join(words), limit, as_json=as_json)


@command.command("show", short_help="Show a chat.")
@click.argument("chat", shell_complete=values.chats)
@click.option("--thoughts", "with_thoughts", is_flag=True, help="Show the thinking too.")
@_JSON
def show_command(chat: str, *, with_thoughts: bool, as_json: bool) -> None:
    """Show the chat CHAT: the branch that was looked at last, or with --json all of them.

    \b
    Example:
        qwq history show 3f9a
    """
    from qwq_local.cli.chats import show_chat

    show_chat(chat, with_thoughts=with_thoughts, as_json=as_json)


@command.command("continue", short_help="Go on with a chat in the terminal.")
@click.argument("chat", shell_complete=values.chats)
@click.option("--no-thoughts", is_flag=True, help="Don't show the thinking.")
@load_options
@speculation_options
@sampling_options
@tool_options
@click.pass_context
def continue_command(context: click.Context, /, chat: str, **options: Any) -> None:  # noqa: ANN401 - click's
    """Go on with the chat CHAT in the terminal, with the model that answered last, where -m names no other.

    \b
    Example:
        qwq history continue 3f9a
    """
    from qwq_local.cli.chatting.converse import ChatWish, converse

    given, shows_thoughts = given_options(context), not options.pop("no_thoughts")
    load, tools = take_load(options), take_tools(options)
    converse(ChatWish(load, options, given, tools=tools, shows_thoughts=shows_thoughts, chat_id=chat))


@command.command("export", short_help="Write a chat to a file.")
@click.argument("chat", shell_complete=values.chats)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there: Markdown, or JSON where it ends in .json.")
@click.option("--format", "kind", type=click.Choice(["markdown", "json"]), help="[default: by the file's name, or markdown]")
@click.option("--thoughts", "with_thoughts", is_flag=True, help="The thinking too; in JSON it always is.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def export_command(chat: str, out: Path | None, kind: str | None, *, with_thoughts: bool, force: bool) -> None:
    """Write the chat CHAT for other programs and other people.

    \b
    Examples:
        qwq history export 3f9a --out primes.md
        qwq history export 3f9a --format json > primes.json
    """
    from qwq_local.cli.chats import export_chat

    export_chat(chat, out, kind, with_thoughts=with_thoughts, overwrites=force)


@command.command("rm", short_help="Remove chats.")
@click.argument("chats", nargs=-1, required=True, shell_complete=values.chats)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def rm_command(chats: tuple[str, ...], *, yes: bool) -> None:
    """Remove CHATS with all that was said in them; this cannot be undone.

    \b
    Example:
        qwq history rm 3f9a
    """
    from qwq_local.cli.chats import remove_chats

    remove_chats(chats, asks=not yes)
