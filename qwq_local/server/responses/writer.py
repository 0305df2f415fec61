"""OpenAI's responses, as they are written: an answer's events become items, and the stream's events.

Format: platform.openai.com/docs/api-reference/responses-streaming. One item is open at a time: added, filled, done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from qwq_local.engine import Answering, Drawn, Event, Failed, Finished, Thinking, ToolCallDelta, ToolCallDropped, ToolCallStarted
from qwq_local.server.errors import as_api_error
from qwq_local.server.responses.items import FunctionCall, ItemStatus, OutputItem, OutputMessage, OutputText, Reasoning, ReasoningText
from qwq_local.server.responses.told import Response
from qwq_local.server.streaming import Writer, sent_event
from qwq_local.server.told import TokenLogprob, logprob_of, new_id

StreamEvent = dict[str, Any]
"""An event without its number: `type`, and what belongs to it."""


class _Writing(ABC):
    """An item while it is written, the `index`-th of the output."""

    def __init__(self, item: OutputItem, index: int) -> None:
        self.item = item
        self._at = {"item_id": item.id, "output_index": index}
        self._pieces: list[str] = []

    def open(self) -> list[StreamEvent]:
        """What comes before its first piece."""
        return [self._item_event("added")]

    @abstractmethod
    def close(self, status: ItemStatus) -> list[StreamEvent]:
        """What comes after its last piece; `item` is then whole."""

    def _item_event(self, what: str) -> StreamEvent:
        return {"type": f"response.output_item.{what}", "output_index": self._at["output_index"], "item": self.item.model_dump()}


class _WritingText(_Writing):
    """A thought or a message: one part, whose text comes in pieces."""

    def __init__(self, item: Reasoning | OutputMessage, index: int) -> None:
        super().__init__(item, index)
        self.is_thought = isinstance(item, Reasoning)
        self._kind = "reasoning_text" if self.is_thought else "output_text"
        self._at["content_index"] = 0
        self._logprobs: list[TokenLogprob] = []

    def open(self) -> list[StreamEvent]:
        return [*super().open(), self._part_event("added")]

    def push(self, text: str, logprobs: Sequence[TokenLogprob]) -> list[StreamEvent]:
        self._pieces.append(text)
        self._logprobs += logprobs
        return [{"type": f"response.{self._kind}.delta", **self._at, "delta": text, **self._told(logprobs)}]

    def close(self, status: ItemStatus) -> list[StreamEvent]:
        part = self._part()
        self.item = self.item.model_copy(update={"status": status, "content": [part]})
        done = {"type": f"response.{self._kind}.done", **self._at, "text": part.text, **self._told(self._logprobs)}
        return [done, self._part_event("done"), self._item_event("done")]

    def _part(self) -> ReasoningText | OutputText:
        text = "".join(self._pieces)
        if self.is_thought:
            return ReasoningText(type="reasoning_text", text=text)
        return OutputText(type="output_text", text=text, annotations=[], logprobs=self._logprobs)

    def _part_event(self, what: str) -> StreamEvent:
        return {"type": f"response.content_part.{what}", **self._at, "part": self._part().model_dump()}

    def _told(self, logprobs: Sequence[TokenLogprob]) -> StreamEvent:
        return {} if self.is_thought else {"logprobs": [logprob.model_dump() for logprob in logprobs]}


class _WritingCall(_Writing):
    """A call, whose arguments come in pieces."""

    def push(self, arguments: str) -> list[StreamEvent]:
        self._pieces.append(arguments)
        return [{"type": "response.function_call_arguments.delta", **self._at, "delta": arguments}]

    def close(self, status: ItemStatus) -> list[StreamEvent]:
        arguments = "".join(self._pieces)
        self.item = self.item.model_copy(update={"status": status, "arguments": arguments})
        return [{"type": "response.function_call_arguments.done", **self._at, "arguments": arguments}, self._item_event("done")]


class Output:
    """An answer's items, made of its events. A call that proves to be none ends as incomplete in the stream, and is not among the items."""

    def __init__(self, *, has_logprobs: bool) -> None:
        self.items: list[OutputItem] = []
        self._writing: _Writing | None = None
        self._n_added = 0
        self._has_logprobs = has_logprobs
        self._drawn: list[TokenLogprob] = []

    def take(self, event: Event) -> list[StreamEvent]:
        """The stream's events for one of the answer's."""
        match event:
            case Drawn():
                return self._note(event)
            case Thinking(text):
                return self._push(text, is_thought=True)
            case Answering(text):
                return self._push(text, is_thought=False)
            case ToolCallStarted() | ToolCallDelta() | ToolCallDropped():
                return self._call(event)
            case Finished() | Failed():
                is_whole = isinstance(event, Finished) and event.reason == "stop"
                return self._end("completed" if is_whole else "incomplete")
        return []

    def _push(self, text: str, *, is_thought: bool) -> list[StreamEvent]:
        begun: list[StreamEvent] = []
        writing = self._writing
        if not isinstance(writing, _WritingText) or writing.is_thought != is_thought:
            writing = _WritingText(_new_thought() if is_thought else _new_message(), self._n_added)
            begun = self._begin(writing)
        logprobs, self._drawn = self._drawn, []
        return [*begun, *writing.push(text, logprobs)]

    def _call(self, event: ToolCallStarted | ToolCallDelta | ToolCallDropped) -> list[StreamEvent]:
        self._drawn.clear()  # their tokens are none of a text
        if isinstance(event, ToolCallStarted):
            return self._begin(_WritingCall(_new_call(event.name), self._n_added))
        assert isinstance(self._writing, _WritingCall), "a call has started"
        if isinstance(event, ToolCallDelta):
            return self._writing.push(event.arguments)
        dropped, self._writing = self._writing, None
        return dropped.close("incomplete")

    def _begin(self, writing: _Writing) -> list[StreamEvent]:
        ended = self._end("completed")
        self._writing = writing
        self._n_added += 1
        return [*ended, *writing.open()]

    def _end(self, status: ItemStatus) -> list[StreamEvent]:
        if self._writing is None:
            return []
        ended, self._writing = self._writing, None
        events = ended.close(status)
        self.items.append(ended.item)
        return events

    def _note(self, drawn: Drawn) -> list[StreamEvent]:
        if self._has_logprobs and drawn.piece and not drawn.is_thought:
            self._drawn.append(logprob_of(drawn))
        return []


