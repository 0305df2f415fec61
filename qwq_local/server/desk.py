"""The model on duty: loaded on demand, exchanged by name, and shared by as many requests as there is room for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import anyio

from qwq_local import card
from qwq_local.errors import LoadError, QwqError
from qwq_local.models.inventory import DEMO, LocalModel, demo_model, local_models
from qwq_local.runtime import QwQ
from qwq_local.server.answers import Answers, Ask, begin
from qwq_local.server.errors import ApiError
from qwq_local.server.names import LATEST, OWN_NAMES, public_name
from qwq_local.server.settings import DeskSettings


class Load(Protocol):
    """Loads a model by its name; the function is told the share that is loaded, 0.0 to 1.0, and may raise to end it."""

    def __call__(self, model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        """Load it. Raises QwqError."""
        ...


@dataclass(frozen=True)
class Health:
    """How things are: `model` is the one that is or will be loaded."""

    status: str
    model: str
    loaded_share: float
    error: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered: an unloaded model is loaded for it."""
        return self.status in ("ok", "unloaded")


class Desk:
    """Hands requests to the model that they name. For one event loop."""

    def __init__(self, settings: DeskSettings, load: Load) -> None:
        self._settings = settings
        self._load = load
        self._qwq: QwQ | None = None
        self._chosen: str | None = None
        self._turn = asyncio.Lock()
        self._loading: asyncio.Task[QwQ] | None = None
        self._wanted: str | None = settings.model
        self._share = 0.0
        self._load_started_at = time.monotonic()
        self._error: QwqError | None = None
        self._n_users = self._n_answers = 0
        self._left = asyncio.Event()
        self._durations: deque[float] = deque([1.0], maxlen=32)
        self._is_closing = False

    @property
    def qwq(self) -> QwQ | None:
        """The loaded model."""
        return self._qwq

    @property
    def n_open(self) -> int:
        """Answers that are written or wait."""
        return self._n_answers

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Options of `QwQ.stream` for requests that don't name them."""
        return self._settings.defaults

    async def start(self) -> None:
        """Load the model that is served unless another is asked for, and wait for it. Raises what loading raises."""
        async with self._turn:
            await asyncio.shield(self._begin_loading(self._settings.model))

    async def answer(self, ask: Ask) -> Answers:
        """Hand in a request. Raises ApiError where there is no such model, no room, or no model yet, and what `QwQ.stream` raises."""
        self._require_room(ask)
        started_at = time.monotonic()
        self._n_answers += ask.n_answers
        try:
            qwq = await self._enter(await self._find(ask.model))
        except BaseException:
            self._n_answers -= ask.n_answers
            raise
        release = partial(self._leave, ask.n_answers, started_at)
        try:
            # In another thread, since it takes a while to read long prompts into tokens.
            streams = await asyncio.to_thread(begin, qwq, ask, self._settings.defaults)
            return Answers(ask, public_name(qwq.model.name), streams, release)
        except BaseException:
            release()
            raise

    async def models(self) -> list[LocalModel]:
        """Those that can be asked for: what is served first."""
        return await asyncio.to_thread(lambda: [*_usable(), demo_model()])

    async def ready(self, name: str = "") -> QwQ:
        """The model of that name, loaded. Raises as `answer` does."""
        qwq = await self._enter(await self._find(name))
        self._leave(0, time.monotonic())
        return qwq

    async def local_name(self, name: str = "") -> str:
        """What the model of that name is called on this machine, loaded or not. Raises ApiError where there is none."""
        found = await self._find(name) or self._chosen
        if found is None:
            raise ApiError(503, "The model is still being chosen.", code="loading", retry_after_seconds=self._seconds_to_load())
        return found

    async def unload(self, name: str = "") -> None:
        """Give the memory of the model of that name back, where it is loaded, as soon as its answers are written. Raises ApiError."""
        local = await self._find(name)
        if self._qwq and self._wanted == local:
            if self._qwq.status is None:
                raise ApiError(409, "The model has no process of its own, and cannot be unloaded.", code="cannot_unload")
            self._qwq.keep(0)

    def health(self) -> Health:
        """How things are now."""
        name = public_name(self._qwq.model.name if self._qwq else self._wanted or card.NAME)
        if self._is_closing:
            return Health("stopping", name, 0.0)
        if self._qwq is None:
            return Health("error" if self._error else "loading", name, self._share, str(self._error or ""))
        status = self._qwq.status
        if status is None or status.state == "ready":
            return Health("ok", name, 1.0)
        states = {"unloaded": "unloaded", "closed": "stopping"}
        return Health(states.get(status.state, "loading"), name, status.loaded_share, str(status.last_error or ""))

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Take no more requests, wait so long for those that run, fail the others, and free the model."""
        self._is_closing = True
        with anyio.move_on_after(grace_seconds):
            while self._n_users:
                self._left.clear()
                await self._left.wait()
        if self._loading:
            await asyncio.wait({self._loading})
        if self._qwq:
            await asyncio.to_thread(self._qwq.close)

    def _require_room(self, ask: Ask) -> None:
        most = self._settings.n_parallel + self._settings.n_queued
        if ask.n_answers > most:
            why = f"{ask.n_answers} answers are asked for, and {most} can be open at once."
            raise ApiError(400, why, code="invalid_value", param=ask.most_by)
        if self._n_answers + ask.n_answers > most:
            raise ApiError(
                429,
                f"{self._n_answers} answers are being written or wait, and {most} can. Try again later.",
                code="queue_full",
                retry_after_seconds=self._expected_wait(),
            )

    def _expected_wait(self) -> float:
        mean = sum(self._durations) / len(self._durations)
        return min(60.0, max(1.0, mean / self._settings.n_parallel))

    async def _find(self, name: str) -> str | None:
        """The local name of what a client asks for; None for what is served unless another is asked for."""
        folded = name.casefold()
        meant = {folded, folded.removesuffix(LATEST)}
        if not folded or not meant.isdisjoint(self._settings.aliases | OWN_NAMES | {self._default_name()}):
            return self._settings.model
        found = next((model.name for model in await self.models() if public_name(model.name).casefold() in meant), None)
        if found is not None:
            return found
        if folded.split(":")[0] in OWN_NAMES:
            return self._settings.model
        raise ApiError(
            404, f"The model {name!r} does not exist. GET /v1/models lists what there is.", code="model_not_found", param="model"
        )

    def _default_name(self) -> str:
        default = self._settings.model or self._chosen
        return public_name(default).casefold() if default else ""

    async def _enter(self, name: str | None) -> QwQ:
        """Join those who use this model; loaded first, where another is, once nobody uses that any more."""
        if self._is_closing:
            raise stopping()
        if self._qwq and self._wanted == name:
            self._n_users += 1
            return self._qwq
        try:
            async with asyncio.timeout(self._settings.load_wait_seconds), self._turn:
                qwq = await self._exchanged(name)
                self._n_users += 1
                return qwq
        except TimeoutError:
            loading = self._loading is not None and not self._loading.done()
            why = f"is loading ({self._share:.0%})" if loading else "is still answering others"
            raise ApiError(
                503,
                f"The model {why}. Try again.",
                code="loading" if loading else "busy",
                retry_after_seconds=self._seconds_to_load() if loading else self._expected_wait(),
            ) from None

    async def _exchanged(self, name: str | None) -> QwQ:
        if self._loading and not self._loading.done():
            await asyncio.wait({self._loading})
        if self._qwq and self._wanted == name:
            return self._qwq
        while self._n_users:
            self._left.clear()
            await self._left.wait()
        if self._is_closing:
            raise stopping()
        return await asyncio.shield(self._begin_loading(name))

    def _begin_loading(self, name: str | None) -> asyncio.Task[QwQ]:
        old, self._qwq = self._qwq, None
        self._wanted, self._share, self._error, self._load_started_at = name, 0.0, None, time.monotonic()
        self._loading = asyncio.create_task(self._exchange(old, name))
        self._loading.add_done_callback(_note_unheard)
        return self._loading

    async def _exchange(self, old: QwQ | None, name: str | None) -> QwQ:
        try:
            if old:
                await asyncio.to_thread(old.close)
            self._qwq = await asyncio.to_thread(self._load, name, on_progress=self._note_progress)
            if name is None:
                self._chosen = self._qwq.model.name
        except QwqError as error:
            self._error = error
            raise
        except Exception as error:
            self._error = LoadError(f"The model cannot be loaded: {error!r}.")
            raise self._error from error
        return self._qwq

    def _note_progress(self, share: float) -> None:
        """Called in the thread that loads."""
        self._share = share
        if self._is_closing:
            raise LoadError("Loading was interrupted.")

    def _seconds_to_load(self) -> float:
        passed = time.monotonic() - self._load_started_at
        return min(60.0, passed * (1 - self._share) / self._share) if self._share > 0 else 5.0

    def _leave(self, n_answers: int, started_at: float) -> None:
        self._n_users -= 1
        self._n_answers -= n_answers
        if n_answers:
            self._durations.append(time.monotonic() - started_at)
        self._left.set()


def stopping() -> ApiError:
    """What is told to requests that come too late."""
    return ApiError(503, "The server is stopping.", code="stopping", retry_after_seconds=10)


def _usable() -> Sequence[LocalModel]:
    return [model for model in local_models() if not model.problem and model.name != DEMO]


def _note_unheard(task: asyncio.Task[QwQ]) -> None:
    """Who waited for it may have gone: then nobody would fetch its error, which `health` tells anyway."""
    if not task.cancelled():
        task.exception()
