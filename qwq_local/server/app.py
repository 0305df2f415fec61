"""The application: routes, their errors, and the guard before them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from qwq_local import __version__
from qwq_local.errors import QwqError
from qwq_local.server import house, machine
from qwq_local.server.anthropic import messages
from qwq_local.server.chats import routes as chats_routes
from qwq_local.server.chats.room import ChatRoom
from qwq_local.server.desk import Desk
from qwq_local.server.errors import as_api_error, error_response, invalid_request
from qwq_local.server.guard import Guard, Visit
from qwq_local.server.metrics import Metrics
from qwq_local.server.ollama import answers, models
from qwq_local.server.openai import chat, completions
from qwq_local.server.page_files import PageFiles
from qwq_local.server.responses import routes as responses
from qwq_local.server.responses.store import ResponseStore
from qwq_local.server.settings import GuardSettings

_STATUSES: Final = {
    400: "What was asked cannot be; `param` names the field",
    401: "No key, or a wrong one",
    403: "A host or an origin that this server does not know",
    404: "No such model",
    408: "The body did not come in time",
    413: "The body is too large",
    429: "Too many answers wait; Retry-After tells when to come back",
    431: "The head is too large",
    500: "A fault of the server",
    503: "The model is loading, or cannot be; Retry-After tells when to come back",
}


def make_app(desk: Desk, chats: ChatRoom, guard: GuardSettings, on_end: Callable[[Visit], None], metrics: Metrics) -> FastAPI:
    """The application that serves a desk, and the chats of its page; `on_end` is told of every request."""
    app = FastAPI(
        title="qwq-local",
        version=__version__,
        summary="QwQ-32B on your own machine, by the APIs that clients know",
        middleware=[*_cross_origin(guard), Middleware(Guard, guard, on_end)],
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        responses={
            status: {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
            for status, text in _STATUSES.items()
        },
    )
    app.state.desk = desk
    app.state.chats = chats
    app.state.metrics = metrics
    app.state.responses = ResponseStore()
    for module in (chat, completions, responses, messages, answers, models, chats_routes, machine, house):
        app.include_router(module.router)
    app.mount("/static", PageFiles(packages=[("qwq_local.server", "page")]), name="static")
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="swagger")
    app.add_exception_handler(RequestValidationError, _refuse)
    for kind in (HTTPException, QwqError):
        app.add_exception_handler(kind, _tell)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _cross_origin(guard: GuardSettings) -> list[Middleware]:
    if not guard.origins:
        return []
    return [Middleware(CORSMiddleware, allow_origins=sorted(guard.origins), allow_methods=["*"], allow_headers=["*"])]


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "it is registered for no other"
    return _answer(request, invalid_request(error.errors()))


async def _tell(request: Request, error: Exception) -> Response:
    return _answer(request, error)


def _answer(request: Request, error: Exception) -> Response:
    told = as_api_error(error)
    visit: Visit = request.state.visit
    visit.error = told.logged
    if told.status_code == 500:
        logging.getLogger("qwq.server").error("request %s failed", visit.id, exc_info=error)
    return error_response(request.url.path, told, visit.id)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description without the 422 that is never sent here."""
    if not app.openapi_schema:
        schema = FastAPI.openapi(app)
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
    return app.openapi_schema or {}
