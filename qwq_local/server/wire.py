"""What all wire formats share: how a request's JSON is read and checked, and the fields that several of them have."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, ClassVar, Final, Self

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, from_json
from starlette.responses import Response

from qwq_local.server.errors import ApiError
from qwq_local.settings import MAX_SEED, MAX_STOPS, SAMPLING_RANGES

MAX_SCHEMA_DEPTH: Final = 64
MAX_VALUES: Final = 100_000
MAX_CHOICES: Final = 16

EFFORTS: Final = {"none": 0, "minimal": 512, "low": 2048}
"""Tokens of thought for each `reasoning_effort`; the others leave it free."""
TEXT_ONLY: Final = "QwQ reads and writes text only"


class Wire(BaseModel):
    """A part of a request. What it does not name is refused, and so is what `refused` names, with the reason; null says nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)
    refused: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """As pydantic describes it; but null may stand under any name."""
        described = handler(core_schema)
        handler.resolve_ref_schema(described)["additionalProperties"] = {"type": "null"}
        return described

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if not isinstance(data, dict):
            return data
        for name, why in cls.refused.items():
            if data.get(name) is not None:
                raise unsupported(name, why)
        return {name: value for name, value in data.items() if value is not None}


class Told(BaseModel):
    """A part of an answer."""


def unsupported(name: str, why: str) -> PydanticCustomError:
    """The error for a field, or a value of one, that is known and not supported."""
    return PydanticCustomError("unsupported", "{name} is not supported: {why}.", {"name": name, "why": why})


def ranged(name: str) -> Any:  # noqa: ANN401 - pydantic's Field is typed so
    """A field of `settings.Sampling`, with its range."""
    low, high, hint = SAMPLING_RANGES[name]
    return Field(default=None, ge=low, le=high, description=hint)


class Samplers(Wire):
    """llama.cpp's samplers, by their names in `settings.Sampling`; extensions of every format that allows them."""

    top_k: int | None = ranged("top_k")
    min_p: float | None = ranged("min_p")
    repeat_penalty: float | None = ranged("repeat_penalty")
    penalty_last_n: int | None = ranged("penalty_last_n")
    typical_p: float | None = ranged("typical_p")
    top_n_sigma: float | None = ranged("top_n_sigma")
    xtc_probability: float | None = ranged("xtc_probability")
    xtc_threshold: float | None = ranged("xtc_threshold")
    dynatemp_range: float | None = ranged("dynatemp_range")
    dynatemp_exponent: float | None = ranged("dynatemp_exponent")
    dry_multiplier: float | None = ranged("dry_multiplier")
    dry_base: float | None = ranged("dry_base")
    dry_allowed_length: int | None = ranged("dry_allowed_length")
    dry_penalty_last_n: int | None = ranged("dry_penalty_last_n")
    dry_sequence_breakers: list[str] | None = None
    mirostat: int | None = ranged("mirostat")
    mirostat_tau: float | None = ranged("mirostat_tau")
    mirostat_eta: float | None = ranged("mirostat_eta")

    def sampler_options(self) -> dict[str, Any]:
        """Those that were given, as arguments of `QwQ.stream`."""
        given = {name: getattr(self, name) for name in Samplers.model_fields if getattr(self, name) is not None}
        if "dry_sequence_breakers" in given:
            given["dry_sequence_breakers"] = tuple(given["dry_sequence_breakers"])
        return given


ModelName = Annotated[str, Field(max_length=1000, description="qwq-32b, or a name that GET /v1/models lists")] | None
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
Budget = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
StopText = Annotated[str, Field(min_length=1, max_length=1000)]
Stops = Annotated[list[StopText], Field(max_length=MAX_STOPS)]
Schema = dict[str, Any]


def folded_seed(seed: int | None) -> int | None:
    """A seed of 64 bits as one of llama.cpp's."""
    return None if seed is None else seed % (MAX_SEED + 1)


def given(**options: Any) -> dict[str, Any]:  # noqa: ANN401 - options of any type
    """Those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def check_depth(name: str, schema: object) -> None:
    """Raise ApiError where a schema is nested more deeply than any that people write."""
    level = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
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


class Function(Wire):
    """A function that a tool is."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_depth("parameters", self.parameters)
        return self

    def tool(self) -> dict[str, Any]:
        """As QwQ's template and its tool grammar want it."""
        return {"type": "function", "function": self.model_dump(exclude_none=True)}
