"""Every error as an answer: a status, a code and the name of the field, in the shape of the API that was asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from http import HTTPStatus
from typing import Any, Final, Literal

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from qwq_local.errors import (
    ChatNotFoundError,
    ContextLengthError,
    HistoryError,
    LoadError,
    ModelClosedError,
    ModelFileError,
    ModelNotFoundError,
    PromptError,
    QwqError,
    SettingsError,
    WorkerDiedError,
)
from qwq_local.settings import AnswerSettings, RaceSettings, Sampling

Dialect = Literal["openai", "anthropic", "ollama"]

_FIELDS: Final = {field.name for kind in (Sampling, AnswerSettings, RaceSettings) for field in fields(kind)}
_OPENAI_TYPES: Final = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_TOLD: Final[Sequence[tuple[type[QwqError], tuple[int, str, float | None]]]] = (
    (ModelNotFoundError, (404, "model_not_found", None)),
    (ChatNotFoundError, (404, "chat_not_found", None)),
    (HistoryError, (507, "history_unavailable", None)),
    (PromptError, (400, "invalid_value", None)),
    (SettingsError, (400, "invalid_value", None)),
    (WorkerDiedError, (503, "worker_died", 2)),
    (ModelClosedError, (503, "stopping", 10)),
    (LoadError, (503, "model_unavailable", None)),
    (ModelFileError, (503, "model_unavailable", None)),
    (QwqError, (500, "decode_failed", None)),
)
"""Status, code and seconds to wait for each kind of error; the first that fits counts."""
PASSING: Final = ("loading", "busy", "queue_full")
"""Codes of refusals that a client may wait for the end of."""
MOST_RIVALS: Final = 100
_UNTOLD: Final = ("body", "query", "path", "function-after", "function-before", "function-wrap")


class ApiError(HTTPException):
    """An error on its way to the client.

    `code` is what programs look at, `param` the field that is wrong; `retry_after_seconds`: it may work when asked again after that.
    `logged` is what the log may know of it, where the message quotes what was asked.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        logged: str | None = None,
    ) -> None:
        headers = {} if retry_after_seconds is None else {"Retry-After": str(max(1, round(retry_after_seconds)))}
        super().__init__(status, message, headers)
        self.code = code
        self.param = param
        self.logged = message if logged is None else logged


def is_passing(error: BaseException) -> bool:
    """Whether it is no fault of what was asked, and may be over soon."""
    return isinstance(error, ApiError) and error.code in PASSING


def dialect_of(path: str) -> Dialect:
    """Which API a path belongs to."""
    if path.startswith("/v1/messages"):
        return "anthropic"
    return "ollama" if path.startswith("/api/") else "openai"


def as_api_error(error: BaseException) -> ApiError:
    """What went wrong, as an answer. What nobody has foreseen becomes a 500 that tells nothing of the inside."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        told = ApiError(error.status_code, _http_message(error))
        told.headers = error.headers
        return told
    if not isinstance(error, QwqError):
        return ApiError(500, "Something went wrong inside. The server's log tells what, under this request's id.", code="internal_error")
    message = " ".join(filter(None, (str(error), error.hint)))
    if isinstance(error, ContextLengthError):
        counts = f"This model's maximum context length is {error.n_ctx} tokens, and the prompt has {error.prompt_tokens} tokens."
        return ApiError(400, f"{counts} {error.hint}", code="context_length_exceeded", param="messages")
    status, code, retry_after_seconds = next(told for kind, told in _TOLD if isinstance(error, kind))
    param = "model" if isinstance(error, ModelNotFoundError) else _param(error)
    return ApiError(status, message, code=code, param=param, retry_after_seconds=retry_after_seconds)


def error_body(dialect: Dialect, error: ApiError, request_id: str = "") -> dict[str, Any]:
    """The JSON of an error, as each API has it."""
    status, message = error.status_code, str(error.detail)
    if dialect == "ollama":
        return {"error": message}
    if dialect == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}


def error_response(path: str, error: ApiError, request_id: str = "") -> JSONResponse:
    """The whole answer."""
    return JSONResponse(error_body(dialect_of(path), error, request_id), error.status_code, error.headers)


def invalid_request(errors: Sequence[Any]) -> ApiError:
    """What a request's check found, told by its first error; `errors` are pydantic's.

    Where a field may be one of several types, the error that got farthest into one of them is told.
    """
    if not errors:
        return ApiError(400, "The request cannot be understood.", code="invalid_value")
    first = errors[0]
    field = _field(first)
    rivals = [error for error in errors[:MOST_RIVALS] if _field(error) == field]
    error = max(rivals, key=lambda rival: (len(rival["loc"]), not rival["type"].endswith("_type")))
    where = _path(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return ApiError(400, f"There is no field {where!r}. Leave it out.", code="unknown_parameter", param=where)
        case "missing" if where:
            return ApiError(400, f"The field {where!r} is missing.", code="missing_required_parameter", param=where)
        case "missing" | "model_attributes_type" if not where:
            return ApiError(400, "The body is no JSON object. Send one, with Content-Type: application/json.", code="invalid_json")
        case "unsupported":
            param = ".".join(filter(None, (where, str(error["ctx"].get("name", "")))))
            return ApiError(400, str(error["msg"]), code="unsupported_parameter", param=param or None)
    what = f"{where or 'The body'}: {error['msg']}."
    return ApiError(400, f"{what} It is {_shown(error.get('input'))}.", code="invalid_value", param=where or None, logged=what)


def _param(error: QwqError) -> str | None:
    """The field that a message begins with, as those of settings.py do."""
    word = str(error).split(" ", 1)[0].replace("-", "_").split("[")[0]
    return word if word in _FIELDS or word in ("messages", "tools", "tool_choice") else None


def _field(error: Mapping[str, Any]) -> str:
    return re.split(r"[.\[]", _path(error["loc"]))[0]


def _path(location: Sequence[str | int]) -> str:
    """`messages[0].content`, as users write it; pydantic puts the names of types among those of fields."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in _UNTOLD and part.isidentifier() and not part[:1].isupper() and part not in ("str", "int", "bool", "list", "dict"):
            path += f".{part}" if path else part
    return path


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _http_message(error: HTTPException) -> str:
    match error.status_code:
        case 404:
            return "There is nothing at this address. /docs lists what there is."
        case 405:
            return "This address does not take this method. /docs lists what there is."
    return str(error.detail or HTTPStatus(error.status_code).phrase)
