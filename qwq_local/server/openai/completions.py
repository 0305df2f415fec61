"""OpenAI's older completions: `POST /v1/completions`, a text that is gone on with as it is.

Format: platform.openai.com/docs/api-reference/completions. No template is laid around the prompt, its markers count, and what is drawn is
told as it is: a client that uses this writes QwQ's format itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field, model_validator
from starlette.responses import Response

from qwq_local.engine import Answering, Drawn, Event, Finished
from qwq_local.server.answers import Answers, Ask, Whole
from qwq_local.server.desk import Desk
from qwq_local.server.json_body import JsonRoute
from qwq_local.server.openai.parts import ChunkWriter, OpenAiRequest, TokenUsage, usage_of
from qwq_local.server.streaming import EVENT_STREAM, EVENTS, Stream
from qwq_local.server.told import FINISH, Extension, Told, extension_of, logprob_of, new_id, now
from qwq_local.server.wire import Tokens, given

MAX_PROMPTS = 64
DEFAULT_MAX_TOKENS = 16
"""OpenAI's, which clients that name none rely on."""

PromptTokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]
PromptText = Annotated[str, Field(min_length=1)]


class CompletionRequest(OpenAiRequest):
    """The body. `prompt` is one text, one list of token ids, or several of either."""

    prompt: (
        PromptText
        | PromptTokens
        | Annotated[list[PromptText], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
        | Annotated[list[PromptTokens], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
    )
    max_tokens: Tokens | None = Field(default=None, description=f"{DEFAULT_MAX_TOKENS} by default")
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @model_validator(mode="after")
    def _check(self) -> CompletionRequest:
        if self.echo and (self.logprobs is not None or not all(isinstance(prompt, str) for prompt in self.prompts())):
            raise ValueError("echo goes with prompts that are texts, and not with logprobs: the prompt's own are not measured")
        return self

    def prompts(self) -> list[str | list[int]]:
        """Each prompt."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[*self.prompt]]
        return [*self.prompt]

    def ask(self) -> Ask:
        """As the desk wants it."""
        options = given(max_tokens=self.max_tokens or DEFAULT_MAX_TOKENS, n_logprobs=self.logprobs)
        return Ask(self.model or "", prompts=self.prompts(), options=self.shared_options() | options, n=self.n or 1)

    def echoed(self, index: int) -> str:
        """What stands before the answer of this choice."""
        prompt = self.prompts()[index // (self.n or 1)]
        return prompt if self.echo and isinstance(prompt, str) else ""


class CompletionLogprobs(Told):
    """The drawn tokens, and where each begins in the text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Told):
    """One text."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]


class Completion(Told):
    """All of them."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: TokenUsage
    qwq: Extension


def logprobs_of(drawn: Sequence[Drawn], offset: int = 0) -> CompletionLogprobs:
    """Drawn tokens; `offset` counts the characters that came before."""
    told = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    for token in drawn:
        if not token.piece:
            continue
        one = logprob_of(token)
        told.tokens.append(one.token)
        told.token_logprobs.append(one.logprob)
        told.top_logprobs.append({top.token: top.logprob for top in one.top_logprobs})
        told.text_offset.append(offset)
        offset += len(one.token)
    return told


def completion_of(answers: Answers, wholes: Sequence[Whole], body: CompletionRequest) -> Completion:
    """The answer that was not streamed."""
    ends = [whole.end for whole in wholes]
    choices = [
        CompletionChoice(
            index=index,
            text=body.echoed(index) + whole.found.content,
            logprobs=None if body.logprobs is None else logprobs_of(whole.drawn),
            finish_reason=FINISH[whole.end.reason],
        )
        for index, whole in enumerate(wholes)
    ]
    return Completion(
        id=new_id("cmpl"),
        object="text_completion",
        created=now(),
        model=answers.model,
        choices=choices,
        usage=usage_of(ends, len(body.prompts())),
        qwq=extension_of(ends),
    )


class CompletionWriter(ChunkWriter):
    """Writes a stream of `text_completion`s."""

    id_kind = "cmpl"
    object_name = "text_completion"

    def __init__(self, answers: Answers, body: CompletionRequest) -> None:
        super().__init__(answers, body.stream_options, len(body.prompts()))
        self._body = body
        self._offsets: dict[int, int] = {}

    def open(self) -> bytes:
        """The prompts, where they are wanted back."""
        echoes = ((index, self._body.echoed(index)) for index in range(self._answers.n_choices))
        return b"".join(self._chunk(index, text) for index, text in echoes if text)

    def _told(self, index: int, event: Event) -> bytes:
        match event:
            case Answering(text):
                return self._chunk(index, text)
            case Finished(reason):
                return self._chunk(index, "", FINISH[reason])
        return b""

    def _chunk(self, index: int, text: str, finish: str | None = None) -> bytes:
        drawn = self._drawn.pop(index, ())
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(text)
        logprobs = logprobs_of(drawn, offset).model_dump() if drawn and self._body.logprobs is not None else None
        return self._sent({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish})


router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])


@router.post(
    "/v1/completions",
    response_model=Completion,
    responses={200: {"content": {EVENT_STREAM: EVENTS}}},
)
async def create_completion(body: CompletionRequest, request: Request) -> Response | Completion:
    """Go on with a text."""
    desk: Desk = request.app.state.desk
    answers = request.state.visit.answers = await desk.answer(body.ask())
    if body.stream:
        return Stream(answers, CompletionWriter(answers, body))
    return completion_of(answers, await answers.whole(request.receive), body)
