"""How the page looks and is used: settings, key, colours, narrow screens, keyboard, screen readers, and a server that goes away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from qwq_local.server.settings import DeskSettings, ServerSettings
from tests.page.conftest import Visit
from tests.page.test_chat import ask, send, wait_until_done
from tests.serving import GUARD, Endpoint, load_here, running

pytestmark = pytest.mark.slow


def options(page: Page) -> dict[str, object]:
    """Of the chat that is open, as the server has them."""
    told: dict[str, object] = page.evaluate("fetch(`/chats/${location.hash.slice(4)}`).then(r => r.json())")
    return {"system": told["system"], "options": told["options"]}


def test_settings_are_kept_in_the_chat_and_for_new_ones(visit: Visit, quick: Endpoint) -> None:
    page = visit(quick).page
    ask(page, "First")
    wait_until_done(page)
    page.click("#open-settings")
    expect(page.locator("#option-temperature")).to_have_attribute("placeholder", "0.6")
    page.fill("#system", "Be brief.")
    page.fill("#option-temperature", "0.7")
    page.fill("#option-think_tokens", "50")
    page.click("#settings button[type=submit]")
    expect(page.locator("#settings")).to_be_hidden()
    assert options(page) == {"system": "Be brief.", "options": {"temperature": 0.7, "think_tokens": 50}}
    page.click("#new-chat")
    ask(page, "Second")
    wait_until_done(page)
    assert options(page) == {"system": "Be brief.", "options": {"temperature": 0.7, "think_tokens": 50}}
    page.click("#open-settings")
    page.click("#reset")
    page.uncheck("#thinks")
    page.click("#settings button[type=submit]")
    expect(page.locator("#settings")).to_be_hidden()
    assert options(page) == {"system": "", "options": {"thinks": False}}


@pytest.fixture
def secured() -> Iterator[Endpoint]:
    """A server that wants a key. Asked for before `visit`, it outlives the page, which may still be fetching its fonts."""
    settings = ServerSettings(DeskSettings("demo"), replace(GUARD, keys=("secret-key",)))
    with running(settings, load_here) as endpoint:
        yield endpoint


def test_a_key_is_asked_for_and_kept_until_the_tab_is_closed(secured: Endpoint, visit: Visit) -> None:
    page = visit(secured, forgiven=("401",)).page
    page.fill("#key", "wrong")
    page.press("#key", "Enter")
    expect(page.locator("#key-error")).to_contain_text("does not know this key")
    page.fill("#key", "secret-key")
    page.press("#key", "Enter")
    ask(page, "What is 47 + 85?")
    expect(page.locator(".prose")).to_contain_text("132")
    page.reload()
    expect(page.locator(".prose")).to_contain_text("132")
    assert "secret-key" not in json.dumps(page.evaluate("({...localStorage})"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1100])
def test_nobody_is_shut_out_in_any_colours_or_width(visit: Visit, quick: Endpoint, axe: str, scheme: str, width: int) -> None:
    page = visit(quick, scheme=scheme, width=width).page
    ask(page, "Derive it")
    wait_until_done(page)
    expect(page.locator(".hljs-keyword").first).to_be_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, background[4:-1].split(","))) < 60) == (scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for opening in ("", "#open-settings", "#open-machine"):
        if opening:
            page.click(opening)
            page.wait_for_timeout(100)
        # Run as a string in the page's own world, past its policy, as a developer's console does.
        page.evaluate(axe)
        found = page.evaluate("axe.run().then(result => result.violations)")
        bad = {one["id"]: [node["target"] for node in one["nodes"]] for one in found if one["impact"] in {"serious", "critical"}}
        assert bad == {}
        if opening == "#open-settings":
            page.keyboard.press("Escape")


def test_a_narrow_screen_has_the_list_in_a_drawer(visit: Visit, quick: Endpoint) -> None:
    page = visit(quick, width=320).page
    expect(page.locator("#side")).to_be_hidden()
    page.click("#open-list")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#side")).to_be_hidden()


def test_the_switch_of_colours_outlives_a_reload(visit: Visit, quick: Endpoint) -> None:
    page = visit(quick).page
    page.click("#theme")
    page.click("#theme")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(27, 27, 29)"


def test_the_keyboard_reaches_everything(visit: Visit, quick: Endpoint) -> None:
    page = visit(quick).page
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.press("Control+k")
    expect(page.locator("#search")).to_be_focused()
    page.locator("#open-machine").focus()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("First line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    expect(page.locator(".question .text")).to_have_text("First line\nsecond line")
    wait_until_done(page)
    expect(page.locator("#announcement")).to_have_text("Answer complete")
    page.keyboard.press("Control+Shift+o")
    expect(page.locator("#welcome")).to_be_visible()


def test_where_only_the_demo_is_the_page_says_how_to_get_qwq(visit: Visit, endpoint: Endpoint) -> None:
    page = visit(endpoint).page
    expect(page.locator("#toy")).to_be_visible()
    expect(page.locator("#pull")).to_have_text(re.compile(r"\S.* pull$"))


def test_the_machine_is_shown_and_asked_only_while_it_is(visit: Visit, quick: Endpoint) -> None:
    watched = visit(quick)
    page = watched.page
    page.click("#open-machine")
    expect(page.locator("#machine-body")).to_contain_text("RAM")
    page.click("#close-machine")
    asked = sum(url.endswith("/machine") for url in watched.requests)
    page.wait_for_timeout(2500)
    assert sum(url.endswith("/machine") for url in watched.requests) == asked


def test_a_draft_survives_a_server_that_goes_away_and_comes_back(visit: Visit, quick: Endpoint) -> None:
    page = visit(quick, forgiven=("ERR_INTERNET_DISCONNECTED",)).page
    expect(page.locator("#health")).to_contain_text("demo")
    page.context.set_offline(True)
    send(page, "Are you there?")
    expect(page.locator(".banner.gone")).to_contain_text("The server does not answer.")
    expect(page.locator("#question")).to_have_value("Are you there?")
    assert page.evaluate("localStorage['qwq.draft.new']") == "Are you there?"
    page.context.set_offline(False)
    expect(page.locator(".banner.gone")).to_have_count(0)
    page.press("#question", "Enter")
    wait_until_done(page)
    expect(page.locator(".prose")).to_have_text("Answered.")
    assert page.evaluate("localStorage['qwq.draft.new']") is None
