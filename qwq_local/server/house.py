"""The addresses that belong to no vendor's format: health, models, metrics, and the page."""

from __future__ import annotations

from importlib import resources
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, JSONResponse, Response

from qwq_local import card
from qwq_local.server.desk import Desk
from qwq_local.server.errors import ApiError
from qwq_local.server.metrics import Metrics
from qwq_local.server.names import public_name
from qwq_local.server.told import Told, now

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify"
)
"""Nothing from elsewhere, nothing inline, and no HTML but what DOMPurify has looked through."""

router = APIRouter(tags=["qwq-local"])


class HealthTold(Told):
    """How things are; `loaded_share` goes from 0.0 to 1.0."""

    status: Literal["ok", "loading", "unloaded", "error", "stopping"]
    model: str
    loaded_share: float
    running: int
    waiting: int
    error: str


class ModelTold(Told):
    """A model that can be asked for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsTold(Told):
    """All of them."""

    object: Literal["list"]
    data: list[ModelTold]


@router.get("/health", response_model=HealthTold)
async def health(request: Request) -> Response:
    """200 when a request would be answered, else 503: loading (with its progress), stopping, or an error."""
    desk: Desk = request.app.state.desk
    now_is = desk.health()
    numbers = desk.qwq.snapshot() if desk.qwq else None
    running, waiting = (numbers.running, numbers.waiting) if numbers else (0, desk.n_open)
    told = {**vars(now_is), "running": running, "waiting": waiting}
    return JSONResponse(told, 200) if now_is.is_ready else JSONResponse(told, 503, {"Retry-After": "2"})


@router.get("/v1/models", response_model=ModelsTold)
async def list_models(request: Request) -> ModelsTold:
    """The models on this machine."""
    desk: Desk = request.app.state.desk
    return ModelsTold(object="list", data=[_told(name) for name in await _names(desk)])


@router.get("/v1/models/{model:path}", response_model=ModelTold)
async def show_model(model: str, request: Request) -> ModelTold:
    """One of them."""
    desk: Desk = request.app.state.desk
    found = next((name for name in await _names(desk) if name.casefold() == model.casefold()), None)
    if found is None:
        raise ApiError(404, f"The model {model[:200]!r} does not exist.", code="model_not_found", param="model")
    return _told(found)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    text = (resources.files("qwq_local.server") / "page" / "index.html").read_text("utf-8")
    policies = {"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(text, headers={**policies, "Cache-Control": "no-cache"})


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """The description, to try; FastAPI's own page would fetch its scripts from elsewhere."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="qwq-local",
        swagger_js_url="/swagger/swagger-ui-bundle.js",
        swagger_css_url="/swagger/swagger-ui.css",
        swagger_favicon_url="/swagger/favicon-32x32.png",
    )


async def _names(desk: Desk) -> list[str]:
    """The public names of all models, once each, the loaded one first."""
    loaded = [public_name(desk.qwq.model.name)] if desk.qwq else []
    return list(dict.fromkeys([*loaded, *(public_name(model.name) for model in await desk.models())]))


def _told(name: str) -> ModelTold:
    return ModelTold(id=name, object="model", created=now(), owned_by="Qwen" if name.startswith(card.NAME) else "qwq-local")
