"""A conversation in the terminal, line by line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from importlib import import_module
from typing import Any, Final

from qwq_local.agent import run_agent
from qwq_local.cli.answer import opened_model, require_stdout
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.terminal import notice, tell_error
from qwq_local.cli.tools import AgentPrinter, Permission, opened_tools
from qwq_local.errors import EmptyPromptError, PromptError, QwqError
from qwq_local.prompt import Message

_HELP: Final = """/new   start again, with an empty history
/help  this list
/exit  end, as Ctrl-D does
Ctrl-C stops an answer; what was said so far stays in the history"""


def converse(system: str | None, load: Mapping[str, Any], options: Mapping[str, Any], *, tools: ToolFlags, shows_thoughts: bool) -> None:
    """Load a model and answer line after line. `load` are the arguments of QwQ.load, `options` those of QwQ.stream.

    On a terminal an answer may be interrupted or fail, and the conversation goes on. Raises what loading raises; what answering raises,
    where the lines come from elsewhere.
    """
    require_stdout()
    if sys.stdin is None:
        raise EmptyPromptError("Standard input is closed.", hint="Run it in a terminal, or pipe the lines in.")
    is_watched = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a terminal may send what is no UTF-8
    with opened_tools(tools) as toolbox, opened_model(load, options, reads_ahead=True) as (qwq, _):
        permission = Permission(tools)

        def answer(history: list[Message]) -> None:
            printer = AgentPrinter(shows_thoughts=shows_thoughts)
            with closing(run_agent(qwq, history, toolbox, allow=permission, **options)) as events:
                try:
                    for event in events:
                        printer.show(event)
                finally:
                    printer.finish()

        conversation = Conversation(system, answer, is_watched=is_watched)
        if is_watched:
            notice(f"{qwq.model.name}. /help lists what can be typed, Ctrl-D ends.")
        for line in _typed_lines() if is_watched else _piped_lines():
            if line.strip() == "/exit":
                return
            conversation.hear(line)


class Conversation:
    """What was said so far, without thoughts. `answer` adds to it what it prints.

    Where `is_watched`, an error takes back the turn that it ended, an interrupt leaves what was said before it; both are told. Where not,
    they are raised.
    """

    def __init__(self, system: str | None, answer: Callable[[list[Message]], None], *, is_watched: bool) -> None:
        self._beginning: list[Message] = [{"role": "system", "content": system}] if system else []
        self._answer = answer
        self._is_watched = is_watched
        self.history = list(self._beginning)

    def hear(self, line: str) -> None:
        """Do what a line says, or answer it."""
        match line.strip():
            case "":
                pass
            case "/new":
                self.history = list(self._beginning)
            case "/help":
                notice(_HELP)
            case word if word.startswith("/") and word[1:].isalpha():
                notice(f"There is no {word}; /help lists what there is.")
            case _:
                self._say(line)

    def _say(self, text: str) -> None:
        before = list(self.history)
        self.history.append({"role": "user", "content": text})
        try:
            self._answer(self.history)
        except KeyboardInterrupt:
            if not self._is_watched:
                raise
            notice("[stopped]")
        except QwqError as error:
            if not self._is_watched:
                raise
            self.history = before
            tell_error(str(error), error.hint)


def _typed_lines() -> Iterator[str]:
    """Lines from a terminal, edited with readline where Python has it; Ctrl-C gives up a line, not the conversation."""
    with suppress(ImportError):
        import_module("readline")
    while True:
        try:
            line = _typed_line()
        except EOFError:
            sys.stderr.write("\n")
            return
        except KeyboardInterrupt:
            notice("\n[Ctrl-D or /exit ends]")
        else:
            yield line


def _typed_line() -> str:
    if sys.stdout.isatty():
        return input("> ")
    sys.stderr.write("> ")  # input() would put it among the answers
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _piped_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise PromptError(f"Line {number:,} of standard input is not UTF-8 text.", hint="Convert it with iconv.") from error
