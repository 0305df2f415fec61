"""`qwq desktop` as its users start it, with a browser that is a script: it asks for the page, and is closed by a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from qwq_local.cli import windowing
from qwq_local.desktop import presence
from qwq_local.desktop.instance import JOINED_NAME
from qwq_local.desktop.window import LOOK_SECONDS, Opener
from qwq_local.runtime import QwQ
from tests.programs import posix, program
from tests.serving import TRUST
from tests.waiting import wait_until

pytestmark = [posix, pytest.mark.skipif(sys.platform != "linux", reason="screens and dialogs are Linux's here")]

BROWSER = """#!{python}
import json, os, pathlib, sys, time, urllib.request
here = pathlib.Path({here!r})
address = sys.argv[1].removeprefix("--app=")
page = urllib.request.urlopen(address).read().decode()
told = here / f"opened-{{os.getpid()}}.new"
told.write_text(json.dumps({{"arguments": sys.argv[1:], "page": page, "pid": os.getpid()}}))
told.rename(here / f"opened-{{os.getpid()}}")
while not (here / "close").exists():
    time.sleep(0.01)
"""
MAIN = """
from qwq_local.cli import main
main()
"""
QUICKLY = """
from qwq_local.desktop import presence
presence.HAND_OVER_SECONDS = 0  # whatever ends was a window, however short
"""
IMPATIENTLY = """
from qwq_local.desktop import presence
presence.NEW_PAGE_SECONDS = 1
"""
TRUSTINGLY = """
from qwq_local.desktop import window
window.FAILURE_SECONDS = 0  # whatever was started shows the page
"""
SLOWLY = """
import asyncio, os, pathlib
from qwq_local.server.desk import Desk
close = Desk.close
async def close_slowly(self, *seconds):
    while not pathlib.Path(os.environ["QWQ_DATA"], "may-end").exists():
        await asyncio.sleep(0.01)
    await close(self, *seconds)
