"""OpenAI's responses, the addresses: `POST /v1/responses`, at once or as a stream, and what is kept of them.

Format: platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from qwq_local.errors import QwqError
from qwq_local.server.answers import Answers, Ask
from qwq_local.server.desk import Desk
from qwq_local.server.errors import ApiError, as_api_error
from qwq_local.server.json_body import JsonRoute
from qwq_local.server.responses.asked import ResponseRequest
from qwq_local.server.responses.input import items_of
from qwq_local.server.responses.items import HistoryItem
from qwq_local.server.responses.store import Kept, ResponseStore
from qwq_local.server.responses.told import Response, begun
from qwq_local.server.responses.writer import Output, ResponseWriter
from qwq_local.server.streaming import EVENT_STREAM, EVENTS, Stream
from qwq_local.server.told import Told

_STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The response, or its events as they come", "content": {EVENT_STREAM: EVENTS}}
}


class Deleted(Told):
    """That a response is not kept any more."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ItemList(Told):
    """Some of the items that a response answers."""

    object: Literal["list"]
    data: list[HistoryItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


class RetrieveQuery(BaseModel):
    """How a response is shown: as it is, whole. `include_obfuscation` goes with streams."""

    model_config = ConfigDict(extra="forbid")

    stream: bool = False
    include_obfuscation: bool = False

    @field_validator("stream")
    @classmethod
    def _whole_only(cls, stream: bool) -> bool:
        if stream:
            raise ValueError("what is kept has ended, and is shown whole")
        return stream


class ItemsQuery(BaseModel):
    """Which items are listed: at most `limit`, from behind the item `after`, the latest first unless `order` says otherwise."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])


@router.post("/v1/responses", response_model=Response, responses=_STREAMED)
async def create_response(body: ResponseRequest, request: Request) -> Stream | Response:
    """Answer what is asked, behind the conversation that `previous_response_id` ends."""
    desk: Desk = request.app.state.desk
    store: ResponseStore = request.app.state.responses
    previous = body.previous_response_id
    history = () if previous is None else _kept(store, previous, "previous_response").history
    asked = items_of(body.input, store.find_item)
    ask = body.ask(history, asked)
    answers = request.state.visit.answers = await _answered(desk, ask)
    response, output = begun(body, answers.model, desk.defaults), Output(has_logprobs=body.has_logprobs)

    def keep(ended: Response) -> None:
        if ended.store:
            store.put(ended, (*history, *(item for _, item in asked)))

    if body.stream:
        return Stream(answers, ResponseWriter(response, output, keep))
    (whole,) = await answers.whole(request.receive)
    for event in whole.events:
        output.take(event)
    ended = response.ended(output.items, whole.end)
    keep(ended)
    return ended


@router.get("/v1/responses/{response_id}", response_model=Response)
async def show_response(response_id: str, query: Annotated[RetrieveQuery, Query()], request: Request) -> Response:  # noqa: ARG001 - checked
    """A response that is kept."""
    return _kept(request.app.state.responses, response_id).response


@router.delete("/v1/responses/{response_id}", response_model=Deleted)
async def delete_response(response_id: str, request: Request) -> Deleted:
    """Forget a response. Answers that went on from it keep what they were shown."""
    _kept(request.app.state.responses, response_id)
    request.app.state.responses.remove(response_id)
    return Deleted(id=response_id, object="response", deleted=True)


@router.get("/v1/responses/{response_id}/input_items", response_model=ItemList)
async def list_input_items(response_id: str, query: Annotated[ItemsQuery, Query()], request: Request) -> ItemList:
    """What a response answers, the conversation before it included; thoughts are never among it."""
    items = list(_kept(request.app.state.responses, response_id).items)
    if query.order == "desc":
        items.reverse()
    if query.after is not None:
        items = items[_place(items, query.after) + 1 :]
    page = items[: query.limit]
    first_id, last_id = (page[0].id, page[-1].id) if page else (None, None)
    return ItemList(object="list", data=page, first_id=first_id, last_id=last_id, has_more=len(items) > len(page))


async def _answered(desk: Desk, ask: Ask) -> Answers:
    """The desk's answers. Raises ApiError, which calls the messages by the name that they have in this format."""
    try:
        return await desk.answer(ask)
    except QwqError as error:
        told = as_api_error(error)
        if told.param == "messages":
            told.param = "input"
        raise told from error


def _kept(store: ResponseStore, response_id: str, what: str = "response") -> Kept:
    kept = store.find(response_id)
    if kept is None:
        raise ApiError(
            404,
            f"There is no response {response_id[:200]!r}. Unless store is false, one is kept in memory until the server ends, or later "
            f"ones need the room: {store.max_responses:,} are kept at most.",
            code=f"{what}_not_found",
            param=f"{what}_id",
        )
    return kept


def _place(items: list[HistoryItem], item_id: str) -> int:
    for index, item in enumerate(items):
        if item.id == item_id:
            return index
    raise ApiError(400, f"after is {item_id[:200]!r}, which is none of its items.", code="invalid_value", param="after")
