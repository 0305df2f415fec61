"""A request's JSON: read strictly, and not without end."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.responses import Response

from qwq_local.server.errors import ApiError

MAX_SCHEMA_DEPTH: Final = 64
MAX_VALUES: Final = 100_000

Nested = TypeVar("Nested")


def check_depth(name: str, schema: Nested) -> Nested:
    """The schema. Raises ApiError where it is nested more deeply than any that people write."""
    level: list[object] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return schema
    raise ApiError(400, f"{name} is nested more than {MAX_SCHEMA_DEPTH} levels deep.", code="invalid_value", param=name)


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _check_size(data: object) -> None:
    """Raise ApiError for a number that no float holds, and for more values than a check of their types should complain of one by one.

    The tokens of a prompt are not counted: their check ends at the first that is none.
    """
    nodes = [{name: value for name, value in data.items() if name != "prompt"} if isinstance(data, dict) else data]
    n_nodes = 0
    while nodes:
        n_nodes += len(nodes)
        if n_nodes > MAX_VALUES:
            raise ApiError(400, f"The body has more than {MAX_VALUES:,} values.", code="invalid_value")
        if any(isinstance(node, float) and not math.isfinite(node) for node in nodes):
            raise ApiError(400, "The body has a number that is too large.", code="invalid_json")
        nodes = [child for node in nodes for child in _children(node)]


class JsonRequest(Request):
    """A request whose JSON is read strictly: UTF-8 only, no NaN, not nested without end."""

    async def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The body. Raises ApiError."""
        if not hasattr(self, "_json"):
            try:
                self._json = from_json(await self.body(), allow_inf_nan=False)
            except ValueError as error:
                raise ApiError(400, f"The body is no valid JSON: {error}.", code="invalid_json") from error
            _check_size(self._json)
        return self._json


class JsonRoute(APIRoute):
    """A route that reads its body so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a request of ours."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return strictly
