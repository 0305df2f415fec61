"""A server's life: loading, a full queue, exchanged and unloaded models, clients that hang up, an engine that dies, the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import httpx
import psutil
import pytest

from qwq_local.errors import LoadError, ModelNotFoundError, SettingsError
from qwq_local.models.inventory import demo_model
from qwq_local.runtime import QwQ
from qwq_local.server.settings import DeskSettings, ServerSettings
from tests.server_attacks import SUM
from tests.serving import GUARD, TRUST, Endpoint, load_here, running
from tests.waiting import wait_until

CHAT = "/v1/chat/completions"
LONG = SUM | {"stops_repetition": False, "seed": 1}
"""What the endless model writes 32,000 tokens for, one at each step."""


def load_endless(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
    return QwQ.load(model, on_progress=on_progress, n_ctx=32_768)


def load_endless_apart(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
    return QwQ.load(model, on_progress=on_progress, n_ctx=32_768, isolated=True)


def settings(model: str = "demo", stop_seconds: float = 30.0, **desk: float) -> ServerSettings:
    return ServerSettings(replace(DeskSettings(model), **desk), GUARD, stop_seconds=stop_seconds)  # type: ignore[arg-type]


def open_answers(endpoint: Endpoint) -> float:
    text = endpoint.get("/metrics").text
    return sum(
        float(line.split()[1]) for line in text.splitlines() if line.startswith(("qwq_open_answers ", "qwq_running ", "qwq_waiting "))
    )


@contextmanager
def streamed(endpoint: Endpoint, **body: object) -> Iterator[httpx.Response]:
    with httpx.stream("POST", endpoint.url + CHAT, json=LONG | {"stream": True} | body, timeout=60, verify=TRUST) as answer:
        yield answer


class SlowLoad:
    """Loads half of a model, and the rest when it is told to."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def __call__(self, model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        on_progress(0.5)
        while not self.may_end.wait(0.01):
            on_progress(0.5)
        return load_here(model, on_progress=on_progress)


def test_while_the_model_loads_health_tells_its_progress_and_requests_are_told_to_come_back() -> None:
    load = SlowLoad()
    with running(settings(load_wait_seconds=0.05), load, waits=False) as endpoint:
        wait_until(lambda: endpoint.get("/health").json()["loaded_share"] == 0.5)
        health = endpoint.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        assert int(health.headers["retry-after"]) >= 1
        refused = endpoint.post(CHAT, SUM)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "loading")
        assert int(refused.headers["retry-after"]) >= 1
        load.may_end.set()
        wait_until(lambda: endpoint.get("/health").status_code == 200)
        assert endpoint.post(CHAT, SUM).status_code == 200


def test_a_request_waits_for_a_model_that_is_nearly_there() -> None:
    load = SlowLoad()
    with running(settings(), load, waits=False) as endpoint:
        with ThreadPoolExecutor(1) as client:
            answer = client.submit(endpoint.post, CHAT, SUM)
            wait_until(lambda: open_answers(endpoint) == 1)
            load.may_end.set()
        assert answer.result().status_code == 200


