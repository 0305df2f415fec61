"""A chat on the page: asked, stopped, edited, branched, left and found again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Visit
from tests.page.script import LONG
from tests.serving import Endpoint

pytestmark = pytest.mark.slow


def send(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.press("#question", "Enter")


def ask(page: Page, question: str) -> None:
    """Send a question that is taken."""
    send(page, question)
    expect(page.locator(".question .text").last).to_have_text(question)


def wait_until_done(page: Page) -> None:
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator(".answer.writing")).to_have_count(0)


def test_an_answer_of_the_demo_is_written_with_its_thought_folded(visit: Visit, endpoint: Endpoint) -> None:
    page = visit(endpoint).page
    ask(page, "What is 47 + 85?")
    expect(page.locator(".prose")).to_contain_text("132")
    wait_until_done(page)
    expect(page.locator(".thought summary")).to_have_text(re.compile(r"Thought for [\d.]+ s · \d+ tokens"))
    expect(page.locator(".thought-text")).to_be_hidden()
    expect(page.locator(".answer .bar .figures")).to_have_text(re.compile(r"\d+ tokens · [\d.,]+ tokens/s · [\d.]+ s"))
    expect(page.locator("#question")).to_have_value("")
    expect(page.locator("#chats a[aria-current]")).to_have_text("What is 47 + 85?")


def test_maths_code_and_tables_are_set(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted).page
    ask(page, "Derive it")
    wait_until_done(page)
    expect(page.locator(".prose .katex")).to_have_count(6)
    expect(page.locator(".prose .unread")).to_have_count(0)
    expect(page.locator(".prose")).to_contain_text("It costs $5, or $6 with tea.")
    expect(page.locator(".prose")).to_contain_text("<b>html</b>")
    expect(page.locator(".prose .hljs-keyword").first).to_have_text("def")
    expect(page.locator(".code-head span")).to_have_text("python")
    page.click(".code-head button")
    assert page.evaluate("navigator.clipboard.readText()") == "def double(number: int) -> int:\n    return 2 * number"
    link = page.locator(".prose a")
    assert (link.get_attribute("rel"), link.get_attribute("target")) == ("noopener noreferrer", "_blank")


def test_an_answer_is_stopped_and_retried_beside_the_first(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted).page
    ask(page, "Say long")
    expect(page.locator(".prose")).to_contain_text("step 1,")
    page.click("#stop")
    expect(page.locator(".end")).to_contain_text("You stopped this answer.")
    page.click(".end button")
    expect(page.locator(".answer .branches")).to_have_text("2/2")
    page.keyboard.press("Escape")
    wait_until_done(page)
    page.get_by_label("Previous version").click()
    expect(page.locator(".answer .branches")).to_have_text("1/2")


def test_the_thought_is_closed_and_the_answer_comes(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted).page
    ask(page, "Think long")
    expect(page.locator(".thought summary")).to_contain_text("Thinking…")
    page.click("#answer-now")
    expect(page.locator("#answer-now")).to_be_hidden()
    wait_until_done(page)
    expect(page.locator(".thought-text")).to_contain_text("thought about this long enough")


def test_an_edited_question_is_a_branch_of_its_own(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted).page
    ask(page, "First wording")
    wait_until_done(page)
    page.get_by_label("Edit the question").click()
    page.get_by_role("textbox", name="Edit the question").fill("Second wording")
    page.get_by_role("textbox", name="Edit the question").press("Enter")
    expect(page.locator(".question .text")).to_have_text("Second wording")
    wait_until_done(page)
    expect(page.locator(".question .branches")).to_have_text("2/2")
    page.get_by_label("Previous version").click()
    expect(page.locator(".question .text")).to_have_text("First wording")
    page.reload()
    expect(page.locator(".question .text")).to_have_text("First wording")


def test_a_reload_in_mid_answer_loses_nothing(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted).page
    ask(page, "Say long")
    expect(page.locator(".prose")).to_contain_text("step 1,")
    page.reload()
    expect(page.locator(".answer.writing .prose")).to_contain_text("step 9,")
    wait_until_done(page)
    assert page.locator(".prose").inner_text().split() == LONG.split()


def test_chats_are_found_renamed_exported_and_deleted(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted).page
    ask(page, "A zebra crosses")
    wait_until_done(page)
    page.keyboard.press("Control+k")
    page.keyboard.type("zebra")
    expect(page.locator("#chats h2")).to_have_text("Found")
    expect(page.locator("#chats mark").first).to_have_text("zebra")
    page.get_by_label("More about “A zebra crosses”").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as Markdown").click()
    assert "A zebra crosses" in download.value.path().read_text("utf-8")
    page.get_by_label("More about “A zebra crosses”").click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("New title").fill("Stripes")
    page.get_by_label("New title").press("Enter")
    expect(page.locator("#title")).to_have_text("Stripes")
    page.get_by_label("More about “Stripes”").click()
    page.get_by_role("button", name="Delete…").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#chats a")).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()


def test_a_question_that_is_too_long_stays_in_its_field(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted, forgiven=("400 (Bad Request)", "413")).page
    send(page, "word " * 200_000)
    expect(page.locator(".banner.error")).to_contain_text(re.compile(r"16384 tokens.* 10000\d\d tokens"))
    assert page.locator("#question").input_value() == "word " * 200_000
