"""The page's own format: chats that the server keeps, and answers that are written whether anybody looks on or not."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwq_local.history import Draft, History
from qwq_local.runtime import QwQ
from qwq_local.server.desk import Desk
from qwq_local.server.settings import DeskSettings, ServerSettings
from tests.serving import GUARD, TRUST, Endpoint, running
from tests.waiting import wait_until

SUM = {"content": "What is 47 + 85?", "options": {"seed": 1}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A server that keeps its chats."""
    path = tmp_path_factory.mktemp("served") / "chats.db"
    with running(ServerSettings(DeskSettings("demo"), GUARD, chats=path)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def endless(endless_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A server of a model that writes 32,000 tokens."""

    def load(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        return QwQ.load(model, on_progress=on_progress, n_ctx=32_768)

    path = tmp_path_factory.mktemp("endless") / "chats.db"
    defaults = {"stops_repetition": False}
    with running(ServerSettings(DeskSettings(str(endless_model), defaults=defaults), GUARD, chats=path), load) as endpoint:
        yield endpoint


def begin(endpoint: Endpoint, **asked: Any) -> dict[str, Any]:
    """A chat begun."""
    answer = endpoint.post("/chats", SUM | asked)
    assert answer.status_code == 201, answer.text
    begun: dict[str, Any] = answer.json()
    return begun


def heard(endpoint: Endpoint, chat_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The events up to the end of what is being written."""
    events = endpoint.get(f"/chats/{chat_id}/events").text.split("\n\n")
    found = [event.split("\n") for event in events if event.startswith("event: ")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in found]


def chat(endpoint: Endpoint, chat_id: str) -> dict[str, Any]:
    answer = endpoint.get(f"/chats/{chat_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def whole(endpoint: Endpoint, chat_id: str) -> dict[str, Any]:
    """A chat once nothing is written in it any more."""
    wait_until(lambda: heard(endpoint, chat_id)[-1][0] == "idle")
    return chat(endpoint, chat_id)


def test_an_answer_is_heard_as_it_is_written_and_kept(served: Endpoint) -> None:
    begun = begin(served)
    events = heard(served, begun["chat_id"])
    assert events[0][0] == "state"
    assert events[-1][0] == "end"
    so_far, end = events[0][1], events[-1][1]
    said = so_far["content"] + "".join(data["text"] for name, data in events if name == "say")
    thought = so_far["reasoning"] + "".join(data["text"] for name, data in events if name == "think")
    assert (said, thought) == (end["content"], end["reasoning"])
    assert "132" in said
    assert (end["state"], end["model"], end["finish_reason"], end["usage"]["completion_tokens"]) == (
        "whole",
        "demo",
        "stop",
        end["n_tokens"],
    )
    found = chat(served, begun["chat_id"])
    assert found["messages"][1] | {"seconds": 0, "thought_seconds": 0} == end | {"seconds": 0, "thought_seconds": 0}
    assert (found["title"], found["leaf_id"], found["options"]) == (SUM["content"], begun["answer_id"], {"seed": 1})
    assert heard(served, begun["chat_id"]) == [("idle", {})]


def test_a_chat_goes_on_is_edited_and_answered_again(served: Endpoint) -> None:
    begun = begin(served)
    chat_id = begun["chat_id"]
    whole(served, chat_id)
    second = served.post(f"/chats/{chat_id}/messages", {"content": "What is 30 + 12?", "parent_id": begun["answer_id"]}).json()
    whole(served, chat_id)
    edited = served.post(f"/chats/{chat_id}/messages", {"content": "What is 10 + 12?", "parent_id": begun["answer_id"]}).json()
    whole(served, chat_id)
    again = served.post(f"/chats/{chat_id}/messages/{begun['question_id']}/answers", {"options": {"think_tokens": 3}}).json()
    found = whole(served, chat_id)
    parents = {message["id"]: message["parent_id"] for message in found["messages"]}
    assert parents[second["question_id"]] == parents[edited["question_id"]] == begun["answer_id"]
    assert parents[again["answer_id"]] == begun["question_id"]
    answers = {message["id"]: message["content"] for message in found["messages"]}
    assert len(answers) == 7
    assert all(answers.values())
    assert found["leaf_id"] == again["answer_id"]
    assert served.patch(f"/chats/{chat_id}", {"leaf_id": second["answer_id"]}).json()["leaf_id"] == second["answer_id"]


def test_an_answer_is_written_while_nobody_looks_on_and_whoever_comes_hears_all_of_it(endless: Endpoint) -> None:
    begun = begin(endless)
    url = f"{endless.url}/chats/{begun['chat_id']}/events"
    for _ in range(2):  # a page that is loaded again in mid-answer
        with httpx.stream("GET", url, verify=TRUST) as events:
            lines = events.iter_lines()
            next(line for line in lines if line == "event: say")
    wait_until(lambda: chat(endless, begun["chat_id"])["messages"][1]["n_tokens"] > 1000)
    with httpx.stream("GET", url, verify=TRUST) as events:
        state = json.loads(next(line for line in events.iter_lines() if line.startswith("data: ")).removeprefix("data: "))
    assert len(state["content"]) > 1000
    busy = endless.post(f"/chats/{begun['chat_id']}/messages", {"content": "And?", "parent_id": begun["answer_id"]})
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "busy")
    assert endless.get("/chats").json()["chats"][0]["is_writing"]
    assert endless.post(f"/chats/{begun['chat_id']}/stop", {}).status_code == 204
    answer = chat(endless, begun["chat_id"])["messages"][1]
    assert answer["state"] == "stopped"
    assert answer["content"].startswith(state["content"])


def test_an_answer_can_be_had_at_once(endless: Endpoint) -> None:
    begun = begin(endless)
    with httpx.stream("GET", f"{endless.url}/chats/{begun['chat_id']}/events", verify=TRUST) as events:
        lines = events.iter_lines()
        next(line for line in lines if line == "event: think")
        endless.post(f"/chats/{begun['chat_id']}/answer-now", {})
        assert next(line for line in lines if line.startswith('data: {"kind"')) == 'data: {"kind":"thought_closed","why":"asked"}'
        next(line for line in lines if line == "event: say")
    endless.delete(f"/chats/{begun['chat_id']}")  # while it is written
    assert endless.get(f"/chats/{begun['chat_id']}").status_code == 404


def test_what_cannot_be_answered_is_refused_and_not_kept(served: Endpoint) -> None:
    n_before = len(served.get("/chats?limit=500").json()["chats"])
    for asked, code in (
        ({"content": "word " * 3000}, "context_length_exceeded"),
        ({"content": " "}, "invalid_value"),
        ({"content": "a", "model": "gone"}, "model_not_found"),
        ({"content": "a", "options": {"top_k": -1}}, "invalid_value"),
        ({"content": "a", "colour": "red"}, "unknown_parameter"),
    ):
        answer = served.post("/chats", asked)
        assert (answer.status_code in (400, 404), answer.json()["error"]["code"]) == (True, code)
    assert len(served.get("/chats?limit=500").json()["chats"]) == n_before
    for path in ("/chats/zz", "/chats/zz/events", "/chats/zz/export"):
        assert served.get(path).json()["error"]["code"] == "chat_not_found"
    chat_id = begin(served)["chat_id"]
    whole(served, chat_id)
    for path, body in (("messages", {"content": "a", "parent_id": 10**9}), (f"messages/{10**9}/answers", {})):
        assert served.post(f"/chats/{chat_id}/{path}", body).status_code == 404
    assert len(whole(served, chat_id)["messages"]) == 2


def test_chats_are_listed_searched_renamed_exported_and_deleted(served: Endpoint) -> None:
    chat_id = begin(served, content='How many r\'s are in the word "raspberry"?')["chat_id"]
    whole(served, chat_id)
    assert [found["id"] for found in served.get("/chats?search=raspberry").json()["chats"]] == [chat_id]
    changed = served.patch(f"/chats/{chat_id}", {"title": "Berries", "system": "Count.", "options": {"temperature": 0.5}}).json()
    assert (changed["title"], changed["system"], changed["options"]) == ("Berries", "Count.", {"temperature": 0.5})
    assert served.get(f"/chats/{chat_id}/export").text.startswith("# Berries\n")
    exported = served.get(f"/chats/{chat_id}/export?format=json")
    assert exported.json()["title"] == "Berries"
    assert exported.headers["content-disposition"] == f'attachment; filename="chat-{chat_id}.json"'
    first = served.get("/chats?limit=1").json()
    assert (len(first["chats"]), first["has_more"]) == (1, True)
    assert served.delete(f"/chats/{chat_id}").status_code == 204
    assert served.get("/chats?search=raspberry").json()["chats"] == []


def test_whoever_has_another_key_sees_other_chats() -> None:
    settings = ServerSettings(DeskSettings("demo"), replace(GUARD, keys=("mine", "yours")))
    with running(settings) as endpoint:
        assert endpoint.get("/chats").status_code == 401
        chat_id = endpoint.post("/chats", SUM, authorization="Bearer mine").json()["chat_id"]
        assert len(endpoint.get("/chats", authorization="Bearer mine").json()["chats"]) == 1
        assert endpoint.get("/chats", authorization="Bearer yours").json()["chats"] == []
        assert endpoint.get(f"/chats/{chat_id}", authorization="Bearer yours").status_code == 404


def test_what_is_written_when_the_server_ends_is_kept_as_far_as_it_came(endless_model: Path, tmp_path: Path) -> None:
    def load(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        return QwQ.load(model, on_progress=on_progress, n_ctx=32_768)

    path = tmp_path / "chats.db"
    desk = DeskSettings(str(endless_model), defaults={"stops_repetition": False})
    with running(ServerSettings(desk, GUARD, chats=path, stop_seconds=0.1), load) as endpoint:
        begun = begin(endpoint)
        wait_until(lambda: chat(endpoint, begun["chat_id"])["messages"][1]["n_tokens"] > 100)
    with History.open(path) as history:
        answer = history.get(begun["chat_id"]).messages[begun["answer_id"]]
    assert answer.state in ("stopped", "failed")
    assert len(answer.content) > 100


def test_a_history_that_cannot_be_opened_is_told_and_chats_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with running(ServerSettings(DeskSettings("demo"), GUARD, chats=tmp_path / "file" / "chats.db")) as endpoint:
        (notice,) = endpoint.get("/chats").json()["notices"]
        assert "cannot be kept" in notice
        assert "132" in whole(endpoint, begin(endpoint)["chat_id"])["messages"][1]["content"]


def test_the_machine_and_the_plan_are_told(served: Endpoint) -> None:
    found = served.get("/machine").json()
    assert (found["model"], found["quantization"], found["plan"]["n_ctx"], found["plan"]["gpu_layers"]) == ("demo", "Q8_0", 512, 0)
    assert found["ram_total_bytes"] > found["plan"]["memory"][0]["total_bytes"] > 0
    assert found["live"]["all_cells"] >= found["plan"]["n_ctx"]
    assert (found["defaults"]["temperature"], found["defaults"]["thinks"]) == (0.6, True)


def open_answers(endpoint: Endpoint) -> str:
    """How many answers the server believes to be written or to wait."""
    lines = endpoint.get("/metrics").text.splitlines()
    return next(line for line in lines if line.startswith("qwq_open_answers ")).split()[1]


def test_an_answer_that_is_stopped_by_several_at_once_ends_for_all(endless: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_id = begin(endless)["chat_id"]
    finish = Draft.finish

    def finish_slowly(draft: Draft, *state: Any, **ending: Any) -> None:
        time.sleep(0.3)
        finish(draft, *state, **ending)

    monkeypatch.setattr(Draft, "finish", finish_slowly)

    def stop(delay: float) -> int:
        time.sleep(delay)
        return endless.post(f"/chats/{chat_id}/stop", {}).status_code

    with ThreadPoolExecutor(4) as pool:
        listening = pool.submit(heard, endless, chat_id)
        assert list(pool.map(stop, (0.3, 0.4, 0.5))) == [204, 204, 204]
        name, answer = listening.result()[-1]
    assert (name, answer["state"]) == ("end", "stopped")
    assert heard(endless, chat_id) == [("idle", {})]


def test_a_chat_that_goes_away_while_it_is_asked_takes_no_place(endless: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_draft = History.begin

    def begin_and_delete(history: History, chat_id: str, *rest: Any) -> Draft:
        draft = begin_draft(history, chat_id, *rest)
        history.delete(chat_id)  # as another program does it
        return draft

    wait_until(lambda: open_answers(endless) == "0.0")
    monkeypatch.setattr(History, "begin", begin_and_delete)
    answer = endless.post("/chats", SUM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "chat_not_found")
    wait_until(lambda: open_answers(endless) == "0.0")


def test_a_chat_that_is_just_being_asked_is_not_deleted_under_the_question(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begin(served)
    whole(served, begun["chat_id"])
    say = History.say

    def say_slowly(history: History, *told: Any) -> int:
        time.sleep(0.5)
        return say(history, *told)

    monkeypatch.setattr(History, "say", say_slowly)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(served.post, f"/chats/{begun['chat_id']}/messages", {"content": "And?", "parent_id": begun["answer_id"]})
        time.sleep(0.2)
        assert served.delete(f"/chats/{begun['chat_id']}").status_code == 409
        assert asking.result().status_code == 201
    assert served.delete(f"/chats/{begun['chat_id']}").status_code == 204


def test_an_answer_for_which_there_is_no_room_comes_as_soon_as_there_is(endless_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "_expected_wait", lambda _: 60.0)
    desk = DeskSettings(str(endless_model), defaults={"max_tokens": 100, "stops_repetition": False}, n_parallel=1, n_queued=0)
    with running(ServerSettings(desk, GUARD)) as endpoint:
        asked = [begin(endpoint, options={"max_tokens": 100})["chat_id"] for _ in range(3)]
        wait_until(lambda: all(chat(endpoint, chat_id)["messages"][1]["state"] == "whole" for chat_id in asked))


def test_changes_that_cannot_be_change_nothing(served: Endpoint) -> None:
    chat_id = begin(served)["chat_id"]
    whole(served, chat_id)
    for leaf_id, status in ((10**30, 400), (10**9, 404)):
        assert served.patch(f"/chats/{chat_id}", {"title": "Sums", "leaf_id": leaf_id}).status_code == status
    assert chat(served, chat_id)["title"] == SUM["content"]


def test_what_a_tool_gave_back_is_answered_again(tmp_path: Path) -> None:
    with History.open(tmp_path / "chats.db") as history:
        chat_id = history.start()
        question_id = history.say(chat_id, "user", "What is the weather in Paris?")
        draft = history.begin(chat_id, question_id, "demo")
        draft.finish("whole", tool_calls=[{"name": "get_weather", "arguments": '{"city": "Paris"}'}])
        result_id = history.say(chat_id, "tool", "18 degrees, cloudy", draft.id)
        history.begin(chat_id, result_id, "demo").finish("failed", error="The engine ended.")
    with running(ServerSettings(DeskSettings("demo"), GUARD, chats=tmp_path / "chats.db")) as endpoint:
        assert endpoint.post(f"/chats/{chat_id}/messages/{result_id}/answers", {}).status_code == 201
        answer = whole(endpoint, chat_id)["messages"][-1]
    assert (answer["parent_id"], answer["state"], answer["n_tokens"] > 0) == (result_id, "whole", True)


def test_answers_of_chats_are_counted_and_logged(served: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    def n_counted() -> float:
        lines = served.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("qwq_first_token_seconds_count")).split()[1])

    caplog.set_level(logging.INFO, "qwq.server")
    n_before = n_counted()
    chat_id = begin(served)["chat_id"]
    whole(served, chat_id)
    wait_until(lambda: n_counted() == n_before + 1)
    (facts,) = [record.__dict__["facts"] for record in caplog.records if record.__dict__.get("facts", {}).get("chat") == chat_id]
    assert (facts["model"], facts["ended"]) == ("demo", "stop")


def test_an_answer_that_another_program_writes_is_neither_asked_behind_nor_stopped_here(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    with running(ServerSettings(DeskSettings("demo"), GUARD, chats=path)) as endpoint, History.open(path) as other:
        chat_id = other.start()
        draft = other.begin(chat_id, other.say(chat_id, "user", "Why?"))
        asked = endpoint.post(f"/chats/{chat_id}/messages", {"content": "And?", "parent_id": draft.id})
        assert (asked.status_code, asked.json()["error"]["code"]) == (409, "busy")
        stopped = endpoint.post(f"/chats/{chat_id}/stop", {})
        assert (stopped.status_code, stopped.json()["error"]["code"]) == (409, "written_elsewhere")
        draft.finish("whole")
        assert endpoint.post(f"/chats/{chat_id}/stop", {}).status_code == 204
        assert endpoint.post(f"/chats/{chat_id}/messages", {"content": "And?", "parent_id": draft.id}).status_code == 201
