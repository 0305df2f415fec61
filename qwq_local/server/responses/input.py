"""OpenAI's responses, what is asked about: the items of `input`.

Format: platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from qwq_local.server.errors import ApiError
from qwq_local.server.responses.items import (
    FunctionCall,
    FunctionOutput,
    HistoryItem,
    InputMessage,
    InputText,
    ItemStatus,
    OutputMessage,
    OutputText,
    Reasoning,
)
from qwq_local.server.told import new_id
from qwq_local.server.wire import TEXT_ONLY, Wire, unsupported

_KINDS: Final = {
    "message": "Message",
    "function_call": "Call",
    "function_call_output": "Output",
    "reasoning": "Thought",
    "item_reference": "Reference",
}
_FOREIGN: Final = f"an item is one of {', '.join(_KINDS)}, and functions are the only tools there are"

ItemId = Annotated[str, Field(min_length=1, max_length=512)]


def refuse_type(data: Any, known: Sequence[str], why: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """The data, unless its type is none of those known. Raises PydanticCustomError."""
    kind = data.get("type") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind not in known:
        raise unsupported(kind[:100], why)
    return data


class PartIn(Wire):
    """A piece of text. `annotations`, `logprobs` and `prompt_cache_breakpoint` have no effect."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_only(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        return refuse_type(data, ("input_text", "output_text"), f"{TEXT_ONLY}, in parts of the type input_text or output_text")


class _ItemIn(Wire):
    """What all items have. An item that comes without an id gets one; `status` only counts where a call is incomplete."""

    id: ItemId | None = None
    status: ItemStatus | None = None


class MessageIn(_ItemIn):
    """A message in its easy or its full form. `phase` has no effect: QwQ tells its thought apart by itself."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[PartIn]
    phase: Literal["commentary", "final_answer"] | None = None

    def item(self) -> InputMessage | OutputMessage:
        """As it is kept."""
        item_id = self.id or new_id("msg")
        if self.role == "assistant":
            said = [OutputText(type="output_text", text=text, annotations=[], logprobs=[]) for text in _texts(self.content)]
            return OutputMessage(id=item_id, type="message", role="assistant", status="completed", content=said)
        asked = [InputText(type="input_text", text=text) for text in _texts(self.content)]
        return InputMessage(id=item_id, type="message", role=self.role, status="completed", content=asked)


class CallIn(_ItemIn):
    """A function that was called."""

    refused: ClassVar = {
        "async": "an answer waits for its functions",
        "caller": "only QwQ calls functions",
        "namespace": "functions have no namespaces here",
    }

    type: Literal["function_call"]
    call_id: ItemId
    name: str
    arguments: str

    def item(self) -> FunctionCall:
        """As it is kept."""
        return FunctionCall(
            id=self.id or new_id("fc"),
            type="function_call",
            call_id=self.call_id,
            name=self.name,
            arguments=self.arguments,
            status=self.status or "completed",
        )


class OutputIn(_ItemIn):
    """What a called function gave back. `name` has no effect: the call tells it."""

    refused: ClassVar = {"caller": "only QwQ calls functions", "namespace": "functions have no namespaces here"}

    type: Literal["function_call_output"]
    call_id: ItemId
    output: str | list[PartIn]
    name: str | None = None

    def item(self) -> FunctionOutput:
        """As it is kept."""
        return FunctionOutput(
            id=self.id or new_id("fco"),
            type="function_call_output",
            call_id=self.call_id,
            output="".join(_texts(self.output)),
            status="completed",
        )


class ThoughtIn(_ItemIn):
    """A thought of an earlier answer. It is left out, as QwQ wants it."""

    type: Literal["reasoning"]
    summary: list[dict[str, Any]] | None = None
    content: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


class ReferenceIn(Wire):
    """An item of a response that is kept, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: ItemId


def _texts(content: str | list[PartIn]) -> list[str]:
    return [content] if isinstance(content, str) else [part.text for part in content]


def _kind(data: Any) -> str | None:  # noqa: ANN401 - JSON of any shape
    """Which item this is: a message needs no type, and neither does a reference."""
    if not isinstance(data, dict):
        return None
    kind = data.get("type")
    if kind is None:
        kind = "message" if "role" in data or "content" in data else "item_reference"
    return _KINDS.get(kind) if isinstance(kind, str) else None


def _known(data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if _kind(data):
        return {name: value for name, value in data.items() if name != "type" or value is not None}
    if isinstance(data, dict) and isinstance(data["type"], str):
        raise unsupported(data["type"][:100], _FOREIGN)
    raise ValueError("an item is a JSON object with a type")


ItemIn = Annotated[
    Annotated[MessageIn, Tag("Message")]
    | Annotated[CallIn, Tag("Call")]
    | Annotated[OutputIn, Tag("Output")]
    | Annotated[ThoughtIn, Tag("Thought")]
    | Annotated[ReferenceIn, Tag("Reference")],
    Discriminator(_kind),
    BeforeValidator(_known),
]

FindItem = Callable[[str], HistoryItem | Reasoning | None]


def items_of(asked: str | Sequence[ItemIn], find: FindItem) -> list[tuple[str, HistoryItem]]:
    """What is asked, without thoughts, each item with its place in the request; `find` knows those of the responses that are kept.

    Raises ApiError for a reference to one that is not.
    """
    if isinstance(asked, str):
        return [("input", MessageIn(role="user", content=asked).item())]
    answered = {item.call_id for item in asked if isinstance(item, OutputIn)}
    found: list[tuple[str, HistoryItem]] = []
    for index, item in enumerate(asked):
        place = f"input[{index}]"
        shown = _referred(place, item, find) if isinstance(item, ReferenceIn) else _shown(item, answered)
        if shown is not None:
            found.append((place, shown))
    return found


def _shown(item: MessageIn | CallIn | OutputIn | ThoughtIn, answered: set[str]) -> HistoryItem | None:
    """The item, unless it is a thought, or a call that was broken off, which nobody has answered."""
    if isinstance(item, ThoughtIn):
        return None
    is_broken = isinstance(item, CallIn) and item.status == "incomplete" and item.call_id not in answered
    return None if is_broken else item.item()


def _referred(place: str, reference: ReferenceIn, find: FindItem) -> HistoryItem | None:
    found = find(reference.id)
    if found is None:
        raise ApiError(
            404,
            f"{place} refers to {reference.id[:200]!r}, which is of no response that is kept. Send the item itself.",
            code="item_not_found",
            param=f"{place}.id",
        )
    return None if isinstance(found, Reasoning) else found
