"""A model open while something is done with it, which Ctrl-C ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from qwq_local.errors import LoadError
from qwq_local.llama import LlamaBackend, LoadListener
from qwq_local.loading.opening import apart

Done = TypeVar("Done")


@contextmanager
def opened(open_it: Callable[[LoadListener], LlamaBackend], on_progress: LoadListener) -> Iterator[LlamaBackend]:
    """A model that is loaded, and closed in the end; Ctrl-C ends the loading. Raises what `open_it` and `on_progress` raise."""

    def load(stop: threading.Event) -> LlamaBackend:
        def goes_on(share: float) -> None:
            if stop.is_set():
                raise LoadError("Loading was interrupted.")
            on_progress(share)

        return open_it(goes_on)

    backend = apart(load, lambda made: made.close())
    try:
        yield backend
    finally:
        backend.close()


def interruptibly(backend: LlamaBackend, work: Callable[[], Done]) -> Done:
    """Do work in a thread of its own, whose decode Ctrl-C ends."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work)
        try:
            wait([future])
        except KeyboardInterrupt:
            backend.interrupt()
            wait([future])
            raise
    return future.result()
