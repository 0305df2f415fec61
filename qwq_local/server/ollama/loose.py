"""Ollama's API, how its bodies come: also as curl sends them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from qwq_local.server.json_body import JsonRoute

CURL_TYPES: Final = ("", "application/x-www-form-urlencoded")
"""What `curl -d` says of a body of JSON. A form on a page cannot send such a one with this type: it writes %7B for a brace."""


class LooseRoute(JsonRoute):
    """A route that takes what curl sends for JSON too, as Ollama does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, told that it gets JSON."""
        handle = super().get_route_handler()

        async def loosely(request: Request) -> Response:
            if request.headers.get("content-type", "") not in CURL_TYPES:
                return await handle(request)
            headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
            scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
            return await handle(Request(scope, request.receive))

        return loosely