Desk.close = close_slowly
"""


class Desk:
    """A user's folders, and a browser among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.browser = self.program("browser", BROWSER.format(python=sys.executable, here=str(folder)))
        self.dialog = self.program("bin/zenity", f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/told\n')
        self.environment = os.environ | {
            "DISPLAY": ":0",
            "QWQ_DATA": str(folder / "data"),
            "QWQ_MODELS": str(folder / "models"),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        }
        self.log = folder / "data/desktop/desktop.log"
        self.lock = folder / "data/desktop/lock"
        self.running = folder / "data/desktop/running.json"

    def program(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def opened(self) -> list[dict[str, object]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("opened-*")) if path.suffix != ".new"]

    def address(self) -> str:
        return str(json.loads(self.running.read_text())["address"])

    def close_windows(self) -> None:
        (self.folder / "close").touch()

    def start(self, *arguments: str, how: str = QUICKLY) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        command = [sys.executable, "-c", how + MAIN, "desktop", *arguments]
        return subprocess.Popen(command, env=self.environment, stdin=quiet, stdout=quiet, stderr=quiet)

    @contextmanager
    def open(self, *arguments: str, how: str = QUICKLY) -> Iterator[subprocess.Popen[bytes]]:
        with self.start("--browser", str(self.browser), *arguments, how=how) as app:
            try:
                wait_until(lambda: bool(self.opened()) or app.poll() is not None)
                assert app.poll() is None, self.log.read_text()
                yield app
            finally:
                self.close_windows()
                app.terminate()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def has_open(pid: int, path: Path) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed just now
            if descriptor.readlink() == path:
                return True
    return False


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_window_shows_the_page_of_the_demo_and_closing_it_ends_all(desk: Desk) -> None:
    with desk.open() as app:
        (window,) = desk.opened()
        assert "What shall QwQ think about?" in str(window["page"])
        assert desk.address().startswith("http://127.0.0.1:")
        wait_until(lambda: httpx.get(f"{desk.address()}/health", verify=TRUST).status_code == 200)
        health = httpx.get(f"{desk.address()}/health", verify=TRUST).json()
        assert (health["status"], health["model"]) == ("ok", "demo"), "no QwQ is here, and nobody is asked"
        desk.close_windows()
        assert app.wait(60) == 0
    assert not desk.running.exists()
    assert not (desk.folder / "told").exists()
    assert desk.log.read_text().startswith("qwq desktop: http://127.0.0.1:")


@pytest.mark.slow
def test_a_second_start_opens_a_window_of_the_same_app(desk: Desk) -> None:
    with desk.open("-m", "demo") as first:
        with desk.start("--browser", str(desk.browser), how=TRUSTINGLY) as second:
            assert second.wait(60) == 0
        wait_until(lambda: len(desk.opened()) == 2)
        one, other = (str(window["arguments"]) for window in desk.opened())
        assert one == other, "the same page, and the same profile"
        assert first.poll() is None


@pytest.mark.slow
def test_a_window_that_is_closed_at_once_ends_the_app_too(desk: Desk) -> None:
    with desk.open("-m", "demo", how=IMPATIENTLY) as app:
        desk.close_windows()
        assert app.wait(60) == 0


@pytest.mark.slow
def test_a_window_that_a_second_start_opened_in_another_browser_keeps_its_server(desk: Desk) -> None:
    elsewhere = Desk(desk.folder / "elsewhere")
    with desk.open("-m", "demo") as app:
        with desk.start("--browser", str(elsewhere.browser), how=TRUSTINGLY) as second:
            assert second.wait(60) == 0
        wait_until(lambda: len(elsewhere.opened()) == 1)
        (window,) = desk.opened()
        desk.close_windows()
        wait_until(lambda: is_gone(int(str(window["pid"]))))
        time.sleep(2)  # more than the app takes to see it and to end
        assert app.poll() is None
        assert httpx.get(f"{desk.address()}/health", verify=TRUST).status_code in {200, 503}
        elsewhere.close_windows()


@pytest.mark.slow
def test_a_second_start_whose_browser_shows_nothing_opens_the_page_in_the_default_one(desk: Desk) -> None:
    broken = desk.program("broken", "#!/bin/sh\nexit 1\n")
    desk.environment["BROWSER"] = str(desk.program("default", f'#!/bin/sh\necho "$1" > {desk.folder}/shown\n'))
    with desk.open("-m", "demo"):
        with desk.start("--browser", str(broken)) as second:
            assert second.wait(60) == 0
        wait_until((desk.folder / "shown").exists)
        wait_until(lambda: (desk.folder / "shown").read_text().strip() == desk.address())


def load_nothing(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
    raise AssertionError(f"nobody asks for {model} {on_progress}")


class ClosedWindow:
    def has_closed(self) -> bool:
        return True

    def close(self) -> None:
        """It has."""


def test_an_app_that_is_joined_just_when_its_window_closes_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def stand_down(_: Path) -> None:
        steps.append("stood down")
        if len(steps) == 2:
            (tmp_path / JOINED_NAME).write_text("chromium\n")

    monkeypatch.setattr(presence, "HAND_OVER_SECONDS", 0)
    monkeypatch.setattr(windowing, "announce", lambda *_: steps.append("announced"))
    monkeypatch.setattr(windowing, "stand_down", stand_down)
    monkeypatch.setattr(Opener, "open", lambda *_: ClosedWindow())
    app = windowing.App(Opener(Path("chromium"), tmp_path), tmp_path, load_nothing)
    with app.ended():
        app.listens("http://127.0.0.1:1", lambda: steps.append("stopped"))
        wait_until(lambda: len(steps) == 3)
        time.sleep(2 * LOOK_SECONDS)
        assert steps == ["announced", "stood down", "announced"]
    assert steps[-2:] == ["stood down", "stopped"]


@pytest.mark.slow
def test_a_start_while_the_former_app_still_ends_waits_for_its_end_and_shows_a_page_that_lives(desk: Desk) -> None:
    with desk.open("-m", "demo", how=QUICKLY + SLOWLY) as first:
        (window,) = desk.opened()
        desk.close_windows()
        wait_until(lambda: is_gone(int(str(window["pid"]))))
        (desk.folder / "close").unlink()
        wait_until(lambda: not desk.running.exists())
        assert first.poll() is None, "it stands down first, and ends slowly"
        with desk.start("--browser", str(desk.browser), "-m", "demo") as second:
            wait_until(lambda: second.poll() is not None or has_open(second.pid, desk.lock))
            time.sleep(1)  # it tries to be the one
            (desk.folder / "data/may-end").touch()
            assert first.wait(60) == 0
            wait_until(lambda: second.poll() is not None or len(desk.opened()) == 2)
            assert second.poll() is None, "its window shows its own server"
            desk.close_windows()
            assert second.wait(60) == 0


@pytest.mark.slow
def test_a_killed_app_leaves_nothing_that_the_next_one_stumbles_over(desk: Desk) -> None:
    with desk.open("-m", "demo") as first:
        first.kill()
        first.wait()
        orphans = {window["pid"] for window in desk.opened()}
        with desk.start("--browser", str(desk.browser), "-m", "demo") as second:
            wait_until(lambda: len(desk.opened()) > len(orphans))
            second.terminate()
            assert second.wait(60) == 0
        (own,) = {window["pid"] for window in desk.opened()} - orphans
        assert is_gone(int(str(own))), "its window went with it"


@pytest.mark.slow
def test_a_damaged_model_is_told_in_a_dialog_and_the_window_closes(desk: Desk) -> None:
    damaged = desk.folder / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(60))
    with desk.start("--browser", str(desk.browser), "-m", str(damaged)) as app:
        assert app.wait(60) == 1
    told = (desk.folder / "told").read_text()
    assert "damaged.gguf" in told
    assert str(desk.log) in told
    assert "damaged.gguf" in desk.log.read_text()
    assert all(is_gone(int(str(window["pid"]))) for window in desk.opened())


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [("QWQ_CTX", "many", "QWQ_CTX"), ("DISPLAY", "", "no screen")],
)
def test_what_cannot_be_is_told_though_there_is_no_terminal(desk: Desk, variable: str, value: str, says: str) -> None:
    ended = program("desktop", "--browser", str(desk.browser), **(desk.environment | {variable: value}))
    assert ended.code in {1, 2}, ended
    told = (desk.folder / "told").read_text() if variable != "DISPLAY" else desk.log.read_text()
    assert says in told
    assert says in ended.err, "and to whoever reads what it prints"
    assert not desk.opened()
