"""What the terminal shows: the answer on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO
from unicodedata import east_asian_width

from qwq_local.engine import Answering, Finished, Progress, RaceReport, Racing, RopeSwitched, Thinking, ThoughtClosed

DIM: Final = "\x1b[2m"
PLAIN: Final = "\x1b[0m"
OTHER_WIDTH: Final = 140
RESULT_WIDTH: Final = 40
"""Columns for each result that was voted for."""
_CONTROLS: Final = {code: None for code in [*range(32), 127, *range(128, 160)] if chr(code) not in "\n\t"}
_TURNS: Final = dict.fromkeys((1564, 8206, 8207, *range(8234, 8239), *range(8294, 8298)))


def has_colour(stream: TextIO) -> bool:
    """Whether to style: only on a terminal that can, and NO_COLOR (no-color.org) is obeyed."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def notice(text: str) -> None:
    """One line to the user, beside the answer; control characters from a file or a model are left out."""
    print(text.translate(_CONTROLS), file=sys.stderr, flush=True)  # noqa: T201 - this is where the command line prints


def tell_error(error: str, hint: str) -> None:
    """What went wrong in one line, and what to do in another."""
    notice(f"error: {error}")
    if hint:
        notice(f"hint: {hint}")


def plain_text(text: str) -> str:
    """Text of several lines for a terminal: no control characters, and nothing that turns the direction of writing."""
    return text.translate(_CONTROLS | _TURNS)


def one_line(text: str) -> str:
    """Text for a single line of a terminal: no control characters, and nothing that turns the direction of writing."""
    return " ".join(text.split()).translate(_CONTROLS | _TURNS)


def cut(text: str, width: int) -> str:
    """As much of a line as has room in so many columns."""
    room = width
    for index, letter in enumerate(text):
        room -= 2 if east_asian_width(letter) in "WF" else 1
        if room < 0:
            return text[: max(index - 1, 0)] + "…"
    return text


def width_of(stream: TextIO) -> int:
    """The columns of a terminal, and what is easily read elsewhere."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or OTHER_WIDTH
    except (OSError, ValueError):
        return OTHER_WIDTH


def duration(seconds: float) -> str:
    """A time as one would say it: 95 s, 12 min, 3 h 20 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def count(n: int, word: str) -> str:
    """So many of something: 1 token, 1,234 tokens."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def ending(end: Finished) -> str:
    """What a user should know of how an answer ended, or nothing."""
    n_tokens = f"{end.usage.completion_tokens:,} tokens"
    told = told_race(end.race) if end.race else ""
    if end.reason == "length":
        return f"[cut short after {n_tokens}; more room: --ctx, --max-tokens]{told}"
    if end.reason == "repetition":
        return f"[ended after {n_tokens}: the answer went round in circles; another --seed may help]{told}"
    return told


def told_race(report: RaceReport) -> str:
    """What came of the samples of an answer."""
    how = f"sample {report.winner + 1} was the first to end"
    if report.kind == "vote":
        counts = [f"{n} for {cut(one_line(result), RESULT_WIDTH)}" for result, n in report.votes.items()]
        how = ", ".join(counts) or "none had a result to count, and the first to end was taken"
    lost = f", {report.n_failed} failed" if report.n_failed else ""
    return f"[{report.kind} of {report.n_samples}: {how}{lost}; all of them wrote {count(report.completion_tokens, 'token')}]"


def told_racing(event: Racing) -> str:
    """How far the samples of an answer are."""
    ended = f", {event.n_ended} ended" if event.n_ended else ""
    return f"{event.n_samples} samples{ended}, about {count(event.n_pieces, 'token')} so far"


CLOSED: Final = {
    "budget": "[the thought has spent its budget: now the answer]",
    "repetition": "[the thought went round in circles: now the answer]",
    "asked": "[the answer was asked for]",
    "ended": "[the thought ended without an answer: now the answer]",
}
SWITCHED: Final = "[longer than the native context: from here on with YaRN; everything is read again]"


class AnswerPrinter:
    """Shows an answer as it comes: thoughts dimmed on stderr, the answer on stdout.

    Control characters that a model writes reach a terminal as nothing, so that no answer can move its cursor or rename its window.
    """

    def __init__(self, *, shows_thoughts: bool) -> None:
        self._shows_thoughts = shows_thoughts
        self._dims = has_colour(sys.stderr)
        self._out_is_terminal = sys.stdout.isatty()
        self._last: str = ""

    def show(self, event: Progress) -> None:
        """Print one piece, or a notice of what else a user should know."""
        if isinstance(event, ThoughtClosed | RopeSwitched):
            self._end_thought()
            self._end_answer()
            notice(CLOSED[event.why] if isinstance(event, ThoughtClosed) else SWITCHED)
            return
        if not isinstance(event, Thinking | Answering):
            return
        if isinstance(event, Answering):
            self._end_thought()
            self._write(sys.stdout, event.text.translate(_CONTROLS) if self._out_is_terminal else event.text)
        elif self._shows_thoughts:
            self._end_answer()
            text = event.text.translate(_CONTROLS)
            self._write(sys.stderr, f"{DIM}{text}{PLAIN}" if self._dims else text)
        else:
            return
        self._last = type(event).__name__ + event.text[-1:]

    def finish(self, end: Finished | None = None) -> None:
        """Leave the cursor at the start of a line, also after an interrupt."""
        self._end_thought()
        self._end_answer()
        if end is not None and (told := ending(end)):
            notice(told)

    def _end_thought(self) -> None:
        if self._last.startswith("Thinking"):
            self._write(sys.stderr, "\n\n")
            self._last = ""

    def _end_answer(self) -> None:
        if self._last.startswith("Answering"):
            self._write(sys.stdout, "" if self._last.endswith("\n") else "\n")
            self._last = ""

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        stream.write(text)
        stream.flush()


class LoadingBar:
    """One line on a terminal while a big model loads; nothing for one that loads at once."""

    QUIET_SECONDS: Final = 0.5

    def __init__(self, clock: float) -> None:
        self._started_at = clock
        self._shown = ""

    def update(self, share: float, clock: float) -> None:
        """Show the share that is loaded; `clock` reads seconds."""
        text = f"\rloading {share:4.0%}"
        if sys.stderr.isatty() and text != self._shown and clock - self._started_at > self.QUIET_SECONDS:
            self._shown = text
            print(text, end="", file=sys.stderr, flush=True)  # noqa: T201 - as above

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201 - as above
