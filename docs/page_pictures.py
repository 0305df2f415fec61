"""Take the pictures of the web page in docs/: python docs/page_pictures.py (needs the extra `test`, Chromium, and looks best with Inter).

The model is a script, so that the pictures show the same chat each time; the page, its server and what it keeps are the real ones.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, expect, sync_playwright

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.page.conftest import CHROMIUM, FLAGS  # noqa: E402 - the tests' folder is no package that is installed
from tests.scripted import load_scripted  # noqa: E402
from tests.serving import Endpoint, running  # noqa: E402

ANSWER: Final = r"""Each term is half of the one before, so this is a **geometric series** with first term $a = 1$ and ratio $r = \tfrac12$.

Call the sum of the first $n$ terms $S_n$. Multiplying by $r$ shifts every term by one place, and all but two cancel:

\[
S_n - r\,S_n = a - a r^n \quad\Longrightarrow\quad S_n = a\,\frac{1 - r^n}{1 - r}
\]

Since $|r| < 1$, the power $r^n$ vanishes as $n$ grows:

$$\sum_{k=0}^{\infty} \frac{1}{2^k} = \lim_{n \to \infty} \frac{1 - \left(\tfrac12\right)^n}{1 - \tfrac12} = \boxed{2}$$

A few terms show how fast it gets there:

| $n$ | $S_n$ | Missing |
|---:|---:|---:|
| 4 | 1.875 | $2^{-3}$ |
| 8 | 1.992 | $2^{-7}$ |
| 16 | 1.99997 | $2^{-15}$ |
"""
THOUGHT: Final = (
    "Okay, the series is 1 + 1/2 + 1/4 + …, a geometric one. Let me check the first few sums before I write the formula down. " * 4
)
QUESTION: Final = "Why does 1 + 1/2 + 1/4 + 1/8 + … equal 2?"
OTHERS: Final = (
    "Which is larger, 9.9 or 9.11?",
    "A proof that √2 is irrational",
    "How many r's are in the word strawberry?",
    "Compare quicksort and mergesort",
    "Plan a week in Lisbon",
)


def take(browser: Browser, endpoint: Endpoint, name: str, scheme: str, size: tuple[int, int]) -> None:
    """One picture of the chat, in these colours and of this size."""
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light", viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    page.goto(endpoint.url)
    page.locator("#chats a", has_text=QUESTION).first.dispatch_event("click")
    page.wait_for_selector(".katex")
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    page.evaluate("document.getElementById('conversation').scrollTop = 0; document.activeElement.blur()")
    page.wait_for_timeout(300)
    page.screenshot(path=HERE / name)
    context.close()


def fill(browser: Browser, endpoint: Endpoint) -> None:
    """Some chats, the one of the picture last."""
    page = browser.new_page()
    for question in (*OTHERS, QUESTION):
        page.goto(endpoint.url)
        page.fill("#question", question)
        page.press("#question", "Enter")
        expect(page.locator(".bar .figures").last).to_be_visible()
    page.close()


def main() -> None:
    """Take them all."""
    if CHROMIUM is None:
        raise FileNotFoundError("No Chromium is installed (Debian: apt-get install chromium).")
    script = {QUESTION: (THOUGHT, ANSWER)}
    with running(load=load_scripted(script, pace_seconds=0.003)) as endpoint, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        fill(browser, endpoint)
        take(browser, endpoint, "page.png", "light", (1200, 860))
        take(browser, endpoint, "page-dark.png", "dark", (1200, 860))
        take(browser, endpoint, "page-narrow.png", "light", (390, 760))
        browser.close()


if __name__ == "__main__":
    main()
