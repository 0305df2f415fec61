"""OpenAI's chat completions, what is answered: `POST /v1/chat/completions`, at once or as a stream.

Format: platform.openai.com/docs/api-reference/chat. `reasoning_content` beside `content` is what the hosted QwQ and DeepSeek added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from qwq_local import card
from qwq_local.engine import Answering, Drawn, Event, Finished, Thinking, ToolCallDelta, ToolCallStarted
from qwq_local.server.answers import Answers, Whole
from qwq_local.server.desk import Desk
from qwq_local.server.json_body import JsonRoute
from qwq_local.server.openai.asked import ChatRequest
from qwq_local.server.openai.parts import Call, ChunkWriter, TokenUsage, call_of, usage_of
from qwq_local.server.streaming import EVENT_STREAM, EVENTS, Stream
from qwq_local.server.told import FINISH, Extension, TokenLogprob, Told, extension_of, logprob_of, new_id, now

_MARKERS: Final = (card.THINK.encode(), card.END_THINK.encode())


class AnswerMessage(Told):
    """The answer: its thought in `reasoning_content`, what is meant for the user in `content`."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str
    refusal: None
    tool_calls: list[Call] | None = None


class Logprobs(Told):
    """The tokens of thought and answer; `reasoning_content` as DeepSeek has it."""

    content: list[TokenLogprob]
    reasoning_content: list[TokenLogprob]
    refusal: None


class ChatChoice(Told):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(Told):
    """The whole answer; `qwq` tells what the format has no place for."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage
    qwq: Extension


def logprobs_of(drawn: Sequence[Drawn]) -> Logprobs:
    """The drawn tokens, markers left out, which are no text."""
    told = [token for token in drawn if token.piece and token.piece not in _MARKERS]
    return Logprobs(
        content=[logprob_of(token) for token in told if not token.is_thought],
        reasoning_content=[logprob_of(token) for token in told if token.is_thought],
        refusal=None,
    )


def completion_of(answers: Answers, wholes: Sequence[Whole], *, has_logprobs: bool) -> ChatCompletion:
    """The answer that was not streamed."""
    choices = []
    for index, whole in enumerate(wholes):
        found = whole.found
        message = AnswerMessage(role="assistant", content=found.content, reasoning_content=found.reasoning, refusal=None)
        if found.tool_calls:
            message.content = found.content or None
            message.tool_calls = [call_of(call, new_id("call")) for call in found.tool_calls]
        choices.append(
            ChatChoice(
                index=index,
                message=message,
                logprobs=logprobs_of(whole.drawn) if has_logprobs else None,
                finish_reason="tool_calls" if whole.stops_for_tools else FINISH[whole.end.reason],
            )
        )
    ends = [whole.end for whole in wholes]
    return ChatCompletion(
        id=new_id("chatcmpl"),
        object="chat.completion",
        created=now(),
        model=answers.model,
        choices=choices,
        usage=usage_of(ends),
        qwq=extension_of(ends),
    )


class ChatWriter(ChunkWriter):
    """Writes a stream of `chat.completion.chunk`s.

    Each choice begins with its role, ends with its finish reason, and never has `content: null`, which the widespread example prints.
    """

    id_kind = "chatcmpl"
    object_name = "chat.completion.chunk"

    def __init__(self, answers: Answers, body: ChatRequest) -> None:
        super().__init__(answers, body.stream_options)
        self._has_logprobs = bool(body.logprobs)

    def open(self) -> bytes:
        """The role of each choice."""
        delta = {"role": "assistant", "content": "", "reasoning_content": ""}
        return b"".join(self._chunk(index, delta) for index in range(self._answers.n_choices))

    def _told(self, index: int, event: Event) -> bytes:
        match event:
            case Thinking(text):
                return self._chunk(index, {"reasoning_content": text})
            case Answering(text):
                return self._chunk(index, {"content": text})
            case ToolCallStarted(call, name):
                function = {"name": name, "arguments": ""}
                return self._chunk(index, _call_delta(call, {"id": new_id("call"), "type": "function", "function": function}))
            case ToolCallDelta(call, arguments):
                return self._chunk(index, _call_delta(call, {"function": {"arguments": arguments}}))
            case Finished(reason):
                calls = reason == "stop" and self._answers.found(index).tool_calls
                return self._chunk(index, {"content": ""}, "tool_calls" if calls else FINISH[reason])
        return b""

    def _chunk(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        drawn = self._drawn.pop(index, ()) if self._has_logprobs else ()
        logprobs = logprobs_of(drawn).model_dump() if drawn else None
        return self._sent({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish})


def _call_delta(index: int, call: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"index": index} | call]}


router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    response_model_exclude_unset=True,
    responses={200: {"content": {EVENT_STREAM: EVENTS}}},
)
async def create_chat_completion(body: ChatRequest, request: Request) -> Response | ChatCompletion:
    """Answer a conversation."""
    desk: Desk = request.app.state.desk
    answers = request.state.visit.answers = await desk.answer(body.ask())
    if body.stream:
        return Stream(answers, ChatWriter(answers, body))
    return completion_of(answers, await answers.whole(request.receive), has_logprobs=bool(body.logprobs))
