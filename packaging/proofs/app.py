"""The desktop app from outside: python packaging/proofs/app.py [--built FOLDER] [--screenshot FILE.png].

It builds the app, and starts it as a double click does: on a screen of its own (Xvfb), with an empty home and a network that ends at this
machine. The page is driven over the debugging port of Chromium, which a wrapper opens. Needs Linux with unshare, Xvfb, xdotool, Chromium,
and Python's playwright and Pillow. Times count from the start of `qwq-desktop`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
DISPLAY: Final = ":93"
SCREEN_SIZE: Final = (1280, 900)
DEBUG_PORT: Final = 18129
WINDOW_CLASS: Final = "qwq-local"
QUESTION: Final = "What is 47 + 85?"
ANSWER: Final = "132"
WAIT_SECONDS: Final = 120.0
HAND_OVER_SECONDS: Final = 5.0
NEW_PAGE_SECONDS: Final = 30.0
"""After these the app knows whether a browser that ended before those gave the page to another."""
LIBRARIES: Final = {"LD_LIBRARY_PATH": "/opt/of-the-user"}
"""The user's own, which the browser is to find."""


def main() -> None:
    """Build, go where no network is, and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built", type=Path, help="what build.py made before; nothing is built then")
    parser.add_argument("--screenshot", type=Path, help="where to keep a picture of the window")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        sys.exit(Proof(asked.built, asked.inside, asked.screenshot).run())
    with tempfile.TemporaryDirectory(prefix="qwq-proof-") as scratch:
        folder = asked.built.resolve() if asked.built else built(Path(scratch))
        show("the folder", True, f"{size_of(folder) / 1e6:,.0f} MB, {packed_bytes(folder, Path(scratch)) / 1e6:,.0f} MB as .tar.xz")
        again = [sys.executable, __file__, "--built", str(folder), "--inside", scratch]
        again += ["--screenshot", str(asked.screenshot.resolve())] if asked.screenshot else []
        alone = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
        sys.exit(subprocess.run([*alone, *again], check=False).returncode)


def built(scratch: Path) -> Path:
    """The app, built here."""
    started_at = time.monotonic()
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    done = subprocess.run([python, ROOT / "packaging/app/build.py", scratch], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit("The app was not built.")
    show("built", True, f"{time.monotonic() - started_at:.0f} s")
    return scratch / "qwq-local"


def size_of(folder: Path) -> int:
    """Bytes of its files; links take none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def packed_bytes(folder: Path, scratch: Path) -> int:
    """Bytes of what would be downloaded."""
    packed = scratch / "qwq-local.tar.xz"
    with tarfile.open(packed, "w:xz") as archive:
        archive.add(folder, folder.name)
    return packed.stat().st_size