class ResponseWriter(Writer):
    """Writes a stream of events, numbered from 0; `keep` is given the response that has ended."""

    def __init__(self, begun: Response, output: Output, keep: Callable[[Response], None]) -> None:
        self._response = begun
        self._output = output
        self._keep = keep
        self._n_sent = 0

    def open(self) -> bytes:
        """That it has begun."""
        return self._sent_response("created") + self._sent_response("in_progress")

    def write(self, index: int, event: Event) -> bytes:  # noqa: ARG002 - there is one answer
        """What has come, and the end."""
        sent = b"".join(self._sent(told) for told in self._output.take(event))
        return sent + self._ended(event) if isinstance(event, Finished | Failed) else sent

    def _ended(self, end: Finished | Failed) -> bytes:
        if isinstance(end, Finished):
            self._response = self._response.ended(self._output.items, end)
            self._keep(self._response)
            return self._sent_response(self._response.status)
        error = as_api_error(end.error)
        self._response = self._response.failed(self._output.items, error)
        told = {"type": "error", "code": error.code, "message": str(error.detail), "param": error.param}
        return self._sent(told) + self._sent_response("failed")

    def _sent_response(self, what: str) -> bytes:
        return self._sent({"type": f"response.{what}", "response": self._response.model_dump()})

    def _sent(self, event: StreamEvent) -> bytes:
        number, self._n_sent = self._n_sent, self._n_sent + 1
        return sent_event({**event, "sequence_number": number}, event["type"])


def _new_thought() -> Reasoning:
    return Reasoning(id=new_id("rs"), type="reasoning", summary=[], content=[], status="in_progress")


def _new_message() -> OutputMessage:
    return OutputMessage(id=new_id("msg"), type="message", role="assistant", status="in_progress", content=[])


def _new_call(name: str) -> FunctionCall:
    return FunctionCall(id=new_id("fc"), type="function_call", call_id=new_id("call"), name=name, arguments="", status="in_progress")
