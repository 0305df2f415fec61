"""Ollama's API, what models there are: `GET /api/tags`, `POST /api/show`, `GET /api/ps`, `GET /api/version`.

Format: github.com/ollama/ollama, docs/api.md and api/types.go. What Ollama does with files, the command line does here; that is said.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import APIRouter, Request

from qwq_local.errors import ModelFileError, ModelNotFoundError
from qwq_local.gguf import GgufArray, Value, read_header
from qwq_local.models.elsewhere import content_sha256
from qwq_local.models.inventory import LocalModel
from qwq_local.models.record import read_record
from qwq_local.models.store import find_local
from qwq_local.server.desk import Desk
from qwq_local.server.errors import ApiError
from qwq_local.server.names import public_name
from qwq_local.server.ollama.asked import ShowRequest
from qwq_local.server.ollama.loose import LooseRoute
from qwq_local.server.ollama.spelling import rfc3339, short_count, tagged
from qwq_local.server.told import Told
from qwq_local.settings import Sampling

FOLLOWED_VERSION: Final = "0.12.11"
"""The version of Ollama whose API is spoken here, log-probabilities being the last of it. Some clients refuse to work with older ones."""
_FOREVER_SECONDS: Final = 2**63 / 1e9
"""What Ollama adds to now where a model is never unloaded: Go's longest duration."""
_PATHS: Final = ("quantize.imatrix.file", "quantize.imatrix.dataset")
"""Metadata that are paths on the machine where the file was made."""
_INSTEAD: Final = {
    "pull": "Models are not pulled over HTTP. Run: qwq pull",
    "push": "Models are not sent anywhere.",
    "create": "Models are not made over HTTP. Run: qwq convert",
    "copy": "Models are not copied. Another name for one: qwq serve --alias NAME",
    "delete": "Models are not deleted over HTTP. Run: qwq rm NAME",
    "embed": "QwQ answers, and makes no embeddings. Use a model that was made for them.",
    "embeddings": "QwQ answers, and makes no embeddings. Use a model that was made for them.",
    "blobs/{digest}": "Files are not taken over HTTP. Put them into the folder of models, or run: qwq pull",
}


class ModelDetails(Told):
    """What kind of model it is."""

    parent_model: str
    format: Literal["gguf"]
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class ModelTold(Told):
    """A model.

    `digest` is the recorded SHA-256 of its file, or else that of its name, size and time of change, which tell versions apart too.
    """

    name: str
    model: str
    size: int
    digest: str
    details: ModelDetails


class ModelListed(ModelTold):
    """A model on this machine."""

    modified_at: str


class ModelRunning(ModelTold):
    """A model that is loaded: `size` is what it takes of all memory, `size_vram` of the GPUs'."""

    expires_at: str
    size_vram: int
    context_length: int


class TagsTold(Told):
    """The models on this machine."""

    models: list[ModelListed]


class RunningTold(Told):
    """The loaded model, if there is one."""

    models: list[ModelRunning]


class ShowTold(Told):
    """What a model's file says of it."""

    license: str
    parameters: str
    template: str
    details: ModelDetails
    model_info: dict[str, Any]
    capabilities: list[Literal["completion", "tools", "thinking"]]
    modified_at: str


class VersionTold(Told):
    """The version of Ollama whose API is spoken here."""

    version: str


router = APIRouter(route_class=LooseRoute, tags=["Ollama"])


@router.head("/api/tags", include_in_schema=False)
@router.get("/api/tags", response_model=TagsTold)
async def tags(request: Request) -> TagsTold:
    """List the models on this machine, the loaded one first."""
    desk: Desk = request.app.state.desk
    models = [await _on_duty(desk), *await desk.models()]
    by_name: dict[str, LocalModel] = {}
    for model in filter(None, models):
        by_name.setdefault(tagged(public_name(model.name)), model)
    told = await asyncio.to_thread(lambda: [_listed(name, model) for name, model in by_name.items()])
    return TagsTold(models=[model for model in told if model])


@router.get("/api/ps", response_model=RunningTold)
async def running(request: Request) -> RunningTold:
    """List the loaded model."""
    desk: Desk = request.app.state.desk
    qwq, model = desk.qwq, await _on_duty(desk)
    status = qwq.status if qwq else None
    if not qwq or not model or (status and status.state != "ready"):
        return RunningTold(models=[])
    told = await asyncio.to_thread(_told, tagged(public_name(model.name)), model)
    stays_seconds = status.stays_seconds if status else None
    host, *gpus = (device.total_bytes for device in qwq.plan.placement.memory)
    taken = {"size": host + sum(gpus), "size_vram": sum(gpus), "context_length": qwq.n_ctx}
    expires_at = rfc3339(time.time() + (_FOREVER_SECONDS if stays_seconds is None else stays_seconds))
    return RunningTold(models=[ModelRunning.model_validate(told | taken | {"expires_at": expires_at})] if told else [])


