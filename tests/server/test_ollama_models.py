"""What models there are, in Ollama's words, and how long they stay."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from qwq_local import card
from qwq_local.models.inventory import demo_model
from qwq_local.models.record import Record, write_record
from qwq_local.runtime import QwQ
from qwq_local.server.ollama.spelling import short_count, stay_seconds
from qwq_local.server.settings import DeskSettings, ServerSettings
from tests.serving import GUARD, PATIENCE_SECONDS, Endpoint, load_apart, load_here, running
from tests.waiting import wait_until

QUESTION = "What is 47 + 85?"


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[ollama.Client]:
    with ollama.Client(endpoint.url, timeout=PATIENCE_SECONDS) as found:
        yield found


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the demo model in the folder of models."""
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path))
    path = tmp_path / "QwQ-Nano-Q8_0.gguf"
    shutil.copy(demo_model().path, path)
    return path


def ask(endpoint: Endpoint, path: str = "generate", **body: Any) -> Any:
    answer = endpoint.post(f"/api/{path}", {"model": "demo", "options": {"seed": 1}} | body)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text.splitlines()[-1])


def test_every_model_is_listed_once_with_a_tag(client: ollama.Client, stored: Path) -> None:
    models = {model.model: model for model in client.list().models}
    assert list(models) == ["demo:latest", "QwQ-Nano:Q8_0"]
    copy = models["QwQ-Nano:Q8_0"]
    assert copy.size == stored.stat().st_size
    assert copy.modified_at == datetime.fromtimestamp(round(stored.stat().st_mtime, 6), UTC)
    assert copy.details
    assert (copy.details.format, copy.details.family, copy.details.families) == ("gguf", "qwen2", ["qwen2"])
    assert (copy.details.parameter_size, copy.details.quantization_level) == ("2.6M", "Q8_0")


def test_what_is_listed_can_be_asked(client: ollama.Client) -> None:
    (model,) = client.list().models
    assert client.generate(model.model or "", QUESTION, options={"num_predict": 1}).model == model.model


def test_a_recorded_hash_is_the_digest(endpoint: Endpoint, stored: Path) -> None:
    before = endpoint.get("/api/tags").json()["models"][1]["digest"]
    sha256 = hashlib.sha256(stored.read_bytes()).hexdigest()
    write_record(stored, Record("Qwen/QwQ", "main", stored.name, stored.stat().st_size, sha256))
    after = endpoint.get("/api/tags").json()["models"][1]["digest"]
    assert (after, len(before), before == after) == (sha256, 64, False)


def test_a_model_from_another_place_is_listed_while_it_is_loaded_and_no_path_is_told(tmp_path: Path) -> None:
    path = tmp_path / "secret-folder" / "mine.gguf"
    path.parent.mkdir()
    shutil.copy(demo_model().path, path)
    with running(ServerSettings(DeskSettings(str(path)), GUARD)) as endpoint:
        told = [endpoint.get("/api/tags"), endpoint.get("/api/ps"), endpoint.post("/api/show", {"model": "mine:latest"})]
        assert [answer.status_code for answer in told] == [200, 200, 200]
        assert [model["name"] for model in told[0].json()["models"]] == ["mine:latest", "demo:latest"]
        assert [model["name"] for model in told[1].json()["models"]] == ["mine:latest"]
        path.unlink()
        told += [endpoint.post("/api/show", {"model": "mine"}), endpoint.get("/api/tags"), endpoint.get("/api/ps")]
        assert [answer.status_code for answer in told[3:]] == [503, 200, 200]
        assert not any("secret-folder" in answer.text for answer in told)


@pytest.mark.parametrize("name", ["demo", "DEMO:latest", "qwq", "qwq:32b", ""])
def test_a_model_is_shown_by_any_of_its_names(endpoint: Endpoint, name: str) -> None:
    for key in ("model", "name"):
        assert endpoint.post("/api/show", {key: name}).json()["model_info"]["general.name"] == "qwq-nano"


