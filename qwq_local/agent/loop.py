"""The agent's loop: answer, call the tools that the answer wants called, and answer again with what they gave."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Unpack

from qwq_local.agent.toolbox import Toolbox, ToolResult
from qwq_local.answering import AnswerStream, ToolCall
from qwq_local.asking import AnswerOptions, Tools
from qwq_local.engine import Finished, Progress
from qwq_local.errors import QwqError
from qwq_local.prompt import Message

MAX_ROUNDS: Final = 20
"""How often tools are called before an answer has to do without."""

_REFUSED: Final = ToolResult("The user did not allow this call.", is_error=True)
_INTERRUPTED: Final = ToolResult("The user interrupted before this call was done.", is_error=True)


@dataclass(frozen=True)
class ToolCalled:
    """The answer is complete and wants this tool called."""

    call: ToolCall


@dataclass(frozen=True)
class ToolAnswered:
    """The result of a call, as the model is told of it."""

    call: ToolCall
    result: ToolResult


@dataclass(frozen=True)
class RoundsSpent:
    """Tools were called in so many rounds; the answer that follows calls none."""

    n_rounds: int


AgentEvent = Progress | Finished | ToolCalled | ToolAnswered | RoundsSpent
"""The events of a loop: those of each answer, its Finished included, and the calls between them."""


class Answerer(Protocol):
    """What a loop needs of a `QwQ`."""

    @property
    def n_ctx(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    def stream(self, messages: Sequence[Message], *, tools: Tools | None = None, **options: Unpack[AnswerOptions]) -> AnswerStream:
        """The events of an answer."""
        ...


def run_agent(
    qwq: Answerer,
    history: list[Message],
    toolbox: Toolbox,
    *,
    allow: Callable[[ToolCall], bool],
    max_rounds: int = MAX_ROUNDS,
    **options: Unpack[AnswerOptions],
) -> Generator[AgentEvent]:
    """Answer a conversation, calling tools as often as the answers want it, at most in `max_rounds` rounds.

    What is said is added to `history`, thoughts left out: answers, and a result for each call. That holds too where the loop is left early
    (close the generator then): what was said so far is in it. `allow` is asked before each call. What goes wrong with a call is told to
    the model as its result. `options` and errors are those of `QwQ.stream`.
    """
    tools = toolbox.tools
    for n_rounds in range(max_rounds + 1):
        if n_rounds == max_rounds:
            yield RoundsSpent(n_rounds)
            options = {**options, "tool_choice": "none"}
        end, calls = yield from _answer(qwq, history, tools, options)
        if not calls:
            return
        options = {**options, "seed": end.seed}  # so that the seed of any of its answers gives the whole again
        yield from _call_all(calls, history, toolbox, allow, most_chars=qwq.n_ctx // len(calls))


def _answer(
    qwq: Answerer, history: list[Message], tools: Tools, options: AnswerOptions
) -> Generator[AgentEvent, None, tuple[Finished, tuple[ToolCall, ...]]]:
    """One answer, and the calls that it ends with: none where it was cut short."""
    end: Finished | None = None
    with qwq.stream(list(history), tools=tools, **options) as events:
        try:
            for event in events:
                if isinstance(event, Finished):
                    end = event
                yield event
        finally:
            is_whole = end is not None and end.reason == "stop"
            message = events.gathered.message()
            if not is_whole:
                message.pop("tool_calls", None)
            if message["content"] or "tool_calls" in message:
                history.append(message)
    assert end is not None, "a stream ends in a terminal event"
    return end, events.gathered.tool_calls if is_whole else ()


def _call_all(
    calls: Sequence[ToolCall], history: list[Message], toolbox: Toolbox, allow: Callable[[ToolCall], bool], *, most_chars: int
) -> Generator[AgentEvent]:
    """Each call in turn. A call without a result would confuse the model, so an interrupted one gets one too."""
    unanswered = list(calls)
    try:
        for call in calls:
            yield ToolCalled(call)
            result = _call(call, toolbox, allow).shortened(most_chars)
            history.append(_message(result))
            del unanswered[0]
            yield ToolAnswered(call, result)
    finally:
        history += [_message(_INTERRUPTED) for _ in unanswered]


def _call(call: ToolCall, toolbox: Toolbox, allow: Callable[[ToolCall], bool]) -> ToolResult:
    names = [tool["function"]["name"] for tool in toolbox.tools]
    if call.name not in names:
        return ToolResult(f"There is no tool {call.name!r}. There are: {', '.join(names)}.", is_error=True)
    if not allow(call):
        return _REFUSED
    try:
        return toolbox.call(call.name, call.arguments)
    except QwqError as error:
        return ToolResult(str(error), is_error=True)


def _message(result: ToolResult) -> dict[str, Any]:
    return {"role": "tool", "content": f"Error: {result.text}" if result.is_error else result.text}
