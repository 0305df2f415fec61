"""Thought, answer and tool calls told apart by token id, never by text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from qwq_local import card
from qwq_local.backend import Vocabulary
from qwq_local.engine.request import Answering, Thinking
from qwq_local.engine.text import StopStrings, TextStream
from qwq_local.engine.tool_calls import ToolCallParser, ToolEvent

TextEvent = Thinking | ToolEvent


@dataclass(frozen=True)
class ThinkMarkers:
    """Ids of the markers that an answer is taken apart by; None where the vocabulary has no such token.

    `closing` is put into a thought to end it with a sentence; `gap` are the line feeds between thought and answer.
    """

    begin: int | None
    end: int | None
    begin_call: int | None = None
    end_call: int | None = None
    closing: tuple[int, ...] = ()
    gap: tuple[int, ...] = ()

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Self:
        """Those of a vocabulary."""
        begin, end, begin_call, end_call = map(vocabulary.markers.get, (card.THINK, card.END_THINK, card.TOOL_CALL, card.END_TOOL_CALL))
        if end is None:
            return cls(begin, end, begin_call, end_call)
        gap = tuple(vocabulary.tokenize("\n\n"))
        return cls(begin, end, begin_call, end_call, (*vocabulary.tokenize(card.CLOSING_SENTENCE), end, *gap), gap)


NO_MARKERS: Final = ThinkMarkers(None, None)


class Transcript:
    """Turns an answer's tokens into events, and counts the tokens of its thoughts (their closing marker among them).

    What is written in a thought is never a tool call, and stops nothing. `stop_text`: which of the `stop` strings has come. `is_raw`: no
    token is told apart.
    """

    def __init__(
        self, markers: ThinkMarkers, *, opens_thinking: bool, calls_tools: bool, stop: Sequence[str] = (), is_raw: bool = False
    ) -> None:
        self._markers = NO_MARKERS if is_raw else markers
        self.is_thinking = opens_thinking
        self._stream = TextStream(trims=not is_raw)
        self._stop = StopStrings(stop)
        self._calls = ToolCallParser()
        self._calls_tools = calls_tools
        self.reasoning_tokens = 0

    @property
    def stop_text(self) -> str:
        """The stop string that has ended the answer, or nothing."""
        return self._stop.met

    def push(self, token: int, piece: bytes) -> list[TextEvent]:
        """Take one token with its bytes; returns what has become certain."""
        self.reasoning_tokens += self.is_thinking
        if token in (self._markers.begin, self._markers.end):
            return self._turn(is_thinking=token == self._markers.begin)
        if self._calls_tools and not self.is_thinking:
            if token == self._markers.begin_call:
                return [*self._end_text(), *self._calls.begin()]
            if self._calls.is_open:
                return [*(self._calls.end() if token == self._markers.end_call else self._calls.push(piece))]
        return self._event(self._stream.push(piece))

    def close(self) -> list[TextEvent]:
        """What was still held back at the end of the answer."""
        return [*self._end_text(), *self._calls.cut()]

    def _turn(self, *, is_thinking: bool) -> list[TextEvent]:
        if is_thinking == self.is_thinking:
            return []
        last = [*self._end_text(), *self._calls.cut()]
        self.is_thinking = is_thinking
        return last

    def _end_text(self) -> list[TextEvent]:
        last = self._event(self._stream.close())
        self._stream = TextStream()
        if not self.is_thinking and (held := self._stop.close()):
            last.append(Answering(held))
        return last

    def _event(self, text: str) -> list[TextEvent]:
        if self.is_thinking:
            return [Thinking(text)] if text else []
        text = self._stop.push(text)
        return [Answering(text)] if text else []
