"""The page's own format, the addresses: `/chats` and all below it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from qwq_local.history import Chat, to_json, to_markdown
from qwq_local.server.chats.asked import Again, Changes, NewChat, Question
from qwq_local.server.chats.room import ChatRoom
from qwq_local.server.chats.told import Begun, ChatTold, ListTold, chat_told, list_told
from qwq_local.server.errors import ApiError
from qwq_local.server.guard import Visit
from qwq_local.server.streaming import EVENT_STREAM, EVENTS, sent_event

router = APIRouter(tags=["chats"])


BEING_WRITTEN: Final[dict[int | str, dict[str, Any]]] = {
    409: {"description": "An answer is being written in this chat", "content": {"application/json": {"schema": {"type": "object"}}}}
}


@router.get("/chats", response_model=ListTold)
async def list_chats(
    request: Request,
    search: Annotated[str, Query(max_length=1000)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[float | None, Query(description="Only chats changed before, in seconds since 1970")] = None,
    before_id: Annotated[str, Query(max_length=1000, description="Also those changed just then, whose id comes before this")] = "",
) -> ListTold:
    """The chats, the latest first; with `search`, those that say all its words."""
    history, owner = _room(request).history, _owner(request) or None
    if search.strip():
        found = await asyncio.to_thread(history.search, search, limit=limit + 1, owner=owner)
        return list_told(found, limit, history.notices, history.problem)
    chats = await asyncio.to_thread(history.latest, limit=limit + 1, before=before, before_id=before_id, owner=owner)
    return list_told(chats, limit, history.notices, history.problem)


@router.post("/chats", status_code=201, response_model=Begun)
async def begin_chat(asked: NewChat, request: Request) -> Begun:
    """Begin a chat; its answer is then written whether anybody looks on or not."""
    return await _room(request).begin(asked, _owner(request))


@router.get("/chats/{chat_id}", response_model=ChatTold)
async def show_chat(chat_id: str, request: Request) -> ChatTold:
    """A chat with all its branches."""
    return chat_told(await _chat(request, chat_id))


@router.patch("/chats/{chat_id}", response_model=ChatTold)
async def change_chat(chat_id: str, changes: Changes, request: Request) -> ChatTold:
    """Change its title, its system message or its options, or look at another branch."""
    history, chat = _room(request).history, await _chat(request, chat_id)

    def change() -> Chat:
        if changes.leaf_id is not None:  # first, since there may be no such message: then nothing is changed
            history.set_leaf(chat.id, changes.leaf_id)
        if changes.title is not None:
            history.rename(chat.id, changes.title)
        if changes.system is not None:
            history.set_system(chat.id, changes.system)
        if changes.options is not None:
            history.set_options(chat.id, changes.options.chosen())
        return history.get(chat.id)

    return chat_told(await asyncio.to_thread(change))


@router.delete("/chats/{chat_id}", status_code=204, responses=BEING_WRITTEN)
async def delete_chat(chat_id: str, request: Request) -> Response:
    """Away with it; an answer that is being written in it is stopped."""
    await _room(request).delete(await _chat(request, chat_id))
    return Response(status_code=204)


@router.post("/chats/{chat_id}/messages", status_code=201, response_model=Begun, responses=BEING_WRITTEN)
async def ask(chat_id: str, asked: Question, request: Request) -> Begun:
    """Ask a question behind a message of the chat: behind the last, or, to edit one, behind that which it followed."""
    return await _room(request).ask(await _chat(request, chat_id), asked)


@router.post("/chats/{chat_id}/messages/{question_id}/answers", status_code=201, response_model=Begun, responses=BEING_WRITTEN)
async def ask_again(chat_id: str, question_id: int, asked: Again, request: Request) -> Begun:
    """Have a question answered once more, beside the answers that it has."""
    return await _room(request).ask_again(await _chat(request, chat_id), question_id, asked)


@router.get("/chats/{chat_id}/events", response_class=Response, responses={200: {"content": {EVENT_STREAM: EVENTS}}})
async def events(chat_id: str, request: Request) -> Response:
    """What is being written in the chat: all of it so far (`state`), what comes (`think`, `say`, `note`), and `end`; or `idle`."""
    chat = await _chat(request, chat_id)
    writing = _room(request).writing(chat.id)
    if writing is None:
        return Response(sent_event({}, "idle"), media_type=EVENT_STREAM)
    return StreamingResponse(writing.events(), media_type=EVENT_STREAM, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


@router.post("/chats/{chat_id}/stop", status_code=204, responses=BEING_WRITTEN)
async def stop(chat_id: str, request: Request) -> Response:
    """Stop the answer that is being written; what it said so far is kept."""
    await _room(request).stop((await _chat(request, chat_id)).id)
    return Response(status_code=204)


@router.post("/chats/{chat_id}/answer-now", status_code=204)
async def answer_now(chat_id: str, request: Request) -> Response:
    """Have the answer that is being written stop thinking, and answer."""
    if writing := _room(request).writing((await _chat(request, chat_id)).id):
        writing.answer_now()
    return Response(status_code=204)


@router.get("/chats/{chat_id}/export", response_class=Response, responses={200: {"content": {"application/json": {}, "text/markdown": {}}}})
async def export(chat_id: str, request: Request, format: Literal["markdown", "json"] = "markdown") -> Response:  # noqa: A002 - as it is asked
    """The chat as a file: the branch that is looked at as Markdown, or all of it as JSON."""
    chat = await _chat(request, chat_id)
    named = {"Content-Disposition": f'attachment; filename="chat-{chat.id}.{"md" if format == "markdown" else "json"}"'}
    if format == "json":
        return JSONResponse(to_json(chat), headers=named)
    return Response(to_markdown(chat), media_type="text/markdown", headers=named)


def _room(request: Request) -> ChatRoom:
    room: ChatRoom | None = request.app.state.chats
    if room is None:
        raise ApiError(404, "This server keeps no chats.", code="no_chats")
    return room


def _owner(request: Request) -> str:
    visit: Visit = request.state.visit
    return visit.owner


async def _chat(request: Request, chat_id: str) -> Chat:
    return await _room(request).get(chat_id, _owner(request))
