"""What can be typed in a chat beside questions: `/name`, alone or with arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from qwq_local.cli.chatting import about_answers, about_chats
from qwq_local.cli.chatting.face import StoppedError
from qwq_local.cli.chatting.talk import Talk
from qwq_local.errors import QwqError


@dataclass(frozen=True)
class Command:
    """`arguments` as its help shows them; a command without any is one only where nothing follows it."""

    arguments: str
    description: str
    run: Callable[[Talk, str], None]


def _exit(talk: Talk, _: str) -> None:
    talk.is_over = True


def _help(talk: Talk, _: str) -> None:
    width = max(len(f"{name} {command.arguments}") for name, command in COMMANDS.items())
    lines = [f"{f'{name} {command.arguments}':{width}}  {command.description}" for name, command in COMMANDS.items()]
    talk.face.tell("\n".join([*lines, "Ctrl-C stops an answer; what was said so far stays. Ctrl-D ends."]))


COMMANDS: Final[Mapping[str, Command]] = {
    "/model": Command("[NAME]", "list the models, or go on with another", about_answers.model),
    "/ctx": Command("N", "load the model with so many tokens of context", about_answers.context),
    "/think": Command("N|on|off", "think for N tokens at most, freely, or not at all", about_answers.think),
    "/set": Command("[NAME VALUE]", "show how answers are drawn, or change it", about_answers.change),
    "/system": Command("[TEXT]", "show the system message, or set it", about_answers.system),
    "/file": Command("PATH", "send a file's text with the next question", about_answers.add_file),
    "/tools": Command("", "list the tools that may be called", about_answers.tools),
    "/retry": Command("", "answer the last question once more", about_chats.retry),
    "/edit": Command("[TEXT]", "change the last question, and ask it instead", about_chats.edit),
    "/thoughts": Command("", "show the last thought whole", about_chats.thoughts),
    "/save": Command("FILE", "write this chat as .md or .json", about_chats.save),
    "/chats": Command("[WORDS]", "list the latest chats, or those with these words", about_chats.chats),
    "/open": Command("ID", "go on with another chat", about_chats.open_chat),
    "/new": Command("", "begin a new chat", about_chats.new),
    "/help": Command("", "this list", _help),
    "/exit": Command("", "end, as Ctrl-D does", _exit),
}
"""Every command, in the order of the list that /help shows."""


def hear(talk: Talk, line: str) -> None:
    """Do what a line says, or ask the model. Where nobody watches errors are raised, else told."""
    try:
        _hear(talk, line)
    except StoppedError:
        talk.face.tell("[stopped]")
    except QwqError as error:
        if not talk.face.is_watched:
            raise
        talk.face.tell_error(str(error), error.hint)


def _hear(talk: Talk, line: str) -> None:
    if not line.strip():
        return
    word, _, rest = line.strip().partition(" ")
    command = COMMANDS.get(word)
    if "\n" not in line.strip() and command and (command.arguments or not rest):
        command.run(talk, rest.strip())
    elif not rest and word.startswith("/") and word[1:].isalpha():
        talk.face.tell(f"There is no {word}; /help lists what there is.")
    else:
        talk.say(line)
