"""A message in the making: what has come of it is gathered here, and written down every half second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qwq_local.history.chat import ChatMessage, State


@dataclass(frozen=True)
class Ending:
    """How a message ended."""

    state: State
    finish_reason: str = ""
    error: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    rope: str = ""
    tool_calls: Sequence[Mapping[str, str]] = ()


@dataclass
class Piece:
    """What has come since the last writing; `n_tokens`, `thought_seconds` and `seconds` are those of the whole message so far."""

    reasoning: str
    content: str
    n_tokens: int
    thought_seconds: float
    seconds: float
    ending: Ending | None


class Draft:
    """One answer on its way into the history. `clock` reads seconds; `write_now` is called once it has ended.

    `thought_seconds` and `seconds` are how long it has been thinking, and how long it has taken so far.
    """

    def __init__(self, message_id: int, clock: Callable[[], float], write_now: Callable[[], None]) -> None:
        self.id = message_id
        self._clock = clock
        self._write_now = write_now
        self._lock = threading.Lock()
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._n_tokens = 0
        self._began_at = clock()
        self._thinks_since: float | None = None
        self.thought_seconds = self.seconds = 0.0
        self._ending: Ending | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._ending is not None

    def think(self, text: str, n_tokens: int = 1) -> None:
        """A piece of the thought."""
        with self._lock:
            self._reasoning.append(text)
            self._n_tokens += n_tokens
            now = self._clock()
            self._thinks_since = now if self._thinks_since is None else self._thinks_since
            self.thought_seconds, self.seconds = now - self._thinks_since, now - self._began_at

    def say(self, text: str, n_tokens: int = 1) -> None:
        """A piece of the answer."""
        with self._lock:
            self._content.append(text)
            self._n_tokens += n_tokens
            self.seconds = self._clock() - self._began_at

    def finish(self, state: State, **ending: Any) -> None:  # noqa: ANN401 - fields of Ending
        """It has ended so; `ending` are the other fields of Ending. Later ends are not heard."""
        with self._lock:
            if self._ending is not None:
                return
            self._ending = Ending(state, **ending)
            self._n_tokens = self._ending.usage.get("completion_tokens", self._n_tokens)
            self.seconds = self._clock() - self._began_at
        self._write_now()

    def take(self) -> Piece:
        """What has come since the last time."""
        with self._lock:
            piece = Piece(
                "".join(self._reasoning), "".join(self._content), self._n_tokens, self.thought_seconds, self.seconds, self._ending
            )
            self._reasoning, self._content = [], []
            return piece

    def added_to(self, message: ChatMessage) -> ChatMessage:
        """The message with what is still to be taken."""
        with self._lock:
            ending = self._ending or Ending("writing")
            return replace(
                message,
                state=ending.state,
                reasoning=message.reasoning + "".join(self._reasoning),
                content=message.content + "".join(self._content),
                n_tokens=self._n_tokens,
                thought_seconds=self.thought_seconds,
                seconds=self.seconds,
                finish_reason=ending.finish_reason,
                error=ending.error,
                usage=dict(ending.usage),
                rope=ending.rope,
                tool_calls=tuple(ending.tool_calls),
            )

    def give_back(self, piece: Piece) -> None:
        """It could not be written: it is taken again with what comes next."""
        with self._lock:
            self._reasoning.insert(0, piece.reasoning)
            self._content.insert(0, piece.content)
