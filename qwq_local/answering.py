"""An answer on its way to whoever asked: its events as they come, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from qwq_local.backend import Rope
from qwq_local.engine import (
    Answering,
    Event,
    Failed,
    Finished,
    FinishReason,
    Progress,
    RaceReport,
    Thinking,
    Timings,
    ToolCallDelta,
    ToolCallDropped,
    ToolCallStarted,
    Usage,
)
from qwq_local.worker import Stream


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model wants called; `arguments` are a JSON object as text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """A whole answer: the thought, what is meant for the user, the tools it calls, and how it ended.

    `race` is what its samples came to, where several were written; the tokens, times and seed are those of the one that it is.
    """

    model: str
    reasoning: str
    content: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    rope: Rope
    seed: int
    tool_calls: tuple[ToolCall, ...] = ()
    race: RaceReport | None = None


@dataclass
class Gathered:
    """What the events of an answer have come to so far."""

    reasoning: str = ""
    content: str = ""
    _names: dict[int, str] = field(default_factory=dict)
    _arguments: dict[int, str] = field(default_factory=dict)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Those that were not dropped."""
        return tuple(ToolCall(name, self._arguments.get(index, "{}")) for index, name in self._names.items())

    def add(self, event: Progress) -> None:
        """One event more."""
        match event:
            case Thinking(text):
                self.reasoning += text
            case Answering(text):
                self.content += text
            case ToolCallStarted(index, name):
                self._names[index] = name
            case ToolCallDelta(index, arguments):
                self._arguments[index] = self._arguments.get(index, "") + arguments
            case ToolCallDropped(index):
                del self._names[index]
                self._arguments.pop(index, None)

    def message(self) -> dict[str, Any]:
        """The answer as a message of the history: without its thought."""
        calls = [{"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in self.tool_calls]
        return {"role": "assistant", "content": self.content, **({"tool_calls": calls} if calls else {})}

    def reply(self, model: str, end: Finished) -> Reply:
        """The whole answer, once it has ended."""
        return Reply(
            model=model,
            reasoning=self.reasoning,
            content=self.content,
            finish_reason=end.reason,
            usage=end.usage,
            timings=end.timings,
            rope=end.rope,
            seed=end.seed,
            tool_calls=self.tool_calls,
            race=end.race,
        )


class AnswerStream(Iterator[Progress | Finished]):
    """The events of one answer, as they come; the last is Finished. Leaving it early cancels the answer.

    `on_end` is told of the end before whoever reads; `gathered` holds what has come so far, and the prompt has `prompt_tokens`. An error is
    raised where it comes: ConstraintError, DecodeError, WorkerDiedError.
    """

    def __init__(
        self,
        stream: Stream,
        on_end: Callable[[Finished, Gathered], None],
        present: ExitStack,
        prompt_tokens: int,
    ) -> None:
        self.gathered = Gathered()
        self.prompt_tokens = prompt_tokens
        self._stream = stream
        self._on_end = on_end
        self._present = present

    def __next__(self) -> Progress | Finished:
        """Wait for the next event."""
        event = next(self._stream)
        self._note(event)
        if isinstance(event, Failed):
            raise event.error
        return event

    def take(self) -> list[Event]:
        """What has come since the last time, without waiting; an error comes as Failed."""
        events = self._stream.take()
        for event in events:
            self._note(event)
        return events

    def listen(self, listener: Callable[[], None]) -> None:
        """Have this called after each event that comes from now on, in a thread of the engine's; it must not wait."""
        self._stream.listen(listener)

    def answer_now(self) -> None:
        """Let it stop thinking and answer; callable from any thread."""
        self._stream.answer_now()

    def close(self) -> None:
        """Cancel what is still to come."""
        self._stream.close()
        self._present.close()

    def _note(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._on_end(event, self.gathered)
        if isinstance(event, Finished | Failed):
            self._present.close()
        else:
            self.gathered.add(event)

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __del__(self) -> None:
        """Whoever lets go of it without closing it wants no more of it either."""
        self.close()