@router.post("/api/show", response_model=ShowTold)
async def show(body: ShowRequest, request: Request) -> ShowTold:
    """Show what a model's file says of it."""
    desk: Desk = request.app.state.desk
    name = await desk.local_name(body.model or body.name or "")
    try:
        return await asyncio.to_thread(_shown, name, desk.defaults, with_arrays=bool(body.verbose))
    except (OSError, ModelFileError) as error:
        raise ApiError(503, f"The file of {public_name(name)!r} cannot be read. Run: qwq verify", code="model_unavailable") from error


@router.head("/api/version", include_in_schema=False)
@router.get("/api/version", response_model=VersionTold)
async def version() -> VersionTold:
    """Tell which version of Ollama's API is spoken here."""
    return VersionTold(version=FOLLOWED_VERSION)


def _refuse(instead: str) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise ApiError(404, instead, code="not_supported")

    return refuse


for _verb, _text in _INSTEAD.items():
    router.add_api_route(f"/api/{_verb}", _refuse(_text), methods=["HEAD", "GET", "POST", "DELETE"], include_in_schema=False)


async def _on_duty(desk: Desk) -> LocalModel | None:
    """The loaded model, which may be none of those in the usual places; None where there is none, or its file is gone."""
    if not desk.qwq:
        return None
    try:
        return await asyncio.to_thread(find_local, desk.qwq.model.name)
    except ModelNotFoundError:
        return None


def _listed(name: str, model: LocalModel) -> ModelListed | None:
    told = _told(name, model)
    return ModelListed.model_validate(told | {"modified_at": rfc3339(model.path.stat().st_mtime)}) if told else None


def _told(name: str, model: LocalModel) -> dict[str, Any] | None:
    """What `ModelTold` has; None for a file that has gone or been damaged meanwhile."""
    try:
        stamps = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in model.paths)
        details = details_of(model, n_parameters(stamps))
        return {"name": name, "model": name, "size": model.file_bytes, "digest": digest_of(name, stamps), "details": details}
    except (OSError, ModelFileError):
        return None


def digest_of(name: str, stamps: Sequence[tuple[Path, int, int]]) -> str:
    """What tells this version of a model from another, in the form of a SHA-256; files are not read for it."""
    if len(stamps) == 1:
        record = read_record(stamps[0][0])
        known = record.sha256 if record else content_sha256(stamps[0][0])
        if known:
            return known
    return hashlib.sha256(repr((name, [stamp[1:] for stamp in stamps])).encode()).hexdigest()


def details_of(model: LocalModel, parameters: int) -> ModelDetails:
    """The details of a model."""
    return ModelDetails(
        parent_model="",
        format="gguf",
        family="qwen2",
        families=["qwen2"],
        parameter_size=short_count(parameters),
        quantization_level=model.quantization or "unknown",
    )


@lru_cache(maxsize=256)
def n_parameters(stamps: tuple[tuple[Path, int, int], ...]) -> int:
    """The parameters in all files of a model, each of which is given with its size and its time of change. Raises ModelFileError."""
    return sum(math.prod(tensor.shape) for path, _, _ in stamps for tensor in read_header(path).tensors)


def _shown(name: str, defaults: Mapping[str, Any], *, with_arrays: bool) -> ShowTold:
    model = find_local(name)
    header = read_header(model.path, arrays=with_arrays)
    parameters = n_parameters(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in model.paths))
    builtin = (resources.files("qwq_local") / "chat_template.jinja").read_text("utf-8")
    return ShowTold(
        license=" ".join(filter(None, (header.text("general.license", ""), header.text("general.license.link", "")))),
        parameters=_sampling(defaults),
        template=header.text("tokenizer.chat_template", "") or builtin,
        details=details_of(model, parameters),
        model_info={key: _plain(key, value) for key, value in header.metadata.items()} | {"general.parameter_count": parameters},
        capabilities=["completion", "tools", "thinking"],
        modified_at=rfc3339(model.path.stat().st_mtime),
    )


def _sampling(defaults: Mapping[str, Any]) -> str:
    """How answers are drawn that don't say, as lines of a Modelfile."""
    names = ("temperature", "top_k", "top_p", "min_p", "presence_penalty")
    values = {name: defaults.get(name, getattr(Sampling, name)) for name in names}
    if "max_tokens" in defaults:
        values["num_predict"] = defaults["max_tokens"]
    return "\n".join(f"{name:<30} {value}" for name, value in values.items())


def _plain(key: str, value: Value) -> object:
    """A metadata value as JSON can hold it: null for what is left out, and for what is no number."""
    if isinstance(value, GgufArray):
        return None if value.items is None else [_plain("", item) for item in value.items]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if key in _PATHS and isinstance(value, str):
        return value.replace("\\", "/").rsplit("/", 1)[-1]
    return value
