"""The commands of a chat about what was said: to ask again, to look back, to save, and to go to another chat."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qwq_local.cli.terminal import cut, one_line
from qwq_local.errors import PromptError, QwqError, SettingsError
from qwq_local.history import to_json, to_markdown

if TYPE_CHECKING:
    from qwq_local.cli.chatting.talk import Talk
    from qwq_local.history import Chat, ChatMessage, ChatSummary

N_LISTED: Final = 20
N_LOOKED_BACK: Final = 4
"""Messages that are shown of a chat that is gone on with."""
_SHOWN_CHARACTERS: Final = 300


def retry(talk: Talk, _: str) -> None:
    """`/retry`."""
    talk.retry()


def edit(talk: Talk, text: str) -> None:
    """`/edit [TEXT]`."""
    chat, question_id = talk.session.chat, talk.session.question_id
    if chat is None or question_id is None:
        raise PromptError("Nothing was asked yet.", hint="Type a question.")
    talk.edits = True
    if text:
        talk.say(text)
    else:
        talk.face.prefill(chat.messages[question_id].content)


def thoughts(talk: Talk, _: str) -> None:
    """`/thoughts`."""
    found = [message.reasoning for message in talk.session.path() if message.role == "assistant" and message.reasoning.strip()]
    talk.face.tell(found[-1].strip() if found else "Nothing was thought yet.")


def save(talk: Talk, name: str) -> None:
    """`/save FILE`."""
    if not name:
        raise SettingsError("Which file?", hint="Such as: /save chat.md")
    path, chat = Path(name).expanduser(), talk.session.chat
    if chat is None:
        raise PromptError("Nothing was said yet.", hint="Type a question.")
    text = _as_text(chat, path.suffix)
    try:
        if path.exists() and not talk.face.confirms(f"{one_line(name)} is there already. Write over it?"):
            talk.face.tell("Nothing was written.")
            return
        path.write_text(text, "utf-8")
    except (OSError, ValueError) as error:  # a name with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise QwqError(f"{name} cannot be written: {reason}.", hint="Name a file in another folder.") from error
    talk.face.tell(f"Written to {one_line(str(path.absolute()))}")


def chats(talk: Talk, words: str) -> None:
    """`/chats [WORDS]`."""
    history = talk.session.history
    if words:
        lines = [f"{_line(found.summary)}\n    {one_line(found.snippet)}" for found in history.search(words, limit=N_LISTED)]
    else:
        lines = [_line(summary) for summary in history.latest(limit=N_LISTED)]
    talk.face.tell("\n".join([*lines, "To go on with one: /open ID"]) if lines else "There are no such chats.")


def open_chat(talk: Talk, chat_id: str) -> None:
    """`/open ID`."""
    if not chat_id:
        raise SettingsError("Which chat?", hint="/chats lists them, /open ID goes on with one.")
    talk.session.open(chat_id)
    talk.edits = False
    look_back(talk)


def new(talk: Talk, _: str) -> None:
    """`/new`."""
    talk.session.begin_anew()
    talk.edits = False


def look_back(talk: Talk) -> None:
    """Show what a chat that is gone on with ended in."""
    chat, path = talk.session.chat, talk.session.path()
    if chat is not None:
        talk.face.tell("\n".join([one_line(f"{chat.title or chat.id}: {len(path)} messages"), *_last_turns(path)]))


def _as_text(chat: Chat, suffix: str) -> str:
    if suffix == ".md":
        return to_markdown(chat, with_thoughts=True)
    if suffix == ".json":
        return json.dumps(to_json(chat), ensure_ascii=False, indent=2) + "\n"
    raise SettingsError(f"A chat is not written as {suffix or 'a file without a suffix'}.", hint="Name it .md or .json.")


def _last_turns(path: Sequence[ChatMessage]) -> Iterator[str]:
    for message in path[-N_LOOKED_BACK:]:
        text = one_line(message.content)
        mark = {"user": ">", "tool": "←"}.get(message.role, " ")
        state = "" if message.state == "whole" else f" [{message.state}]"
        yield f"{mark} {cut(text, _SHOWN_CHARACTERS)}{state}"


def _line(summary: ChatSummary) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(summary.updated_at))
    return f"{summary.id[:8]}  {when}  {cut(one_line(summary.title), 60)}"
