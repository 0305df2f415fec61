"""The line that says what is done, how far it is, and how long still."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest

from qwq_local.cli import activity
from qwq_local.cli.activity import ERASE, Activity, StatusLine
from tests.waiting import wait_until


class Screen(io.StringIO):
    """A terminal's side of standard error."""

    def isatty(self) -> bool:
        return True


def screen_of(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal in place of standard error; not a fixture, since pytest replaces the stream once more before a test."""
    made = Screen()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def test_a_line_is_written_over_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    line = StatusLine()
    line.clear()
    line.show("one")
    line.show("one")
    line.show("two")
    line.clear()
    assert screen.getvalue() == f"{ERASE}one{ERASE}two{ERASE}"


@pytest.mark.parametrize("width", [20, 40])
def test_a_line_longer_than_the_terminal_is_cut_so_that_none_piles_up(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen = screen_of(monkeypatch)
    monkeypatch.setattr(activity, "width_of", lambda _: width)
    StatusLine().show("a long text that says " * 9)
    shown = screen.getvalue().removeprefix(ERASE)
    assert len(shown) < width
    assert shown.endswith("…")


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    StatusLine().show("one")
    with Activity("waiting") as shown:
        shown.update("more", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_what_is_said_is_the_stage_how_far_and_how_long_still() -> None:
    now = [0.0]
    waiting = Activity("planning", lambda: now[0])
    assert waiting.text() == ""
    now[0] = 0.6
    assert waiting.text() == "planning … 1 s"
    waiting.update("loading", 20, 100)
    assert waiting.text() == ""
    now[0] = 2.6
    assert waiting.text() == "loading 20%, 2 s"
    waiting.update("loading", 40, 100)
    assert waiting.text() == "loading 40%, 6 s left"
    waiting.begin("ending")
    now[0] = 200.0
    assert waiting.text() == "ending … 3 min"
    assert Activity("", lambda: 9.0).text() == ""


def test_it_goes_on_by_itself_while_nothing_is_heard_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    monkeypatch.setattr(Activity, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(Activity, "PERIOD_SECONDS", 0.01)
    n_threads = threading.active_count()
    with Activity("waiting"):
        wait_until(lambda: "waiting … 0 s" in screen.getvalue())
    assert screen.getvalue().endswith(ERASE)
    assert threading.active_count() == n_threads
    time.sleep(0.03)
    assert screen.getvalue().endswith(ERASE)
