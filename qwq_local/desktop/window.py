"""The page's window: opened, watched until nobody looks at it any more, and closed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from qwq_local.desktop.browsers import app_command, find_browser
from qwq_local.desktop.presence import Presence
from qwq_local.errors import QwqError, SettingsError

DEFAULT: Final = "default"
"""The name, instead of a path, of whatever opens web pages here."""
FAILURE_SECONDS: Final = 5.0
"""A browser that ends so soon after it was started, and not well, showed nothing."""
LOOK_SECONDS: Final = 0.25
CLOSE_SECONDS: Final = 5.0


class Window(Protocol):
    """Where the page is shown."""

    def has_closed(self) -> bool | None:
        """Whether its browser has ended; None where only the page's silence can tell. Raises QwqError where it cannot be shown there."""
        ...

    def close(self) -> None:
        """Close it, as far as that is ours to do."""
        ...


@dataclass(frozen=True)
class Opener:
    """Opens windows; `browser` is None for the default browser, which shows the page among its others."""

    browser: Path | None
    folder: Path

    @property
    def name(self) -> str:
        """The browser's path, or "default"; windows of one name and folder are windows of one browser."""
        return str(self.browser or DEFAULT)

    def open(self, address: str) -> Window:
        """Show a page. Raises QwqError."""
        if self.browser is None:
            return Tab(address)
        is_root = sys.platform != "win32" and os.geteuid() == 0
        return OwnWindow(app_command(self.browser, address, self.folder, is_root=is_root))


def find_opener(wished: str | None, folder: Path, environment: Mapping[str, str] = os.environ) -> Opener:
    """By the browser that was asked for (a path, or "default"), else the one found here. Raises QwqError, SettingsError."""
    if sys.platform not in {"win32", "darwin"} and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        raise QwqError(
            "There is no screen to open a window on.", hint="Use it from another machine's browser: qwq serve. Or here: qwq chat"
        )
    if wished == DEFAULT:
        return Opener(None, folder)
    if wished is None:
        return Opener(find_browser(environment), folder)
    if not os.access(wished, os.X_OK) or not Path(wished).is_file():
        raise SettingsError(f"browser is {wished!r}, which is no program.", hint=f"Give its path, or {DEFAULT}.")
    return Opener(Path(wished), folder)


class OwnWindow:
    """A browser's process that shows this page and nothing else. `clock` reads seconds."""

    def __init__(self, command: list[str], clock: Callable[[], float] = time.monotonic) -> None:
        quiet = subprocess.DEVNULL
        self._clock = clock
        self._started_at = clock()
        self._program = command[0]
        try:
            self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)  # noqa: S603 - a browser
        except OSError as error:
            raise QwqError(
                f"{command[0]} cannot be started: {error.strerror}.", hint=f"Use another browser: --browser {DEFAULT}"
            ) from error
        self._has_failed: bool | None = None

    def has_closed(self) -> bool | None:
        """Browsers end with their last window on Linux only; elsewhere they may stay, and the page's silence has to tell."""
        status = self._process.poll()
        if status is None:
            return False if sys.platform == "linux" else None
        if self._has_failed is None:
            self._has_failed = bool(status) and self._clock() - self._started_at < FAILURE_SECONDS
        if self._has_failed:
            raise QwqError(f"{self._program} ended with exit status {status} and showed no window.", hint=f"Use --browser {DEFAULT}")
        return True

    def close(self) -> None:
        """End the browser, which is nobody's but this window's."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)
                return
            self._process.kill()
            self._process.wait()


class Tab:
    """The page among others in the default browser. Raises QwqError where there is none."""

    def __init__(self, address: str) -> None:
        if not webbrowser.open(address):
            raise QwqError("No browser is found here.", hint="Install one, such as Chromium or Firefox; without: qwq chat, in a terminal.")

    def has_closed(self) -> None:
        """Nobody tells."""

    def close(self) -> None:
        """It is the user's."""


def attend(
    window: Window, presence: Presence, heed_others: Callable[[], object], is_busy: Callable[[], bool], has_stopped: Callable[[float], bool]
) -> None:
    """Return once nobody is left to look at the page, or the server stopped.

    `heed_others` tells the presence of windows that others opened; `has_stopped` waits so many seconds for the server's end. Raises
    QwqError where the window cannot be shown.
    """
    while not has_stopped(LOOK_SECONDS):
        heed_others()
        has_closed = window.has_closed()
        if has_closed:
            presence.closed()
        is_lost = presence.is_lost(is_busy=is_busy())
        if is_lost and has_closed is not False:
            return
