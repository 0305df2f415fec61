"""What the web page weighs, and how soon it is drawn, in a headless Chromium on loopback.

    python -m benchmarks.page [--runs 11] [--json FILE]

Each run is a new profile, so nothing is cached. Bytes are those of all bodies: of the page alone, and after an answer with maths and code.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import click
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.options import json_option
from benchmarks.report import Table
from tests.page.conftest import CHROMIUM, FLAGS, NOWHERE
from tests.page.script import SCRIPT
from tests.scripted import load_scripted
from tests.serving import running

PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
BYTES = """performance.getEntries()
    .filter(one => one.name.includes("/static/") || one.entryType === "navigation")
    .reduce((all, one) => all + one.encodedBodySize, 0)"""
PASTE = "word " * 200_000


def first_paint_ms(browser: Browser, url: str) -> float:
    """From the start of the navigation."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.wait_for_function(f"{PAINTED} !== undefined")
    milliseconds = float(page.evaluate(PAINTED))
    context.close()
    return milliseconds


def ask(page: Page, question: str) -> None:
    """And wait for the answer."""
    page.fill("#question", question)
    page.press("#question", "Enter")
    expect(page.locator(".bar .figures").last).to_be_visible()


def paste_ms(page: Page) -> float:
    """How long the page takes for a megabyte that is pasted into the question's field, until it is drawn."""
    script = """text => new Promise(resolve => {
        const field = document.getElementById("question"); field.focus();
        const startedAt = performance.now();
        document.execCommand("insertText", false, text);
        requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - startedAt)));
    })"""
    return float(page.evaluate(script, PASTE))


@click.command()
@click.option("--runs", default=11, show_default=True)
@json_option
def main(runs: int, json_path: Path | None) -> None:
    """Measure."""
    if CHROMIUM is None:
        raise click.ClickException("No Chromium is installed (Debian: apt-get install chromium).")
    table = Table(f"the page, {runs} runs", ["what", "least", "median", "most"])
    with running(load=load_scripted(SCRIPT)) as endpoint, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, NOWHERE])
        paints = [first_paint_ms(browser, endpoint.url) for _ in range(runs)]
        table.add("first paint, ms", min(paints), statistics.median(paints), max(paints))
        page = browser.new_page()
        page.goto(endpoint.url)
        expect(page.locator("#health")).not_to_be_empty()
        weights = [page.evaluate(BYTES)]
        ask(page, "Derive it")
        page.wait_for_selector(".katex")
        page.wait_for_selector(".hljs-keyword")
        page.wait_for_load_state("networkidle")
        weights.append(page.evaluate(BYTES))
        for what, weight in zip(("the page alone, kB", "with maths and code, kB"), weights, strict=True):
            table.add(what, *[weight / 1000] * 3)
        pastes = []
        for _ in range(3):
            page.fill("#question", "")
            pastes.append(paste_ms(page))
        table.add("a paste of 1 MB, ms", min(pastes), statistics.median(pastes), max(pastes))
        browser.close()
    table.show(json_path)


if __name__ == "__main__":
    main()
