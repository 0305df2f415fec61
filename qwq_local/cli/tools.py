"""Tools on a terminal: whose they are, which may be called, and what they were called with and gave."""

from __future__ import annotations

import shlex
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from fnmatch import fnmatchcase
from typing import Final

from qwq_local.agent import AgentEvent, NoTools, RoundsSpent, ToolAnswered, Toolbox, ToolCalled, ToolResult, open_mcp
from qwq_local.cli.activity import StatusLine
from qwq_local.cli.keyboard import typed_line
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.terminal import DIM, PLAIN, AnswerPrinter, cut, has_colour, notice, one_line, told_racing, width_of
from qwq_local.engine import Finished, Racing
from qwq_local.runtime import ToolCall

MAY_CALL: Final = "call it? [y]es / [n]o / [a]lways this tool: "


def opened_tools(flags: ToolFlags) -> AbstractContextManager[Toolbox]:
    """The tools of the servers that are given, for as long as they are needed. Raises ToolServerError."""
    return open_mcp(flags.servers) if flags.servers else nullcontext(NoTools())


class Permission:
    """Decides on each call: by the flags, and else by asking on the terminal. Where nobody can be asked the answer is no."""

    def __init__(self, flags: ToolFlags) -> None:
        self._flags = flags
        self._always: set[str] = set()

    def is_given(self, call: ToolCall) -> bool:
        """Whether the flags, or an earlier answer, allow it."""
        return self._flags.allows_all or call.name in self._always or any(fnmatchcase(call.name, name) for name in self._flags.allowed)

    def take(self, call: ToolCall, letter: str) -> bool:
        """Whether an answer allows it: y, n, or a for this tool from now on."""
        if letter == "a":
            self._always.add(call.name)
        return letter in ("y", "a")

    def __call__(self, call: ToolCall) -> bool:
        """Whether to call it, asked where need be."""
        if self.is_given(call):
            return True
        if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
            notice(f"[not called, since nobody can be asked; to allow it: --allow-tool {shlex.quote(one_line(call.name))}]")
            return False
        if cut(shown := told_call(call), width_of(sys.stderr)) != shown:
            notice(shown)  # nobody should have to allow what could not be seen
        return self.take(call, _ask())


class AgentPrinter(AnswerPrinter):
    """Shows the answers of a loop, and between them each call and its result in a dimmed line on stderr.

    While samples of an answer race, a line tells how far they are.
    """

    def __init__(self, *, shows_thoughts: bool) -> None:
        super().__init__(shows_thoughts=shows_thoughts)
        self._racing = StatusLine()

    def show(self, event: AgentEvent) -> None:
        """Print one piece."""
        if isinstance(event, Racing):
            self._racing.show(told_racing(event))
            return
        self._racing.clear()
        match event:
            case ToolCalled(call):
                self._line(told_call(call))
            case ToolAnswered(_, result):
                self._line(told_result(result))
            case RoundsSpent(n_rounds):
                self.finish()
                notice(told_rounds(n_rounds))
            case Finished():
                self.finish(event)
            case _:
                super().show(event)

    def finish(self, end: Finished | None = None) -> None:
        """Leave the cursor at the start of a line, also after an interrupt."""
        self._racing.clear()
        super().finish(end)

    def _line(self, text: str) -> None:
        self.finish()
        line = cut(text, width_of(sys.stderr))
        self._write(sys.stderr, f"{DIM}{line}{PLAIN}\n" if has_colour(sys.stderr) else f"{line}\n")


def told_call(call: ToolCall) -> str:
    """A call in one line."""
    return one_line(f"→ {call.name} {call.arguments}")


def told_result(result: ToolResult) -> str:
    """A call's result in one line."""
    return one_line(f"← failed: {result.text}" if result.is_error else f"← {result.text}")


def told_rounds(n_rounds: int) -> str:
    """That no more tools are called."""
    return f"[tools were called in {n_rounds} rounds: now the answer]"


def _ask() -> str:
    """The first letter of an answer that is one, or "n" where the input ends."""
    _forget_typed()
    try:
        while True:
            sys.stderr.write(MAY_CALL)
            sys.stderr.flush()
            line = typed_line()
            if (word := line.strip().lower()) in ("y", "yes", "n", "no", "a", "always"):
                return word[0]
            if not line:
                sys.stderr.write("\n")
                return "n"
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise


def _forget_typed() -> None:
    """What was typed before the question was seen is no answer to it."""
    with suppress(ImportError):  # Windows keeps what was typed
        import termios

        termios.tcflush(sys.stdin, termios.TCIFLUSH)
