"""OpenAI's responses, what is answered: the response itself, from its beginning to its end.

Format: platform.openai.com/docs/api-reference/responses/object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from qwq_local import card
from qwq_local.engine import Finished
from qwq_local.server.errors import ApiError
from qwq_local.server.responses.asked import FunctionTool, ResponseRequest
from qwq_local.server.responses.items import OutputItem
from qwq_local.server.told import Extension, Told, extension_of, new_id, now


class InputDetails(Told):
    """Where the input's tokens came from: what stood in the KV cache, and what was read into it."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Told):
    """What the output's tokens were spent on."""

    reasoning_tokens: int


class ResponseUsage(Told):
    """Counts of tokens."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ErrorTold(Told):
    """What a response was lost to."""

    code: Literal["server_error"]
    message: str


class Incomplete(Told):
    """Why an answer was cut short. OpenAI has no word for one that went round in circles; `qwq.ended_by` tells."""

    reason: Literal["max_output_tokens"]


class ReasoningTold(Told):
    """How long QwQ was asked to think."""

    effort: str | None
    summary: Literal["auto"] | None


class TextTold(Told):
    """What the answer was asked to look like."""

    format: dict[str, Any]
    verbosity: Literal["medium"]


class ToolTold(Told):
    """A function that may be called."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool


class Response(Told):
    """The response, and what was asked for; `qwq` tells what the format has no place for."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False]
    error: ErrorTold | None
    incomplete_details: Incomplete | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ReasoningTold
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: TextTold
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any]
    tools: list[ToolTold]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None
    qwq: Extension | None

    def ended(self, output: Sequence[OutputItem], end: Finished) -> Response:
        """The same with its answer."""
        is_whole = end.reason == "stop"
        usage = end.usage
        return self.model_copy(
            update={
                "status": "completed" if is_whole else "incomplete",
                "completed_at": now() if is_whole else None,
                "incomplete_details": None if is_whole else Incomplete(reason="max_output_tokens"),
                "output": list(output),
                "usage": ResponseUsage(
                    input_tokens=usage.prompt_tokens,
                    input_tokens_details=InputDetails(
                        cached_tokens=usage.cached_tokens, cache_write_tokens=usage.prompt_tokens - usage.cached_tokens
                    ),
                    output_tokens=usage.completion_tokens,
                    output_tokens_details=OutputDetails(reasoning_tokens=usage.reasoning_tokens),
                    total_tokens=usage.total_tokens,
                ),
                "qwq": extension_of([end]),
            }
        )

    def failed(self, output: Sequence[OutputItem], error: ApiError) -> Response:
        """The same, lost."""
        told = ErrorTold(code="server_error", message=str(error.detail))
        return self.model_copy(update={"status": "failed", "error": told, "output": list(output)})


def begun(body: ResponseRequest, model: str, defaults: Mapping[str, Any]) -> Response:
    """A response before its first token; `defaults` are the server's options for requests that don't name them."""
    options = {"temperature": card.TEMPERATURE, "top_p": card.TOP_P, **defaults}
    choice = body.tool_choice or "auto"
    return Response(
        id=new_id("resp"),
        object="response",
        created_at=now(),
        completed_at=None,
        status="in_progress",
        background=False,
        error=None,
        incomplete_details=None,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens or options.get("max_tokens"),
        max_tool_calls=None,
        metadata=body.metadata or {},
        model=model,
        output=[],
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=_reasoning_told(body),
        safety_identifier=body.safety_identifier,
        service_tier="default",
        store=body.store is not False,
        temperature=options["temperature"] if body.temperature is None else body.temperature,
        text=TextTold(format=_format_told(body), verbosity="medium"),
        tool_choice=choice if isinstance(choice, str) else choice.model_dump(),
        tools=[_tool_told(tool) for tool in body.tools or ()],
        top_logprobs=body.top_logprobs or 0,
        top_p=options["top_p"] if body.top_p is None else body.top_p,
        truncation="disabled",
        usage=None,
        user=body.user,
        qwq=None,
    )


def _reasoning_told(body: ResponseRequest) -> ReasoningTold:
    asked = body.reasoning
    return ReasoningTold(effort=asked.effort if asked else None, summary=asked.summary or asked.generate_summary if asked else None)


def _format_told(body: ResponseRequest) -> dict[str, Any]:
    asked = body.text.format if body.text else None
    return asked.model_dump(by_alias=True, exclude_none=True) if asked else {"type": "text"}


def _tool_told(tool: FunctionTool) -> ToolTold:
    return ToolTold(type="function", name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict is True)
