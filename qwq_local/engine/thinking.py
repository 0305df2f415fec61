"""Thought and answer told apart by token id, never by text. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from qwq_local.engine.request import Answering, Thinking
from qwq_local.engine.text import TextStream


@dataclass(frozen=True)
class ThinkMarkers:
    """Ids of `<think>` and `</think>`; None where the vocabulary has no such token."""

    begin: int | None
    end: int | None


class Transcript:
    """Turns a reply's tokens into events, and counts the tokens of its thoughts (their closing marker among them)."""

    def __init__(self, markers: ThinkMarkers, *, opens_thinking: bool) -> None:
        self._markers = markers
        self._is_thinking = opens_thinking
        self._stream = TextStream()
        self.reasoning_tokens = 0

    def push(self, token: int, piece: bytes) -> list[Thinking | Answering]:
        """Take one token with its bytes; returns the text that has become certain."""
        self.reasoning_tokens += self._is_thinking
        if token not in (self._markers.begin, self._markers.end):
            return self._event(self._stream.push(piece))
        return self._turn(is_thinking=token == self._markers.begin)

    def close(self) -> list[Thinking | Answering]:
        """What was still held back at the end of the reply."""
        return self._event(self._stream.close())

    def _turn(self, *, is_thinking: bool) -> list[Thinking | Answering]:
        if is_thinking == self._is_thinking:
            return []
        last = self.close()
        self._is_thinking = is_thinking
        self._stream = TextStream()
        return last

    def _event(self, text: str) -> list[Thinking | Answering]:
        if not text:
            return []
        return [Thinking(text) if self._is_thinking else Answering(text)]
