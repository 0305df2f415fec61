"""A headless Chromium, and pages in it that fail their test where they ask anyone but this server, or their console tells of an error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.page.script import SCRIPT
from tests.scripted import load_scripted
from tests.serving import Endpoint, running

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Watched:
    """A page, all that it asked for, and all that it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    forgiven: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location}")

    def check(self, origin: str) -> None:
        """Fail on a request to elsewhere, and on complaints that were not expected."""
        assert [url for url in self.requests if not url.startswith((origin, f"blob:{origin}"))] == []
        assert [text for text in self.complaints if not any(known in text for known in self.forgiven)] == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, NOWHERE])
        yield found
        found.close()


@pytest.fixture(scope="session")
def scripted() -> Iterator[Endpoint]:
    """A server whose model answers by the script, a token every few milliseconds."""
    with running(load=load_scripted(SCRIPT, pace_seconds=0.002)) as found:
        yield found


@pytest.fixture(scope="session")
def quick() -> Iterator[Endpoint]:
    """The same, as fast as it goes."""
    with running(load=load_scripted(SCRIPT)) as found:
        yield found


Visit = Callable[..., Watched]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a page of a server in a profile of its own."""
    opened: list[tuple[Watched, str]] = []

    def open_page(
        endpoint: Endpoint, address: str = "/", *, width: int = 1100, scheme: str = "light", forgiven: tuple[str, ...] = ()
    ) -> Watched:
        dark: dict[str, object] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
        context = browser.new_context(**dark)  # type: ignore[arg-type] # a literal, given as a text
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=endpoint.url)
        watched = Watched(context.new_page(), forgiven=forgiven)
        opened.append((watched, endpoint.url))
        watched.page.goto(endpoint.url + address)
        return watched

    yield open_page
    for watched, _ in opened:
        watched.page.context.close()
    for watched, origin in opened:
        watched.check(origin)


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's source."""
    return (Path(__file__).parents[1] / "data/axe-core-4.14.1/axe.min.js").read_text("utf-8")
