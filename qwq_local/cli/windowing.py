"""`qwq desktop`: the server and the window of its page, which end together."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from qwq_local import card
from qwq_local.cli import serve as serve_command
from qwq_local.cli.first_run import DEMO
from qwq_local.cli.serving import prepare
from qwq_local.cli.terminal import notice, tell_error
from qwq_local.configuration import find_folders, read_configuration
from qwq_local.desktop.instance import announce, joined, only_app, stand_down
from qwq_local.desktop.presence import Presence
from qwq_local.desktop.trouble import tell, words_for
from qwq_local.desktop.window import FAILURE_SECONDS, LOOK_SECONDS, Opener, Window, attend, find_opener
from qwq_local.errors import QwqError
from qwq_local.models.inventory import local_models
from qwq_local.runtime import QwQ
from qwq_local.server.desk import Health, Load
from qwq_local.server.logs import LOGGER
from qwq_local.server.run import serve

HOST: Final = "127.0.0.1"
PORT: Final = 17327
"""Always the same where it is free: a browser keeps the page's settings by its address."""
LOG_NAME: Final = "desktop.log"
LOG_BYTES: Final = 1 << 20
_ENDINGS: Final = (signal.SIGTERM,) if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP)


def run(browser: str | None, options: dict[str, Any]) -> None:
    """Show the page until its window is closed. Raises QwqError, told in a dialog as well where no terminal is."""
    if sys.stderr is not None and sys.stderr.isatty():
        _run(browser, options, find_folders().data / "desktop")
        return
    folder, log = Path(), None
    with ExitStack() as stack:
        try:
            folder = find_folders().data / "desktop"
            log = _log_to(folder, stack)
            _run(browser, options, folder)
        except Exception as error:
            if not isinstance(error, QwqError):
                traceback.print_exc()
            else:
                tell_error(str(error), error.hint)
            tell(words_for(error, log), folder)
            raise


def _run(browser: str | None, options: dict[str, Any], folder: Path) -> None:
    opener = find_opener(browser, folder)
    with only_app(folder, opener.name) as running:
        if running:
            _join(opener, running.address)
            return
        served = serve_command.command.make_context("serve", [], default_map=dict(read_configuration().arguments)).params
        served |= options | {"host": HOST, "port": _port(), "stop_seconds": 0.0}
        served.pop("opens_page")
        served["model"] = served["model"] or _model()
        settings, load = prepare(served)
        LOGGER.setLevel(logging.WARNING)  # not a line for each look of an open page
        app = App(opener, folder, load)
        for name in _ENDINGS:
            signal.signal(name, lambda *_: sys.exit())  # the server ends at them, and then raises them anew: the window is to close first
        with app.ended():
            serve(settings, app.load, app, app.presence.visited)


def _join(opener: Opener, address: str) -> None:
    """Show the page of the app that runs: in the default browser where this one shows nothing."""
    try:
        window = opener.open(address)
        looked_until = time.monotonic() + FAILURE_SECONDS
        while opener.browser and not window.has_closed() and time.monotonic() < looked_until:
            time.sleep(LOOK_SECONDS)
    except QwqError:
        if opener.browser is None:
            raise
        replace(opener, browser=None).open(address)


class App:
    """Opens the window once the server listens, and ends the server once the window is closed."""

    def __init__(self, opener: Opener, folder: Path, load: Load) -> None:
        self.presence = Presence()
        self._opener = opener
        self._folder = folder
        self._load = load
        self._qwq: QwQ | None = None
        self._window: Window | None = None
        self._heeded = 0
        self._failure: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(name="qwq-window")

    def load(self, model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        """Load a model, as the server wants it."""
        self._qwq = self._load(model, on_progress=on_progress)
        return self._qwq

    def listens(self, address: str, stop: Callable[[], None]) -> None:
        """Show the page, while the model is still loading."""
        notice(f"qwq desktop: {address}")
        self._thread = threading.Thread(target=self._show, args=(address, stop), name="qwq-window")
        self._thread.start()

    def is_ready(self, address: str, health: Health) -> None:
        """The page tells."""

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Whatever ends the server closes the window. Raises what kept the window from being shown."""
        try:
            yield
        finally:
            self._stopped.set()
            if self._thread.ident:
                self._thread.join()
            if self._window:
                self._window.close()
        if self._failure:
            raise self._failure

    def _show(self, address: str, stop: Callable[[], None]) -> None:
        try:
            with ExitStack() as ending:
                ending.callback(stop)
                ending.callback(stand_down, self._folder)  # first, so that nobody joins what dies
                self._attend_somewhere(address)
        except Exception as error:  # noqa: BLE001 - raised by whoever waits for the end
            self._failure = error

    def _attend_somewhere(self, address: str) -> None:
        try:
            self._attend(self._opener, address)
        except QwqError:
            if self._opener.browser is None:
                raise
            self._attend(replace(self._opener, browser=None), address)

    def _attend(self, opener: Opener, address: str) -> None:
        heed_others = partial(self._heed_others, opener)
        announce(self._folder, address)
        self._window = opener.open(address)
        self.presence.opened()
        while True:
            attend(self._window, self.presence, heed_others, self._is_busy, self._stopped.wait)
            stand_down(self._folder)
            if self._stopped.is_set() or not heed_others():
                return
            announce(self._folder, address)

    def _heed_others(self, own: Opener) -> bool:
        """Whether any others have joined since the last time; the presence is told of their windows."""
        new = joined(self._folder)[self._heeded :]
        self._heeded += len(new)
        for browser in new:
            self.presence.opened(is_elsewhere=browser != own.name)
        return bool(new)

    def _is_busy(self) -> bool:
        numbers = self._qwq.snapshot() if self._qwq else None
        return numbers is not None and numbers.running + numbers.waiting > 0


def _model() -> str | None:
    """The plan's choice where there is one here, else the demo."""
    has_one = any(model.base == card.NAME and not model.problem for model in local_models())
    return None if has_one else DEMO


def _port() -> int:
    """Ours, or any that is free."""
    with socket.socket() as probe:
        if sys.platform != "win32":  # as the server has it
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError:
            return 0
    return PORT


def _log_to(folder: Path, stack: ExitStack) -> Path | None:
    """Send all that is told to a file, the last two of them kept, until the stack ends; None where there is no room for one."""
    log = folder / LOG_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if log.is_file() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.old"))
        file = stack.enter_context(log.open("a", encoding="utf-8", buffering=1))
    except OSError:
        return None
    stack.callback(setattr, sys, "stderr", sys.stderr)
    sys.stderr = file
    with suppress(OSError):  # where there was none, as in a window's program on Windows
        before = os.dup(2)
        stack.callback(os.close, before)
        stack.callback(os.dup2, before, 2)
        os.dup2(file.fileno(), 2)
    return log
