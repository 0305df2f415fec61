"""`qwq history`: chats listed, found, shown, written to files and removed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from qwq_local.cli.terminal import cut, notice, one_line, plain_text, width_of
from qwq_local.configuration import find_folders
from qwq_local.errors import HistoryError, SettingsError
from qwq_local.history import CHATS_FILE, ChatSummary, History, to_json, to_markdown


@contextmanager
def opened_history() -> Iterator[History]:
    """The user's chats; what should be known of their file is told. Raises HistoryError."""
    with History.open(find_folders().data / CHATS_FILE) as history:
        for text in history.notices:
            notice(f"notice: {text}")
        yield history


def list_chats(limit: int, *, as_json: bool) -> None:
    """Print the latest."""
    with opened_history() as history:
        chats = history.latest(limit=limit)
    if as_json:
        click.echo(json.dumps({"chats": [asdict(chat) for chat in chats]}, ensure_ascii=False))
    elif not chats:
        click.echo("No chats yet: qwq chat", err=True)
    else:
        _print_lines([_line(chat) for chat in chats])


def search_chats(text: str, limit: int, *, as_json: bool) -> None:
    """Print those that say all these words."""
    with opened_history() as history:
        found = history.search(text, limit=limit)
    if as_json:
        rows = [{**asdict(one.summary), "message_id": one.message_id, "snippet": one.snippet, "spans": one.spans} for one in found]
        click.echo(json.dumps({"chats": rows}, ensure_ascii=False))
    elif not found:
        click.echo(f"No chat says {one_line(text)!r}.", err=True)
    else:
        _print_lines([line for one in found for line in (_line(one.summary), f"            {one_line(one.snippet)}")])


def show_chat(chat_id: str, *, with_thoughts: bool, as_json: bool) -> None:
    """Print one."""
    with opened_history() as history:
        chat = history.get(chat_id)
    text = json.dumps(to_json(chat), ensure_ascii=False) + "\n" if as_json else to_markdown(chat, with_thoughts=with_thoughts)
    click.echo(plain_text(text) if sys.stdout.isatty() else text, nl=False)


def export_chat(chat_id: str, out: Path | None, kind: str | None, *, with_thoughts: bool, overwrites: bool) -> None:
    """Write one to a file, or to standard output. Raises SettingsError for a file that is there or cannot be written."""
    with opened_history() as history:
        chat = history.get(chat_id)
    is_json = kind == "json" or (kind is None and out is not None and out.suffix.lower() == ".json")
    text = json.dumps(to_json(chat), ensure_ascii=False, indent=2) + "\n" if is_json else to_markdown(chat, with_thoughts=with_thoughts)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        with out.open("w" if overwrites else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"{out} is there already.", hint="Name another file, or give --force to overwrite it.") from None
    except OSError as error:
        raise SettingsError(f"{out} cannot be written: {error.strerror}.", hint="Name another file with --out.") from error
    click.echo(str(out))


def remove_chats(chat_ids: Sequence[str], *, asks: bool) -> None:
    """Remove some, each once that was allowed. Raises HistoryError for one that is not there before any is removed."""
    with opened_history() as history:
        chats = {chat.id: chat for chat in map(history.get, chat_ids)}.values()
        if asks and not (sys.stdin is not None and sys.stdin.isatty()):
            raise HistoryError("Nobody can be asked whether to remove them.", hint="Give --yes.")
        for chat in chats:
            if not asks or click.confirm(f"Remove {chat.id}  {one_line(chat.title)}?", err=True):
                history.delete(chat.id)
                click.echo(f"removed {chat.id}", err=True)


def _print_lines(lines: Sequence[str]) -> None:
    width = width_of(sys.stdout) if sys.stdout.isatty() else None
    for line in lines:
        click.echo(line if width is None else cut(line, width))


def _line(chat: ChatSummary) -> str:
    at = datetime.fromtimestamp(chat.updated_at).astimezone()
    count = "being written" if chat.is_writing else f"{chat.n_messages} message{'s' * (chat.n_messages != 1)}"
    return f"{chat.id}  {at:%Y-%m-%d %H:%M}  {count:>13}  {one_line(chat.title)}"
