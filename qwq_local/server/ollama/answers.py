"""Ollama's API, what is answered: `POST /api/chat` and `POST /api/generate`, as lines of JSON or at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, Unpack

from fastapi import APIRouter, Request
from starlette.responses import Response

from qwq_local.answering import Gathered
from qwq_local.engine import Answering, Drawn, Event, Failed, Finished, Thinking, ToolCallDelta, ToolCallDropped, ToolCallStarted
from qwq_local.runtime import QwQ
from qwq_local.server.desk import Desk
from qwq_local.server.errors import ApiError, as_api_error, error_body
from qwq_local.server.names import public_name
from qwq_local.server.ollama.asked import ChatRequest, GenerateRequest, OllamaRequest
from qwq_local.server.ollama.lines import Begun, ChatLine, GenerateLine, Piece, Said, calls_of, chat_piece, generate_piece
from qwq_local.server.ollama.loose import LooseRoute
from qwq_local.server.ollama.spelling import rfc3339, stay_seconds, tagged
from qwq_local.server.streaming import Stream, Writer, as_json

LINES: Final = "application/x-ndjson"
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {LINES: {"schema": {"type": "string"}}}},
    409: {"description": "The model cannot be unloaded", "content": {"application/json": {"schema": {"type": "object"}}}},
}


class LineWriter(Writer):
    """Writes an answer as lines of JSON. A tool call is told when it is whole: with what follows it."""

    media_type = LINES

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._drawn: list[Drawn] = []
        self._calls = Gathered()
        self._n_told = 0

    def keep_alive(self) -> bytes:
        """An empty line of an answer: the format has no comments."""
        return _sent(self._begun.line())

    def write(self, index: int, event: Event) -> bytes:  # noqa: ARG002 - there is one answer
        """A line for each event that the format has one for."""
        match event:
            case Drawn():
                self._drawn.append(event)
            case Thinking(text):
                return self._line(thinking=text)
            case ToolCallStarted():
                calls = self._whole_calls()
                self._calls.add(event)
                return calls
            case ToolCallDelta() | ToolCallDropped():
                self._calls.add(event)
            case Answering(text):
                return self._whole_calls() + self._line(content=text)
            case Finished():
                return self._whole_calls() + _sent(self._begun.last_line(event, self._drawn))
            case Failed(error):
                return _sent(error_body("ollama", as_api_error(error)))
        return b""

    def _whole_calls(self) -> bytes:
        told = calls_of(self._calls.tool_calls, self._n_told)
        self._n_told += len(told)
        self._calls = Gathered()
        return self._line(calls=told) if told else b""

    def _line(self, **said: Unpack[Said]) -> bytes:
        drawn, self._drawn = self._drawn, []
        return _sent(self._begun.line(drawn, **said))


def _sent(line: dict[str, Any]) -> bytes:
    return f"{as_json(line)}\n".encode()


router = APIRouter(route_class=LooseRoute, tags=["Ollama"])


@router.post("/api/chat", response_model=ChatLine, response_model_exclude_unset=True, responses=_ANSWERS)
async def chat(body: ChatRequest, request: Request) -> Response | dict[str, Any]:
    """Answer a conversation."""
    return await _answer(body, chat_piece, request) if body.messages else await _load_or_unload(body, chat_piece, request)


@router.post("/api/generate", response_model=GenerateLine, response_model_exclude_unset=True, responses=_ANSWERS)
async def generate(body: GenerateRequest, request: Request) -> Response | dict[str, Any]:
    """Answer a prompt."""
    return await _answer(body, generate_piece, request) if body.prompt else await _load_or_unload(body, generate_piece, request)


async def _answer(body: ChatRequest | GenerateRequest, piece: Piece, request: Request) -> Response | dict[str, Any]:
    asked_at = time.perf_counter_ns()
    desk: Desk = request.app.state.desk
    ask = body.ask()
    if body.options and body.options.num_ctx:
        _require_context(body.options.num_ctx, await desk.ready(body.model or ""))
    answers = request.state.visit.answers = await desk.answer(ask)
    if body.keep_alive is not None and desk.qwq:
        # Only now: an idle model that is to stay for no time would go before it is asked.
        desk.qwq.keep(stay_seconds(body.keep_alive))
    begun = Begun(answers, piece, asked_at, time.perf_counter_ns() - asked_at, bool(body.logprobs))
    if body.stream is not False:
        return Stream(answers, LineWriter(begun))
    (whole,) = await answers.whole(request.receive)
    found = whole.found
    return begun.last_line(whole.end, whole.drawn, content=found.content, thinking=found.reasoning, calls=calls_of(found.tool_calls))


async def _load_or_unload(body: OllamaRequest, piece: Piece, request: Request) -> dict[str, Any]:
    """What a request is for that asks nothing."""
    desk: Desk = request.app.state.desk
    if body.unloads:
        await desk.unload(body.model or "")
    else:
        qwq = await desk.ready(body.model or "")
        if body.options and body.options.num_ctx:
            _require_context(body.options.num_ctx, qwq)
        await asyncio.to_thread(qwq.wake)
        if body.keep_alive is not None:
            qwq.keep(stay_seconds(body.keep_alive))
    name = tagged(public_name(await desk.local_name(body.model or "")))
    told = {"model": name, "created_at": rfc3339(time.time()), "done": True, "done_reason": "unload" if body.unloads else "load"}
    return told | piece()


def _require_context(wanted: int, qwq: QwQ) -> None:
    """Raise ApiError where a longer context is wanted than the loaded one."""
    if wanted > qwq.n_ctx:
        longest = qwq.model.longest_ctx
        more = f"Start the server with more: qwq serve --ctx {min(wanted, longest)}" if qwq.n_ctx < longest else "The model reads no more"
        raise ApiError(
            400,
            f"options.num_ctx is {wanted:,}, and the model is loaded with a context of {qwq.n_ctx:,} tokens. {more}.",
            code="context_length_exceeded",
            param="options.num_ctx",
        )