def test_a_model_is_shown_with_what_its_file_says(client: ollama.Client) -> None:
    shown = client.show("demo")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.modelinfo
    assert (shown.modelinfo["general.architecture"], shown.modelinfo["qwen2.context_length"]) == ("qwen2", 2048)
    assert shown.modelinfo["general.parameter_count"] > 2_000_000
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None
    assert shown.details
    assert shown.details.quantization_level == "Q8_0"
    assert card.THINK in (shown.template or "")
    assert f"{'temperature':<30} {card.TEMPERATURE}" in (shown.parameters or "").splitlines()


def test_the_vocabulary_is_shown_where_it_is_wanted(endpoint: Endpoint) -> None:
    unset = {"name": "", "system": "", "template": "", "options": None}
    info = endpoint.post("/api/show", {"model": "demo", "verbose": True} | unset).json()["model_info"]
    assert card.THINK in info["tokenizer.ggml.tokens"]
    assert len(info["tokenizer.ggml.tokens"]) == 512


def test_the_servers_own_defaults_are_shown() -> None:
    with running(ServerSettings(DeskSettings("demo", defaults={"temperature": 0.7, "max_tokens": 99}), GUARD)) as endpoint:
        lines = endpoint.post("/api/show", {"model": "demo"}).json()["parameters"].splitlines()
        assert {f"{'temperature':<30} 0.7", f"{'num_predict':<30} 99"} <= set(lines)
        limits = [
            endpoint.post("/api/generate", {"prompt": QUESTION, "stream": False, "options": {"seed": 1} | options}).json()["eval_count"]
            for options in ({"num_predict": 5}, {"num_predict": -1})
        ]
        assert limits[0] == 5


def test_what_the_plan_chose_keeps_its_names_while_another_model_is_loaded(stored: Path) -> None:
    def load(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        return load_here(model or "demo", on_progress=on_progress)

    assert stored.exists()
    with running(ServerSettings(DeskSettings(None), GUARD), load) as endpoint:
        assert ask(endpoint, model="QwQ-Nano:Q8_0", prompt=QUESTION, options={"num_predict": 1})["model"] == "QwQ-Nano:Q8_0"
        assert endpoint.get("/api/tags").json()["models"][0]["name"] == "QwQ-Nano:Q8_0"
        for name in ("qwq", "demo:latest", ""):
            assert ask(endpoint, model=name, prompt="", keep_alive=0)["model"] == "demo:latest"
        assert ask(endpoint, model="qwq:latest", prompt=QUESTION, options={"num_predict": 1})["model"] == "demo:latest"


def test_an_unknown_model_cannot_be_shown(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not exist") as refused:
        client.show("llama3")
    assert refused.value.status_code == 404


def test_the_version_is_one_that_clients_can_compare(endpoint: Endpoint) -> None:
    version = endpoint.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4), "older ones are refused by some"


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_liveness_is_told_to_those_who_want_no_body(endpoint: Endpoint, path: str) -> None:
    answer = httpx.head(endpoint.url + path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("POST", "pull", "qwq pull"),
        ("POST", "push", "not sent anywhere"),
        ("POST", "create", "qwq convert"),
        ("POST", "copy", "qwq serve --alias"),
        ("DELETE", "delete", "qwq rm"),
        ("POST", "embed", "no embeddings"),
        ("POST", "embeddings", "no embeddings"),
        ("POST", "blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2", "qwq pull"),
        ("GET", "nothing", "/docs lists what there is"),
    ],
)
def test_what_is_not_there_is_a_404_that_says_what_is(endpoint: Endpoint, method: str, path: str, instead: str) -> None:
    answer = httpx.request(method, f"{endpoint.url}/api/{path}", json={"model": "demo"} if method != "GET" else None)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert instead in answer.json()["error"]


