"""A conversation, from loading the model to the last line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from qwq_local.agent import Toolbox
from qwq_local.cli.answer import opened_model, require_stdout
from qwq_local.cli.chatting.about_chats import look_back
from qwq_local.cli.chatting.commands import hear
from qwq_local.cli.chatting.duty import Duty
from qwq_local.cli.chatting.plain import PlainFace, piped_lines, typed_lines
from qwq_local.cli.chatting.session import Session
from qwq_local.cli.chatting.talk import Talk
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.terminal import notice
from qwq_local.cli.tools import opened_tools
from qwq_local.configuration import find_folders
from qwq_local.errors import ChatNotFoundError, EmptyPromptError
from qwq_local.history import CHATS_FILE, History


@dataclass(frozen=True)
class ChatWish:
    """How to chat. `load` are the arguments of QwQ.load, `options` those of QwQ.stream.

    `chat_id`: the chat to go on with, "" for the latest, None for a new one; its own options hold, save those that are `given`.
    Without `keeps` nothing is written to disk.
    """

    load: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    system: str | None = None
    tools: ToolFlags = field(default_factory=ToolFlags)
    shows_thoughts: bool = True
    chat_id: str | None = None
    keeps: bool = True


def converse(wish: ChatWish) -> None:
    """Talk until the input ends.

    On a terminal an answer may be interrupted or fail, and the conversation goes on. Raises what loading raises, and HistoryError; what
    answering raises, where the lines come from elsewhere.
    """
    require_stdout()
    if sys.stdin is None:
        raise EmptyPromptError("Standard input is closed.", hint="Run it in a terminal, or pipe the lines in.")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a terminal may send what is no UTF-8
    path = find_folders().data / CHATS_FILE if wish.keeps else None
    with (
        closing(History.open(path) if wish.chat_id is not None else History.open_anyway(path)) as history,
        closing(open_session(history, wish)) as session,
    ):
        load = {**wish.load, "model": wish.load.get("model") or session.model_here()}
        for text in history.notices:
            notice(f"notice: {text}")
        with (
            opened_tools(wish.tools) as toolbox,
            opened_model(load, session.options, reads_ahead=True) as (qwq, _),
            closing(Duty(qwq, load)) as duty,
        ):
            talk_with(session, duty, toolbox, wish)


def talk_with(session: Session, duty: Duty, toolbox: Toolbox, wish: ChatWish) -> None:
    """Talk as the terminal allows. Raises what `converse` does."""
    if is_live():
        from qwq_local.cli.chatting.live import LiveChat
        from qwq_local.cli.chatting.posting import PostingFace

        face = PostingFace(wish.tools)
        LiveChat(Talk(session, duty, toolbox, face), face, shows_thoughts=wish.shows_thoughts).run()
    else:
        plain = PlainFace(wish.tools, is_watched=sys.stdin.isatty(), shows_thoughts=wish.shows_thoughts)
        converse_plainly(Talk(session, duty, toolbox, plain))


def open_session(history: History, wish: ChatWish) -> Session:
    """The chat to go on with, or a new one. Raises HistoryError."""
    session = Session(history, system=wish.system or "", options=wish.options)
    if wish.chat_id is None:
        return session
    chat_id = wish.chat_id
    if not chat_id:
        latest = history.latest(limit=1)
        if not latest:
            raise ChatNotFoundError("There is no chat to go on with.", hint="Begin one: qwq chat")
        chat_id = latest[0].id
    chat = session.open(chat_id)
    if wish.system is not None:
        session.set_system(wish.system)
    kept = {name: value for name, value in chat.options.items() if name not in wish.given}
    session.set_options({**wish.options, **kept})
    return session


def is_live() -> bool:
    """Whether standard input and output are a terminal that can move its cursor."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "")


def converse_plainly(talk: Talk) -> None:
    """Line by line."""
    if talk.face.is_watched:
        talk.face.tell(f"{talk.duty.name}. /help lists what can be typed, Ctrl-D ends.")
    if talk.session.chat_id:
        look_back(talk)
    for line in typed_lines() if talk.face.is_watched else piped_lines():
        hear(talk, line)
        if talk.is_over:
            return
