from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from qwq_local.desktop import window
from qwq_local.desktop.presence import Presence
from qwq_local.desktop.window import OwnWindow, Tab, Window, attend, find_opener
from qwq_local.errors import QwqError, SettingsError
from tests.programs import posix
from tests.waiting import wait_until

SCREEN = {"DISPLAY": ":0"}


def process_of(code: str, seconds_it_lived: float = 0.0) -> OwnWindow:
    times = iter([0.0])
    return OwnWindow([sys.executable, "-c", code], lambda: next(times, seconds_it_lived))


def has_ended(own: OwnWindow) -> bool:
    return own._process.poll() is not None


def test_a_window_is_open_as_long_as_its_browser_runs() -> None:
    own = process_of("input()", seconds_it_lived=60)
    wait_until(lambda: has_ended(own))  # its standard input is empty
    assert own.has_closed() is True


@pytest.mark.skipif(sys.platform != "linux", reason="only there a browser ends with its last window")
def test_an_open_window_has_not_closed_and_is_closed_with_the_app() -> None:
    own = process_of("import time; time.sleep(100)")
    assert own.has_closed() is False
    own.close()
    assert has_ended(own)


@posix
def test_a_browser_that_does_not_end_when_it_is_told_to_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "CLOSE_SECONDS", 0.1)
    deaf = tmp_path / "deaf"
    own = process_of(f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(deaf)!r}, 'x'); time.sleep(100)")
    wait_until(deaf.exists)
    own.close()
    assert own._process.returncode == -signal.SIGKILL


def test_a_browser_that_ends_well_has_closed_however_soon() -> None:
    own = process_of("", seconds_it_lived=1)
    wait_until(lambda: has_ended(own))
    assert own.has_closed() is True


def test_a_browser_that_fails_at_once_is_told_with_its_status() -> None:
    own = process_of("raise SystemExit(3)", seconds_it_lived=1)
    wait_until(lambda: has_ended(own))
    with pytest.raises(QwqError, match="exit status 3"):
        own.has_closed()


def test_a_browser_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(QwqError, match="chromium cannot be started"):
        OwnWindow([str(tmp_path / "chromium")])


class Scripted:
    """A window that says one thing after the other."""

    def __init__(self, *says: bool | None) -> None:
        self._says = [*says]

    def has_closed(self) -> bool | None:
        return self._says.pop(0) if len(self._says) > 1 else self._says[0]

    def close(self) -> None:
        raise AssertionError("whoever opened it closes it")


def lost_presence() -> Presence:
    times = iter([0.0, 1.0])
    return Presence(lambda: next(times, 1.0), unseen_seconds=0.5)


def nobody() -> None:
    """Opens no other window."""


def test_the_app_is_over_once_its_window_has_closed() -> None:
    times = iter([0.0])
    attend(Scripted(False, False, True), Presence(lambda: next(times, 60.0)), nobody, lambda: False, lambda _: False)


def test_without_a_process_to_watch_the_silence_of_the_page_ends_the_app_but_not_while_it_answers() -> None:
    attend(Scripted(None), lost_presence(), nobody, lambda: False, lambda _: False)
    stops = iter([False, False, True])
    attend(Scripted(None), lost_presence(), nobody, lambda: True, lambda _: next(stops))
    assert next(stops, None) is None, "it went on until the server stopped"


def test_a_hidden_window_of_its_own_may_be_silent() -> None:
    stops = iter([False, False, True])
    attend(Scripted(False), lost_presence(), nobody, lambda: False, lambda _: next(stops))
    assert next(stops, None) is None


def test_a_window_that_a_later_start_opened_elsewhere_keeps_the_app() -> None:
    presence = Presence(lambda: 60.0)
    stops = iter([False, False, True])
    attend(Scripted(False, True), presence, lambda: presence.opened(is_elsewhere=True), lambda: False, lambda _: next(stops))
    assert next(stops, None) is None, "it went on until the server stopped"


def says_of_closing(shown: Window) -> bool | None:
    return shown.has_closed()


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there is always a screen")
def test_without_a_screen_no_window_is_tried(tmp_path: Path) -> None:
    with pytest.raises(QwqError, match="no screen") as caught:
        find_opener(None, tmp_path, {})
    assert "qwq chat" in caught.value.hint


def test_a_browser_that_is_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    for wished in (tmp_path / "text", tmp_path / "nothing", tmp_path):
        with pytest.raises(SettingsError, match="which is no program"):
            find_opener(str(wished), tmp_path, SCREEN)


def test_the_default_browser_is_used_on_wish_and_where_there_is_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def note(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", note)
    monkeypatch.setattr(window, "find_browser", lambda _: None)
    for wished in (None, "default"):
        tab = find_opener(wished, tmp_path, SCREEN).open("http://127.0.0.1:1")
        assert isinstance(tab, Tab)
        assert says_of_closing(tab) is None
    assert opened == 2 * ["http://127.0.0.1:1"]


def test_no_browser_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    with pytest.raises(QwqError, match="No browser") as caught:
        Tab("http://127.0.0.1:1")
    assert "qwq chat" in caught.value.hint
