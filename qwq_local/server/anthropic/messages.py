"""Anthropic's Messages, how it is answered: `POST /v1/messages`, at once or as a stream, and `POST /v1/messages/count_tokens`.

Format: platform.claude.com/docs/en/api/messages and, for streams, platform.claude.com/docs/en/build-with-claude/streaming.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from qwq_local.engine import Answering, Event, Failed, Finished, Thinking, ToolCallDelta, ToolCallDropped, ToolCallStarted
from qwq_local.runtime import QwQ
from qwq_local.server.answers import Answers, Ask
from qwq_local.server.anthropic.asked import CountRequest, MessagesRequest
from qwq_local.server.anthropic.told import Draft, MessageTold, TokensCount, message_of, stop_of, usage_of
from qwq_local.server.desk import Desk
from qwq_local.server.errors import as_api_error, error_body
from qwq_local.server.json_body import JsonRoute
from qwq_local.server.streaming import EVENT_STREAM, EVENTS, Stream, Writer, sent_event
from qwq_local.server.told import new_id

PING: Final = sent_event({"type": "ping"}, "ping")


class MessageWriter(Writer):
    """Writes the stream of one message.

    A tool call is held until it is certain to be one, unless its tool wants it sooner: then one that proves to be none stays, unfinished.
    """

    def __init__(self, answers: Answers, body: MessagesRequest, request_id: str) -> None:
        self._answers = answers
        self._body = body
        self._request_id = request_id
        self._index = -1
        self._open = ""
        self._signature = sha256()
        self._held: Draft | None = None

    def open(self) -> bytes:
        """The message, still empty. What of its prompt was cached is known at the end."""
        counts = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
        head = {"id": new_id("msg"), "type": "message", "role": "assistant", "model": self._answers.model, "content": []}
        usage = {"input_tokens": self._answers.prompt_tokens(0)} | counts
        return _event("message_start", message=head | {"stop_reason": None, "stop_sequence": None, "usage": usage})

    def keep_alive(self) -> bytes:
        """A ping."""
        return PING

    def write(self, index: int, event: Event) -> bytes:  # noqa: ARG002 - there is one answer
        """What has come of the blocks."""
        match event:
            case Thinking(text):
                return self._thought(text)
            case Answering(text):
                return self._release() + self._begin("text", text="") + self._delta("text_delta", text=text)
            case ToolCallStarted() | ToolCallDelta() | ToolCallDropped():
                return self._call(event)
            case Finished():
                return self._release() + self._end() + self._finished(event)
            case Failed(error):
                return sent_event(error_body("anthropic", as_api_error(error), self._request_id), "error")
        return b""

    def _thought(self, text: str) -> bytes:
        told = self._release() + self._begin("thinking", thinking="", signature="")
        self._signature.update(text.encode())
        return told + (self._delta("thinking_delta", thinking=text) if self._body.shows_thought else b"")

    def _call(self, event: ToolCallStarted | ToolCallDelta | ToolCallDropped) -> bytes:
        match event:
            case ToolCallStarted(_, name) if name in self._body.eager_tools:
                return self._release() + self._begin_call(name)
            case ToolCallStarted(_, name):
                told, self._held = self._release(), Draft("tool_use", name)
                return told
            case ToolCallDelta(_, arguments) if self._held:
                self._held.pieces.append(arguments)
            case ToolCallDelta(_, arguments):
                return self._delta("input_json_delta", partial_json=arguments)
            case ToolCallDropped() if self._held:
                self._held = None
            case ToolCallDropped():
                return self._end()
        return b""

    def _release(self) -> bytes:
        """The call that was held: more has come, so that it is one."""
        call, self._held = self._held, None
        return self._begin_call(call.name) + self._delta("input_json_delta", partial_json=call.text) if call else b""

    def _begin_call(self, name: str) -> bytes:
        return self._end() + self._begin("tool_use", id=new_id("toolu"), name=name, input={})

    def _begin(self, kind: str, **fields: object) -> bytes:
        """A block, unless one of its kind is open."""
        if self._open == kind:
            return b""
        told = self._end()
        self._open = kind
        self._index += 1
        return told + _event("content_block_start", index=self._index, content_block={"type": kind, **fields})

    def _delta(self, kind: str, **fields: object) -> bytes:
        return _event("content_block_delta", index=self._index, delta={"type": kind, **fields})

    def _end(self) -> bytes:
        """The end of the block that is open."""
        kind, self._open = self._open, ""
        if not kind:
            return b""
        signature = b""
        if kind == "thinking":
            signature = self._delta("signature_delta", signature=self._signature.hexdigest())
            self._signature = sha256()
        return signature + _event("content_block_stop", index=self._index)

    def _finished(self, end: Finished) -> bytes:
        stop_reason, stop_sequence = stop_of(end, self._body.max_tokens, has_calls=bool(self._answers.found(0).tool_calls))
        delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
        return _event("message_delta", delta=delta, usage=usage_of(end).model_dump()) + _event("message_stop")


def _event(kind: str, **fields: object) -> bytes:
    return sent_event({"type": kind, **fields}, kind)


router = APIRouter(route_class=JsonRoute, tags=["Anthropic"])


@router.post("/v1/messages", response_model=MessageTold, responses={200: {"content": {EVENT_STREAM: EVENTS}}})
async def create_message(body: MessagesRequest, request: Request) -> Response | MessageTold:
    """Answer a conversation."""
    desk: Desk = request.app.state.desk
    answers = request.state.visit.answers = await desk.answer(body.ask())
    if body.stream:
        return Stream(answers, MessageWriter(answers, body, request.state.visit.id))
    (whole,) = await answers.whole(request.receive)
    return message_of(answers, whole, body)


@router.post("/v1/messages/count_tokens", response_model=TokensCount)
async def count_tokens(body: CountRequest, request: Request) -> TokensCount:
    """How many tokens the prompt of such a conversation has, exactly."""
    desk: Desk = request.app.state.desk
    ask = body.ask()
    return TokensCount(input_tokens=await asyncio.to_thread(_prompt_tokens, await desk.ready(ask.model), ask))


def _prompt_tokens(qwq: QwQ, ask: Ask) -> int:
    tools = None if ask.options.get("tool_choice") == "none" else ask.tools
    prompt = qwq.render(ask.messages, tools)
    return len(qwq.tokenize(prompt if ask.options.get("thinks", True) else prompt.without_thought()))
