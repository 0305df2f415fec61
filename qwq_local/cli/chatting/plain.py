"""A chat line by line: through pipes, and on terminals that can do no more. Answers go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from qwq_local.agent import AgentEvent
from qwq_local.cli.keyboard import typed_line
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.terminal import LoadingBar, notice, tell_error
from qwq_local.cli.tools import AgentPrinter, Permission
from qwq_local.errors import PromptError
from qwq_local.runtime import ToolCall


class PlainFace:
    """Standard input and output, whatever they are."""

    def __init__(self, flags: ToolFlags, *, is_watched: bool, shows_thoughts: bool) -> None:
        self.is_watched = is_watched
        self._permission = Permission(flags)
        self._shows_thoughts = shows_thoughts
        self._printer = AgentPrinter(shows_thoughts=shows_thoughts)
        self._bar: LoadingBar | None = None

    def tell(self, text: str) -> None:
        """On stderr."""
        notice(text)

    def tell_error(self, error: str, hint: str) -> None:
        """On stderr, in one line and another."""
        tell_error(error, hint)

    def show(self, event: AgentEvent) -> None:
        """The answer on stdout, the rest on stderr."""
        self._printer.show(event)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A printer of its own for each answer."""
        self._printer = AgentPrinter(shows_thoughts=self._shows_thoughts)
        try:
            yield
        finally:
            self._printer.finish()

    def allows(self, call: ToolCall) -> bool:
        """By the flags, or asked on the terminal."""
        return self._permission(call)

    def confirms(self, question: str) -> bool:
        """Asked where somebody watches."""
        if not (self.is_watched and sys.stdin):
            notice(f"{question} Nobody can be asked: no.")
            return False
        sys.stderr.write(f"{question} [y]es / [n]o: ")
        sys.stderr.flush()
        return typed_line().strip().lower() in ("y", "yes")

    def prefill(self, text: str) -> None:
        """Shown only: a plain line cannot be begun for the user."""
        notice(f"The next line is asked instead of: {text}")

    def tell_progress(self, share: float) -> None:
        """In one line, on a terminal."""
        now = time.perf_counter()
        self._bar = self._bar or LoadingBar(now)
        self._bar.update(share, now)
        if share >= 1:
            self._bar.clear()
            self._bar = None


def typed_lines() -> Iterator[str]:
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


def piped_lines() -> Iterator[str]:
    """Lines of a pipe or a file. Raises PromptError for one that is not UTF-8."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise PromptError(f"Line {number:,} of standard input is not UTF-8 text.", hint="Convert it with iconv.") from error


def _typed_line() -> str:
    if sys.stdout.isatty():
        return input("> ")
    sys.stderr.write("> ")  # input() would put it among the answers
    sys.stderr.flush()
    line = typed_line()
    if not line:
        raise EOFError
    return line.rstrip("\n")