class Proof:
    """One user's machine, what is done on it, and how much of it was not as promised."""

    def __init__(self, folder: Path, scratch: Path, screenshot: Path | None) -> None:
        self.program = folder / "qwq-desktop"
        self.home = scratch / "home"
        self.home.mkdir()
        self.screenshot = screenshot
        self.failed = 0
        self.environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "DISPLAY": DISPLAY, "LANG": "C.UTF-8", **LIBRARIES}
        self.browser = scratch / "browser"
        quiet = " --test-type" if os.geteuid() == 0 else ""  # no bar that says that root has no sandbox
        self.browser.write_text(f'#!/bin/sh\nexec chromium "$@" --remote-debugging-port={DEBUG_PORT}{quiet}\n')
        self.browser.chmod(0o755)

    def run(self) -> int:
        """1 where something was not as promised."""
        with screen():
            try:
                self.look_at_window()
                self.look_at_haste()
                self.look_at_trouble()
                self.look_at_death()
            finally:
                for pid in self.commands():
                    os.kill(pid, signal.SIGTERM)
                time.sleep(1)
        show("nothing is left of it", not self.processes(), f"processes: {self.processes()}")
        return 1 if self.failed or self.processes() else 0

    def see(self, asked: str, is_so: bool, seen: str) -> None:
        """A row."""
        self.failed += not is_so
        show(asked, is_so, seen)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A double click."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [self.program, *arguments], env=self.environment, stdin=quiet, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True
        )

    def look_at_window(self) -> None:
        """From the first double click to the closed window."""
        clicked_at = time.time()
        app = self.start("--browser", str(self.browser))
        waited(windows, "no window")
        show("time to the first window", True, f"{time.time() - clicked_at:.2f} s")
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            waited(debugging, "no debugging port")
            browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{DEBUG_PORT}")
            page = browser.contexts[0].pages[0]
            self.drive(page, clicked_at)
            self.look_at_environment()
            self.click_again(app)
            browser.close()
        started_at = time.monotonic()
        close_windows()
        status = app.wait(WAIT_SECONDS)
        self.see("closing the windows ends it", status == 0, f"exit {status} after {time.monotonic() - started_at:.1f} s")
        waited(lambda: not self.processes(), "processes are left")
        history = [str(self.program.with_name("qwq")), "history", "list"]
        chats = subprocess.run(history, env=self.environment, capture_output=True, text=True, check=False)
        self.see("the chat is kept", "47 + 85" in chats.stdout, chats.stdout.strip()[:70])

    def drive(self, page: Any, clicked_at: float) -> None:  # noqa: ANN401 - playwright's
        """Ask as a user does, and read the answer."""
        page.locator("#welcome .lead").wait_for()
        drawn_at = page.evaluate(
            "() => (performance.timeOrigin + performance.getEntriesByName('first-contentful-paint')[0].startTime) / 1000"
        )
        show("time to the page drawn", True, f"{drawn_at - clicked_at:.2f} s")
        page.locator("#health .dot.ready").wait_for(timeout=WAIT_SECONDS * 1000)
        show("time to the demo loaded, as the page says", True, f"{time.time() - clicked_at:.2f} s")
        told = page.locator("#toy").inner_text()
        self.see("the page says how to get QwQ", f"{self.program.with_name('qwq')} pull" in told, told[:90])
        page.locator("#question").fill(QUESTION)
        asked_at = time.monotonic()
        page.keyboard.press("Enter")
        page.locator(f'#log .katex:has-text("{ANSWER}")').first.wait_for(timeout=WAIT_SECONDS * 1000)
        self.see("the page answers", True, f"{QUESTION} {ANSWER}, {time.monotonic() - asked_at:.1f} s after Enter")
        time.sleep(2)  # until all is drawn
        if self.screenshot:
            from PIL import ImageGrab

            told = dict(line.split("=") for line in xdotool("getwindowgeometry", "--shell", windows()[0]).split())
            x, y, width, height = (int(told[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))
            ImageGrab.grab((x, y, x + width, y + height), xdisplay=DISPLAY).quantize(128).save(self.screenshot, optimize=True)
            show("the window, kept as a picture", True, f"{self.screenshot.name}, {self.screenshot.stat().st_size / 1000:.0f} kB")

    def look_at_environment(self) -> None:
        """What the browser was started with, the first of its processes."""
        browser = min(pid for pid, command in self.commands().items() if "--user-data-dir" in command)
        entries = (Path("/proc") / str(browser) / "environ").read_bytes().decode(errors="replace").split("\0")
        libraries = [entry for entry in entries if "LIBRARY_PATH" in entry]
        expected = [f"{name}={value}" for name, value in LIBRARIES.items()]
        self.see("the browser finds its own libraries", libraries == expected, ", ".join(libraries))

    def click_again(self, app: subprocess.Popen[bytes]) -> None:
        """Another double click while it runs."""
        engines = self.engines()
        second = self.start("--browser", str(self.browser))
        status = second.wait(WAIT_SECONDS)
        waited(lambda: len(windows()) == 2, "no second window")
        time.sleep(HAND_OVER_SECONDS + 1)
        is_one = self.engines() == engines and len(engines) == 1 and app.poll() is None
        self.see("a second double click", status == 0 and is_one, f"exit {status}, {len(windows())} windows, {len(self.engines())} engine")

    def look_at_haste(self) -> None:
        """A window that is closed as soon as it is there."""
        app = self.start("--browser", str(self.browser))
        waited(windows, "no window")
        close_windows()
        closed_at = time.monotonic()
        status = app.wait(WAIT_SECONDS)
        self.see("so does closing one at once", status == 0, f"exit {status} after {time.monotonic() - closed_at:.1f} s")

    def look_at_trouble(self) -> None:
        """A double click that cannot succeed."""
        damaged = self.home / "damaged.gguf"
        damaged.write_bytes(b"GGUF" + bytes(60))
        if not shutil.which("zenity"):
            show("a dialog for errors", True, "not looked at: zenity is not installed")
            return
        app = self.start("-m", str(damaged), "--browser", str(self.browser))
        waited(lambda: windows("zenity"), "no dialog")
        self.see("a damaged model is told in a dialog", not windows(), f"{len(windows('zenity'))} dialog, {len(windows())} windows")
        xdotool("windowfocus", windows("zenity")[0])
        xdotool("key", "Return")
        status = app.wait(WAIT_SECONDS)
        log = (self.home / ".local/share/qwq/desktop/desktop.log").read_text()
        self.see("and stands in the log", status == 1 and "damaged.gguf" in log, log.strip().splitlines()[-2][:90])

    def look_at_death(self) -> None:
        """SIGKILL, and what comes of the rest."""
        app = self.start("--browser", str(self.browser))
        waited(lambda: windows() and self.engines(), "no window")
        app.send_signal(signal.SIGKILL)
        app.wait()
        waited(lambda: not self.engines(), "the engine outlives the app")
        again = self.start("--browser", str(self.browser))
        waited(lambda: len(windows()) == 2, "no window after a crash")
        time.sleep(NEW_PAGE_SECONDS + 5)
        self.see("killed, it starts again, and stays", again.poll() is None, "the orphaned window and a new one; the old engine is gone")
        again.terminate()
        waited(lambda: again.poll() is not None, "it does not end when it is told to")
        close_windows()
        waited(lambda: not self.processes(), "processes are left")

    def engines(self) -> list[int]:
        """Processes that hold a model."""
        return [pid for pid, command in self.commands().items() if "--qwq-engine-process" in command]

    def processes(self) -> list[str]:
        """What runs of the app and its browser."""
        return [f"{pid} {command[:80]}" for pid, command in self.commands().items()]

    def commands(self) -> dict[int, str]:
        """Command lines by process, of those that name the app's folder or the home."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has ended
            if command.startswith(str(self.program.parent)) or str(self.home) in command:
                found[int(entry.name)] = command
        return found


@contextmanager
def screen() -> Iterator[None]:
    """One that nobody sees."""
    size = f"{SCREEN_SIZE[0]}x{SCREEN_SIZE[1]}x24"
    quiet = subprocess.DEVNULL
    with subprocess.Popen(["Xvfb", DISPLAY, "-screen", "0", size, "-nolisten", "tcp"], stdout=quiet, stderr=quiet) as server:  # noqa: S607
        try:
            waited(lambda: xdotool("getmouselocation"), "no screen")
            yield
        finally:
            server.terminate()


def windows(of_class: str = WINDOW_CLASS) -> list[str]:
    """Those that are shown."""
    return xdotool("search", "--onlyvisible", "--class", of_class).split()


def close_windows() -> None:
    """By the key that a user may press; without a window manager a window does not take the first one at times."""
    pressed_at = 0.0

    def all_gone() -> bool:
        nonlocal pressed_at
        left = windows()
        if left and time.monotonic() - pressed_at > 1:
            pressed_at = time.monotonic()
            xdotool("windowfocus", "--sync", left[-1])
            xdotool("key", "ctrl+w")
        return not left

    waited(all_gone, "a window does not close")


def xdotool(*arguments: str) -> str:
    """What it says."""
    environment = os.environ | {"DISPLAY": DISPLAY}
    return subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True, check=False).stdout  # noqa: S607


def debugging() -> bool:
    """Whether the page is there to be driven."""
    from urllib.request import urlopen

    try:
        with urlopen(f"http://127.0.0.1:{DEBUG_PORT}/json/list", timeout=5) as answer:
            return any(entry["type"] == "page" for entry in json.load(answer))
    except OSError:
        return False


def waited(is_so: Callable[[], object], otherwise: str) -> None:
    """Return once it is so; end where it does not come about."""
    ends_at = time.monotonic() + WAIT_SECONDS
    while not is_so():
        if time.monotonic() > ends_at:
            sys.exit(f"FAILED  {otherwise} within {WAIT_SECONDS:g} s")
        time.sleep(0.02)


def show(asked: str, is_so: bool, seen: str) -> None:
    """A row."""
    sys.stdout.write(f"{'ok    ' if is_so else 'FAILED'}  {asked:44}  {seen}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
