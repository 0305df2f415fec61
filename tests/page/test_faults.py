"""What befalls chats while they are open: servers that die, disks that are full, other tabs, other programs."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from qwq_local.history import History
from qwq_local.server.settings import DeskSettings, ServerSettings
from tests.page.conftest import Visit
from tests.page.script import LONG, SCRIPT
from tests.page.test_chat import ask, send, wait_until_done
from tests.programs import posix
from tests.scripted import load_scripted
from tests.serving import GUARD, TRUST, Endpoint, running
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@contextmanager
def program(model: Path, port: int) -> Iterator[tuple[Endpoint, subprocess.Popen[bytes]]]:
    """`qwq serve` at this port, once it answers; it is killed at the end."""
    command = [sys.executable, "-m", "qwq_local.cli", "serve", "-m", str(model), "--port", str(port), "--ctx", "32768"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        endpoint = Endpoint(f"http://127.0.0.1:{port}", child.terminate)

        def is_there() -> bool:
            try:
                return httpx.get(f"{endpoint.url}/health", verify=TRUST).status_code == 200
            except httpx.HTTPError:
                return False

        try:
            wait_until(is_there)
            yield endpoint, child
        finally:
            child.kill()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answer_kept(page: Page) -> str:
    """The first answer of the chat that is open, as the server has it: a formula that is half written looks otherwise once it is whole."""
    told = page.evaluate("fetch(`/chats/${location.hash.slice(4)}`).then(r => r.json())")
    return str(told["messages"][1]["content"])


@posix
def test_a_server_that_is_killed_in_mid_answer_comes_back_with_what_was_seen(visit: Visit, endless_model: Path) -> None:
    port = free_port()
    with program(endless_model, port) as (endpoint, child):
        page = visit(endpoint, forgiven=("ERR_", "503")).page
        page.evaluate("localStorage['qwq.new-chat'] = JSON.stringify({ options: { stops_repetition: false } })")
        ask(page, "What is 47 + 85?")
        expect(page.locator(".prose")).to_contain_text(re.compile(r"\S+\s+\S+"))
        seen = answer_kept(page)
        page.wait_for_timeout(1000)
        child.send_signal(signal.SIGKILL)
        expect(page.locator(".banner.gone")).to_be_visible()
    with program(endless_model, port):
        expect(page.locator(".banner.gone")).to_have_count(0)
        expect(page.locator(".end")).to_contain_text("The program ended", timeout=30_000)
        assert answer_kept(page).startswith(seen)
        expect(page.locator(".prose")).to_contain_text(re.compile(r"\S+\s+\S+"))
        page.click(".end button")
        expect(page.locator(".answer .branches")).to_have_text("2/2")
        page.click("#stop")
        wait_until_done(page)


def test_a_stream_that_breaks_is_gone_on_with(visit: Visit, scripted: Endpoint) -> None:
    page = visit(scripted, forgiven=("ERR_FAILED",)).page
    broken: list[str] = []

    def break_twice(route: Route) -> None:
        broken.append(route.request.url)
        if len(broken) > 2:
            route.continue_()
        else:
            route.abort()

    page.route("**/events", break_twice)
    ask(page, "Say long")
    expect(page.locator(".banner.gone")).to_be_visible()
    wait_until_done(page)
    expect(page.locator(".banner.gone")).to_have_count(0)
    assert page.locator(".prose").inner_text().split() == LONG.split()
    assert len(broken) == 3


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Endpoint, History]]:
    """A server, and the history that it keeps its chats in."""
    opened: list[History] = []
    open_anyway = History.open_anyway

    def note(path: Path | None) -> History:
        opened.append(open_anyway(path))
        return opened[0]

    monkeypatch.setattr(History, "open_anyway", note)
    settings = ServerSettings(DeskSettings("demo"), GUARD, chats=tmp_path / "chats.db")
    with running(settings, load_scripted(SCRIPT, pace_seconds=0.002)) as endpoint:
        yield endpoint, opened[0]


def test_a_disk_that_cannot_be_written_is_told_and_costs_nothing(kept: tuple[Endpoint, History], visit: Visit) -> None:
    endpoint, history = kept
    page = visit(endpoint, forgiven=("507",)).page
    ask(page, "Say long")
    expect(page.locator(".prose")).to_contain_text("step 1,")
    history._connection.execute("PRAGMA query_only = 1")
    expect(page.locator(".banner.problem")).to_contain_text("Chats cannot be written")
    wait_until_done(page)
    assert page.locator(".prose").inner_text().split() == LONG.split()
    expect(page.locator(".end")).to_be_hidden()
    send(page, "Is there room?")
    expect(page.locator(".banner.error")).to_contain_text("cannot be read or kept")
    expect(page.locator("#question")).to_have_value("Is there room?")
    history._connection.execute("PRAGMA query_only = 0")
    expect(page.locator(".banner.problem")).to_have_count(0)
    page.press("#question", "Enter")
    expect(page.locator(".prose")).to_have_count(2)
    wait_until_done(page)
    assert [message.state for message in history.get(history.latest()[0].id).path()] == ["whole"] * 4


def test_a_notice_that_was_closed_stays_closed(kept: tuple[Endpoint, History], visit: Visit) -> None:
    endpoint, history = kept
    history.notices.append("Something was set aside.")
    page = visit(endpoint).page
    expect(page.locator(".banner.notices")).to_contain_text("Something was set aside.")
    page.click(".banner.notices button")
    ask(page, "First wording")
    wait_until_done(page)
    expect(page.locator("#chats a")).to_have_count(1)
    expect(page.locator(".banner.notices")).to_have_count(0)


def test_an_answer_that_is_whole_before_it_is_seen_is_in_the_list(kept: tuple[Endpoint, History], visit: Visit) -> None:
    endpoint, history = kept

    def wait_for_the_answer(route: Route) -> None:
        wait_until(lambda: history.get(history.latest()[0].id).path()[-1].state == "whole")
        route.continue_()

    page = visit(endpoint).page
    page.route(re.compile(r"/chats/[0-9a-z-]+$"), wait_for_the_answer)
    ask(page, "First wording")
    expect(page.locator("#chats a")).to_have_count(1)


def test_what_is_stopped_retried_and_deleted_in_another_tab(kept: tuple[Endpoint, History], visit: Visit) -> None:
    endpoint, history = kept
    page = visit(endpoint, forgiven=("404", "ERR_FAILED")).page
    ask(page, "Say long")
    expect(page.locator(".prose")).to_contain_text("step 1,")
    chat = history.get(history.latest()[0].id)
    endpoint.post(f"/chats/{chat.id}/stop", {})
    expect(page.locator(".end")).to_contain_text("You stopped this answer.")
    page.click(".end button")
    expect(page.locator(".answer .branches")).to_have_text("2/2")
    page.route("**/events", lambda route: route.abort())
    page.reload()
    expect(page.locator(".banner.gone")).to_be_visible()
    endpoint.post(f"/chats/{chat.id}/stop", {})
    endpoint.post(f"/chats/{chat.id}/messages/{chat.path()[0].id}/answers", {})
    page.unroute("**/events")
    expect(page.locator(".answer .branches")).to_have_text("3/3", timeout=3000)  # long before that answer ends
    endpoint.delete(f"/chats/{chat.id}")
    expect(page.locator(".banner.error")).to_contain_text("There is no chat")
    page.click(".banner.error button")
    page.wait_for_timeout(1500)
    expect(page.locator(".banner.error")).to_have_count(0)


def test_a_question_never_goes_to_the_chat_that_was_open_before(kept: tuple[Endpoint, History], visit: Visit) -> None:
    endpoint, history = kept
    page = visit(endpoint).page
    for question in ("First wording", "Second wording"):
        page.click("#new-chat")
        ask(page, question)
        wait_until_done(page)
    second, first = history.latest()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(f"**/chats/{first.id}", hold)
    page.click(f"#chats a[data-id='{first.id}']")
    send(page, "Where does this go?")
    expect(page.locator(".banner.error")).to_contain_text("This chat is not there yet")
    held[0].continue_()
    expect(page.locator(".question .text")).to_have_text("First wording")
    page.press("#question", "Enter")
    wait_until(lambda: len(history.get(first.id).messages) == 4)
    assert len(history.get(second.id).messages) == 2


def test_what_was_searched_for_is_opened_where_it_was_said(kept: tuple[Endpoint, History], visit: Visit) -> None:
    endpoint, history = kept
    chat_id = history.start()
    turns: list[int] = []
    for number in range(60):
        behind = turns[-1] if turns else None
        turns.append(history.say(chat_id, "assistant" if number % 2 else "user", f"turn {number} " * 20, behind))
    hidden = history.say(chat_id, "user", "A zebra crosses", turns[0])
    history.set_leaf(chat_id, turns[-1])
    page = visit(endpoint).page
    for words, message_id, found in (("zebra", hidden, "A zebra crosses"), ("turn 20", turns[20], "turn 20")):
        page.fill("#search", words)
        page.click(f"#chats a[href='#/c/{chat_id}/m/{message_id}']")
        expect(page.locator(".message.found")).to_contain_text(found)
        expect(page.locator(".message.found")).to_be_in_viewport()
        assert page.evaluate("location.hash") == f"#/c/{chat_id}"
    assert history.get(chat_id).leaf_id != hidden


def test_a_chat_with_tools_reads_whole_and_its_answers_can_be_had_again(kept: tuple[Endpoint, History], visit: Visit) -> None:
    endpoint, history = kept
    chat_id = history.start(options={"frequency_penalty": 0.5})
    draft = history.begin(chat_id, history.say(chat_id, "user", "What is the weather?"), "demo")
    draft.finish("whole", tool_calls=[{"name": "get_weather", "arguments": '{"city": "<b>Paris</b>\x1b[31m"}'}])
    result_id = history.say(chat_id, "tool", "18 degrees", draft.id)
    history.begin(chat_id, result_id, "demo").finish("failed", error="The engine ended.")
    page = visit(endpoint, f"/#/c/{chat_id}").page
    expect(page.locator(".calls code").first).to_have_text('get_weather({"city": "<b>Paris</b>"})')
    page.click(".end button")
    expect(page.locator(".answer .branches").last).to_have_text("2/2")
    wait_until_done(page)
    expect(page.locator(".prose").last).to_have_text("Answered.")
    page.click("#open-settings")
    page.fill("#option-temperature", "0.7")
    page.click("#settings button[type=submit]")
    expect(page.locator("#settings")).to_be_hidden()
    assert history.get(chat_id).options == {"frequency_penalty": 0.5, "temperature": 0.7}


@pytest.fixture(scope="module")
def slow() -> Iterator[Endpoint]:
    """A server that takes a minute for an answer."""
    settings = ServerSettings(DeskSettings("demo"), GUARD, stop_seconds=0.1)
    with running(settings, load_scripted(SCRIPT, pace_seconds=0.03)) as endpoint:
        yield endpoint


def test_tabs_that_nobody_sees_leave_their_connections_to_those_that_are_seen(slow: Endpoint, visit: Visit) -> None:
    first = visit(slow)
    pages = [first.page, *(first.page.context.new_page() for _ in range(7))]  # a browser has six connections to a server
    for page in pages:
        page.set_default_timeout(10_000)
        page.goto(slow.url)
        ask(page, "Say long")
        expect(page.locator(".answer.writing")).to_be_visible()
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    first.page.evaluate("delete document.hidden")
    first.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    seen = first.page.locator(".prose").inner_text()
    expect(first.page.locator(".prose")).not_to_have_text(seen)
    expect(first.page.locator(".prose")).to_contain_text("step 1,")
    first.page.click("#stop")
    expect(first.page.locator(".end")).to_contain_text("You stopped this answer.")