def test_a_server_that_is_ended_while_it_loads_ends_at_once_and_loads_nothing_more() -> None:
    load, n_loads = SlowLoad(), []

    def counted(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        n_loads.append(model)
        return load(model, on_progress=on_progress)

    with ThreadPoolExecutor(4) as clients:
        with running(settings(), counted, waits=False) as endpoint:
            wait_until(lambda: endpoint.get("/health").json()["loaded_share"] == 0.5)
            waiting = [clients.submit(endpoint.post, CHAT, SUM) for _ in range(4)]
            wait_until(lambda: open_answers(endpoint) == 4)
        assert {answer.result().status_code for answer in waiting} == {503}
    assert n_loads == ["demo"]


def test_a_model_that_cannot_be_loaded_ends_the_server_with_its_error() -> None:
    def refuse(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        raise ModelNotFoundError(f"There is no {model} {on_progress is None}.")

    with pytest.raises(ModelNotFoundError), running(settings("gone"), refuse, waits=False) as endpoint:
        wait_until(lambda: _is_gone(endpoint))


def test_what_nobody_foresaw_in_loading_ends_the_server_too() -> None:
    def fail(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        raise OSError(f"no {model}", on_progress)

    with pytest.raises(LoadError, match="no demo"), running(settings(), fail, waits=False) as endpoint:
        wait_until(lambda: _is_gone(endpoint))


def _is_gone(endpoint: Endpoint) -> bool:
    try:
        endpoint.get("/health")
    except httpx.TransportError:
        return True
    return False


def test_a_port_that_is_taken_is_told(endpoint: Endpoint) -> None:
    from qwq_local.server.run import serve

    port = int(endpoint.url.rsplit(":", 1)[1])
    with pytest.raises(SettingsError, match=rf"127.0.0.1:{port} cannot be had"):
        serve(replace(settings(), port=port), load_here, None)  # type: ignore[arg-type]


def test_a_full_queue_answers_429_and_when_to_come_back(endless_model: Path) -> None:
    with (
        running(settings(str(endless_model), n_parallel=1, n_queued=1, stop_seconds=0), load_endless) as endpoint,
        streamed(endpoint),
        streamed(endpoint),
    ):
        wait_until(lambda: open_answers(endpoint) >= 2)
        refused = endpoint.post(CHAT, SUM)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert endpoint.post(CHAT, SUM | {"n": 3}).status_code == 400, "more than there will ever be room for"
        assert endpoint.get("/health").status_code == 200


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_client_that_hangs_up_frees_its_place(endless_model: Path, is_streamed: bool) -> None:
    with running(settings(str(endless_model)), load_endless) as endpoint:
        for _ in range(3):
            if is_streamed:
                with streamed(endpoint) as answer:
                    next(answer.iter_lines())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(endpoint.url + CHAT, json=LONG, timeout=0.3, verify=TRUST)
        wait_until(lambda: open_answers(endpoint) == 0)


@pytest.fixture
def two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of models holds one beside the built-in one."""
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path))
    shutil.copy(demo_model().path, tmp_path / "QwQ-32B-Q4_K_M.gguf")


@pytest.mark.usefixtures("two_models")
def test_models_are_listed_and_exchanged_by_name() -> None:
    def ask(name: str) -> tuple[int, str]:
        answer = endpoint.post(CHAT, SUM | {"model": name})
        return answer.status_code, answer.json().get("model") or answer.json()["error"]["code"]

    with running() as endpoint:
        assert [model["id"] for model in endpoint.get("/v1/models").json()["data"]] == ["demo", "QwQ-32B:Q4_K_M"]
        assert endpoint.get("/v1/models/qwq-32b:q4_k_m").json()["id"] == "QwQ-32B:Q4_K_M"
        assert endpoint.get("/v1/models/nothing").status_code == 404
        assert ask("qwq-32b") == ask("QwQ") == ask("") == (200, "demo"), "QwQ's own name means what is served"
        assert ask("qwq-32b:q6_k") == (200, "demo"), "so it does with a quantization that is not here"
        assert ask("qwq-32b:q4_K_M") == (200, "QwQ-32B:Q4_K_M"), "one that is here is loaded"
        assert endpoint.get("/health").json()["model"] == "QwQ-32B:Q4_K_M"
        assert ask("gpt-4o") == (404, "model_not_found")
        assert ask("demo") == (200, "demo")


@pytest.mark.usefixtures("two_models")
def test_a_model_in_use_is_not_taken_away_and_others_that_use_it_do_not_wait(endless_model: Path) -> None:
    patience = settings(str(endless_model), load_wait_seconds=3.0, stop_seconds=0)
    with ThreadPoolExecutor(1) as client, running(patience, load_endless) as endpoint, streamed(endpoint) as answer:
        lines = answer.iter_lines()
        next(lines)
        other = client.submit(endpoint.post, CHAT, SUM | {"model": "demo"})
        answered_first = endpoint.post(CHAT, SUM | {"max_tokens": 5})
        assert (answered_first.status_code, other.done()) == (200, False)
        refused = other.result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert "reasoning_content" in next(line for line in lines if line)


def test_an_idle_model_is_unloaded_and_loaded_on_demand() -> None:
    def load(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        return QwQ.load(model, on_progress=on_progress, isolated=True, idle_seconds=0.2)

    with running(settings(), load) as endpoint:
        wait_until(lambda: endpoint.get("/health").json()["status"] == "unloaded")
        assert endpoint.get("/health").status_code == 200
        assert endpoint.post(CHAT, SUM).status_code == 200


def test_when_the_engine_dies_its_requests_are_told_and_the_next_is_answered(endless_model: Path) -> None:
    others = psutil.Process().children()
    with running(settings(str(endless_model), stop_seconds=0), load_endless_apart) as endpoint, streamed(endpoint) as answer:
        lines = answer.iter_lines()
        assert "assistant" in next(lines)
        (engine,) = (child for child in psutil.Process().children() if child not in others)
        os.kill(engine.pid, signal.SIGKILL)
        rest = [line for line in lines if line.startswith("data")]
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "worker_died"
        assert rest[-1] == "data: [DONE]"
        assert endpoint.get("/health").json()["status"] in ("loading", "ok")
        assert endpoint.post(CHAT, SUM | {"max_tokens": 5}).status_code == 200
        assert "qwq_engine_deaths_total 1.0" in endpoint.get("/metrics").text.splitlines()


def test_a_server_that_is_stopped_lets_answers_end() -> None:
    with running() as endpoint, streamed(endpoint) as answer:
        endpoint.stop()
        assert list(filter(None, answer.iter_lines()))[-1] == "data: [DONE]"


def test_an_answer_that_takes_too_long_when_the_server_is_stopped_ends_with_an_error(endless_model: Path) -> None:
    with running(settings(str(endless_model), stop_seconds=0.1), load_endless) as endpoint, streamed(endpoint) as answer:
        lines = answer.iter_lines()
        next(lines)
        endpoint.stop()
        *_, error, done = filter(None, lines)
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "stopping"
        assert done == "data: [DONE]"


def test_a_long_silence_is_filled_with_comments(endless_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwq_local.server.streaming.QUIET_SECONDS", 0.05)

    def load_single(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        return QwQ.load(model, on_progress=on_progress, n_ctx=32_768, n_parallel=1, rope="yarn")

    with running(settings(str(endless_model), stop_seconds=0), load_single) as endpoint, streamed(endpoint) as first:
        lines = first.iter_lines()  # kept, or the client would hang up
        next(line for line in lines if '"delta":{"reasoning_content":"' in line)
        with streamed(endpoint) as waiting:
            told = list(islice(filter(None, waiting.iter_lines()), 3))
            assert told[1:] == [": still thinking"] * 2, "after the role there is nothing else to tell"
