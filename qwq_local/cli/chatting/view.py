"""One answer as the terminal shows it while it is written: what is finished and can be printed for good, and what still changes.

Times are seconds of one clock, handed in.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final, Literal

from qwq_local.agent import AgentEvent, RoundsSpent, ToolAnswered, ToolCalled
from qwq_local.cli.chatting.fragments import DIM, Line, one_line, wrapped
from qwq_local.cli.terminal import CLOSED, SWITCHED, count, duration, ending, plain_text, told_racing
from qwq_local.cli.tools import told_call, told_result, told_rounds
from qwq_local.engine import Answering, Finished, Racing, RopeSwitched, Thinking, ThoughtClosed, ToolCallDelta, ToolCallStarted

Folding = Literal["last lines", "whole", "one line"]
"""How much of a thought is shown."""
FOLDINGS: Final[tuple[Folding, ...]] = ("last lines", "whole", "one line")

N_LAST_LINES: Final = 6
RATE_TOKENS: Final = 64
"""Tokens that the speed is taken from."""


class AnswerView:
    """Takes in the events of an answer (with the calls of tools between its parts), and gives lines."""

    def __init__(self, now: float, folding: Folding) -> None:
        self.folding = folding
        self.thought = ""
        self.end: Finished | None = None
        self.n_tokens = 0
        self.is_rope_switched = False
        self._began_at = now
        self._thinks_since: float | None = None
        self._racing: Racing | None = None
        self._n_thought = 0
        self._tail = ""
        self._printable: list[Line] = []
        self._written_at: deque[float] = deque(maxlen=RATE_TOKENS)
        self._rendered: tuple[object, list[Line]] = (None, [])

    def add(self, event: AgentEvent, now: float, width: int) -> None:
        """One event more, at a terminal of so many columns."""
        match event:
            case Thinking(text):
                self._note_token(now)
                self._think(plain_text(text), now, width)
            case Answering(text):
                self._note_token(now)
                self._close_thought(now, width)
                self._tail += plain_text(text)
            case Racing():
                self._racing = event
            case Finished():
                self._finish(event, now, width)
            case RopeSwitched():  # in the middle of a thought or a block, which goes on
                self.is_rope_switched = True
                self._printable += [*wrapped(SWITCHED, width, DIM), []]
            case ToolCallStarted() | ToolCallDelta():  # a call is told whole
                self._note_token(now)
            case _ if told := _told(event, width):
                self._close_thought(now, width)
                self._printable += [*told, []]

    def take_printable(self, width: int) -> list[Line]:
        """What nothing can change any more and was not taken before; each block ends in an empty line."""
        self._commit(width, is_whole=False)
        lines, self._printable = self._printable, []
        return lines

    def close(self, now: float, width: int) -> None:
        """Whatever was not printed becomes printable: nothing more comes."""
        self._close_thought(now, width)
        self._commit(width, is_whole=True)

    def changing(self, now: float, width: int, height: int) -> list[Line]:
        """What still changes, in at most so many lines."""
        if self._thinks_since is not None:
            lines = [self._header(now, width), *self._shown_thought(width, height - 1)]
        elif self._tail.strip():
            lines = self._render_tail(width)
        elif self.end is None and not self.n_tokens:
            doing = told_racing(self._racing) if self._racing else "reading"
            lines = [one_line(f"{doing} … {duration(now - self._began_at)}", width, DIM)]
        else:
            lines = []
        return lines[-height:] if height > 0 else []

    @property
    def tokens_per_second(self) -> float:
        """Over the last tokens, or of the whole once it has ended."""
        if self.end is not None:
            return written_per_second(self.end)
        gaps = [after - before for before, after in pairwise(self._written_at)]
        return len(gaps) / total if (total := sum(gaps)) > 0 else 0.0

    def seconds(self, now: float) -> float:
        """Since it was asked for."""
        return now - self._began_at

    def _note_token(self, now: float) -> None:
        self.n_tokens += 1
        self._written_at.append(now)

    def _think(self, text: str, now: float, width: int) -> None:
        if self._thinks_since is None:
            self._commit(width, is_whole=True)
            self._thinks_since = self._began_at if self._racing else now  # the winner's thought comes at once, when it is long over
            self._n_thought = 0
            self.thought = ""
        self._n_thought += 1
        self.thought += text

    def _header(self, now: float, width: int) -> Line:
        assert self._thinks_since is not None, "there is a header while it thinks"
        return one_line(f"thinking {duration(now - self._thinks_since)} · {count(self._n_thought, 'token')}", width, DIM)

    def _shown_thought(self, width: int, height: int) -> list[Line]:
        n_lines = {"last lines": min(N_LAST_LINES, height), "whole": height, "one line": 0}[self.folding]
        if n_lines <= 0:
            return []
        text = self.thought[-max(width, 1) * n_lines :].strip("\n")
        return wrapped(text, width, DIM)[-n_lines:]

    def _close_thought(self, now: float, width: int) -> None:
        if self._thinks_since is None:
            return
        text = f"thought for {duration(now - self._thinks_since)}, {count(self._n_thought, 'token')}"
        self._thinks_since = None
        self._printable.append(one_line(text, width, DIM))
        if self.folding == "whole":
            self._printable += wrapped(self.thought.strip("\n"), width, DIM)
        self._printable.append([])

    def _finish(self, end: Finished, now: float, width: int) -> None:
        self.close(now, width)
        self.end = end
        if told := ending(end):
            self._printable += [*wrapped(told, width, DIM), []]

    def _commit(self, width: int, *, is_whole: bool) -> None:
        from qwq_local.cli.chatting.markdown import finished_length

        length = len(self._tail) if is_whole else finished_length(self._tail)
        block, self._tail = self._tail[:length], self._tail[length:]
        if block.strip():
            self._printable += [*self._render(block, width), []]

    def _render_tail(self, width: int) -> list[Line]:
        key = (len(self._tail), width)
        if self._rendered[0] != key:
            self._rendered = (key, self._render(self._tail, width))
        return self._rendered[1]

    def _render(self, text: str, width: int) -> list[Line]:
        from qwq_local.cli.chatting.markdown import rendered

        return rendered(text, width)


def written_per_second(end: Finished) -> float:
    """Tokens of a whole answer, its thought included."""
    seconds = end.timings.decode_seconds
    return end.usage.completion_tokens / seconds if seconds > 0 else 0.0


def _told(event: AgentEvent, width: int) -> list[Line]:
    """What is said of an event that is no text; of calls and results, which may be long, one line."""
    match event:
        case ThoughtClosed(why):
            return wrapped(CLOSED[why], width, DIM)
        case RoundsSpent(n_rounds):
            return wrapped(told_rounds(n_rounds), width, DIM)
        case ToolCalled(call):
            return [one_line(told_call(call), width, DIM)]
        case ToolAnswered(_, result):
            return [one_line(told_result(result), width, DIM)]
    return []