# How long a model stays


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        *[(300, 300), (0, 0), (0.5, 0.5), (-1, None), (1e300, None), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("-1s", None), ("0", 0)],
        *[("100ms", 0.1), ("+2m", 120), (".5s", 0.5), ("1µs", 1e-6), ("9" * 400 + "h", None)],
    ],
)
def test_durations_are_read_as_go_reads_them(told: float | str, seconds: float | None) -> None:
    assert stay_seconds(told) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("told", ["", "5", "5 m", "m", "1h30", "5M", "h1", "1d", "--1s", "٣m"])
def test_what_is_no_duration_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        stay_seconds(told)


@pytest.mark.parametrize(("count", "text"), [(32_763_876_352, "32.8B"), (2_624_768, "2.6M"), (1_000, "1.0K"), (7, "7")])
def test_parameters_are_counted_shortly(count: int, text: str) -> None:
    assert short_count(count) == text


def test_a_model_in_this_process_stays(client: ollama.Client, endpoint: Endpoint) -> None:
    (model,) = client.ps().models
    assert (model.name, model.context_length, model.size_vram) == ("demo:latest", 512, 0)
    assert model.size
    assert model.expires_at
    assert model.expires_at > datetime.now(UTC) + timedelta(days=36500)
    assert endpoint.post("/api/generate", {"prompt": "", "keep_alive": 0}).status_code == 409


@pytest.fixture(scope="module")
def apart() -> Iterator[Endpoint]:
    with running(load=load_apart) as endpoint:
        yield endpoint


def expiries(endpoint: Endpoint) -> list[float]:
    """In how many seconds the loaded models will be unloaded."""
    models = endpoint.get("/api/ps").json()["models"]
    return [(datetime.fromisoformat(model["expires_at"]) - datetime.now(UTC)).total_seconds() for model in models]


def wait_until_unloaded(endpoint: Endpoint) -> None:
    wait_until(lambda: endpoint.get("/health").json()["status"] == "unloaded")


@pytest.mark.slow
def test_a_model_is_loaded_and_unloaded_on_demand(apart: Endpoint) -> None:
    for path, nothing in (("generate", {"prompt": ""}), ("chat", {"messages": []})):
        gone = ask(apart, path, **nothing, keep_alive=0)
        assert (gone["model"], gone["done"], gone["done_reason"]) == ("demo:latest", True, "unload")
        wait_until_unloaded(apart)
        assert expiries(apart) == []
        assert ask(apart, path, **nothing, keep_alive=0)["done_reason"] == "unload"
        assert ask(apart, path, **nothing)["done_reason"] == "load"
        assert apart.get("/health").json()["status"] == "ok"
        assert expiries(apart)[0] > 1e9, "what was said of the model before holds no longer"


@pytest.mark.slow
def test_a_request_says_how_long_the_model_stays_after_it(apart: Endpoint) -> None:
    for keep_alive, least, most in (("10m", 500, 601), (60, 30, 61), (-1, 1e9, 1e11)):
        assert ask(apart, prompt=QUESTION, keep_alive=keep_alive, options={"num_predict": 1})["done_reason"] == "length"
        assert least < expiries(apart)[0] < most
    assert r"\boxed{132}" in ask(apart, prompt=QUESTION, keep_alive="0s", stream=False)["response"]
    wait_until_unloaded(apart)
    assert ask(apart, prompt=QUESTION, options={"num_predict": 1})["done_reason"] == "length"
    assert expiries(apart)[0] > 1e9


@pytest.mark.slow
def test_to_unload_a_model_that_is_not_loaded_changes_nothing(apart: Endpoint, stored: Path) -> None:
    assert stored.exists()
    assert ask(apart, prompt="")["done_reason"] == "load"
    assert ask(apart, model="QwQ-Nano:Q8_0", prompt="", keep_alive=0)["model"] == "QwQ-Nano:Q8_0"
    assert apart.get("/health").json() == apart.get("/health").json() | {"status": "ok", "model": "demo"}
    assert apart.post("/api/generate", {"model": "llama3", "keep_alive": 0}).status_code == 404
