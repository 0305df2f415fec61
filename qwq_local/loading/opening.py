"""From settings to a model that answers: planned, loaded, and run by an engine, in a thread or in a process of its own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from qwq_local.backend import Rope, Vocabulary
from qwq_local.configuration import find_folders
from qwq_local.engine import Engine, EngineSettings, PrefixShelf
from qwq_local.errors import LoadError
from qwq_local.llama import FileVocabulary, LlamaBackend, LoadListener, cpu_build
from qwq_local.loading.backends import open_backend
from qwq_local.loading.plan import LoadPlan, plan_load
from qwq_local.machine import hardware
from qwq_local.settings import LoadSettings
from qwq_local.worker import EngineClient, Supervisor, Worker, call_apart

SPILL_SHARE, MOST_SPILL_BYTES = 8, 8 * 2**30
"""The part of the free RAM that may hold what had to leave the KV cache, and the most of it."""
SHELF_BYTES = 4 * 2**30
"""Disk for the chats of one model."""
CLOSING_SECONDS, SHELVING_SECONDS = 5.0, 60.0
"""How long a process has to close: without writing chats to disk, and with it."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Serving:
    """How an engine lives on: whether chats are kept on disk when it is closed, and after how many idle seconds it is unloaded."""

    keeps_chats: bool = False
    idle_seconds: float | None = None


@dataclass(frozen=True)
class OpenModel:
    """A model that answers, in a thread or in a process of its own; `n_ctx` counts the tokens that prompt and answer fill together.

    `supervisor` is the engine, where that has a process.
    """

    plan: LoadPlan
    n_ctx: int
    vocabulary: Vocabulary
    chat_template: str | None
    engine: EngineClient
    close: Callable[[], None]
    supervisor: Supervisor | None = None


def apart(work: Callable[[threading.Event], Made], discard: Callable[[Made], None]) -> Made:
    """Do work in a thread of its own, so that Ctrl-C reaches Python: raised in a function that C calls, it would be lost.

    After Ctrl-C the event is set, the work awaited and what it made discarded.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work, stop)
        try:
            wait([future])
        except KeyboardInterrupt:
            stop.set()
            wait([future])
            if future.exception() is None:
                discard(future.result())
            raise
    return future.result()


def _first_rope(settings: LoadSettings) -> Rope:
    return "yarn" if settings.rope == "yarn" else "native"


def engine_settings(plan: LoadPlan, settings: LoadSettings, serving: Serving) -> EngineSettings:
    """How the model is shared, and where its chats are kept: in a folder of this file, this cache and this llama.cpp."""
    shelf = None
    if serving.keeps_chats:
        status = plan.file.path.stat()
        cache = (plan.placement.kv_type, plan.tuning.flash_attention)
        kept_for = (plan.file.path.name, status.st_size, status.st_mtime_ns, *cache, cpu_build())
        key = hashlib.sha256(repr(kept_for).encode()).hexdigest()[:16]
        shelf = PrefixShelf(find_folders().cache / "chats" / key, SHELF_BYTES)
    return EngineSettings(settings.n_parallel, spill_bytes=_spill_bytes(), shelf=shelf, speculates=settings.speculates)


def _spill_bytes() -> int:
    try:
        return min(MOST_SPILL_BYTES, hardware.ram_bytes()[1] // SPILL_SHARE)
    except OSError:  # nobody knows what is free: then nothing is taken
        return 0


def open_here(name: str | None, settings: LoadSettings, on_progress: LoadListener | None, serving: Serving) -> OpenModel:
    """Plan, and load into this process. Raises what `plan_load` raises, LoadError, and what `on_progress` raises."""

    def load(stop: threading.Event) -> tuple[LoadPlan, LlamaBackend]:
        def goes_on(share: float) -> None:
            if stop.is_set():
                raise LoadError("Loading was interrupted.")
            if on_progress:
                on_progress(share)

        plan = plan_load(name, settings)
        return plan, open_backend(plan, _first_rope(settings), goes_on)

    plan, backend = apart(load, lambda made: made[1].close())
    with ExitStack() as undo:
        undo.callback(backend.close)
        worker = Worker(backend, partial(Engine, settings=engine_settings(plan, settings, serving)))
        undo.pop_all()
    return OpenModel(plan, backend.n_ctx, backend.vocabulary, backend.chat_template, worker, worker.close)


def open_in_process(name: str | None, settings: LoadSettings, on_progress: LoadListener | None, serving: Serving) -> OpenModel:
    """Plan, and load into a process of its own, which is ended after `idle_seconds` without requests and started again on demand.

    Nothing here asks a GPU for anything, since that would take some of its memory for as long as this process lives. Raises what
    `plan_load` raises, LoadError, WorkerDiedError, and what `on_progress` raises.
    """
    plan = call_apart(partial(plan_load, name, settings))
    # It may be loaded again when the current folder is another.
    plan = replace(plan, file=plan.file.absolute(), draft=plan.draft and replace(plan.draft, file=plan.draft.file.absolute()))
    with ExitStack() as stack:
        supervisor = Supervisor(
            partial(open_backend, plan, _first_rope(settings)),
            make_engine=partial(Engine, settings=engine_settings(plan, settings, serving)),
            idle_seconds=serving.idle_seconds,
            grace_seconds=SHELVING_SECONDS if serving.keeps_chats else CLOSING_SECONDS,
        )
        stack.callback(supervisor.close)
        supervisor.load(on_progress)
        # Only now: a file that llama.cpp dies of has ended the other process.
        vocabulary = FileVocabulary(plan.file.path)
        stack.callback(vocabulary.close)
        n_ctx, template = plan.placement.n_ctx, vocabulary.chat_template
        return OpenModel(plan, n_ctx, vocabulary, template, supervisor, stack.pop_all().close, supervisor)
