"""Tasks of the hub, asked over real sockets with huggingface_hub as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from qwq_local.errors import HubError, SettingsError
from qwq_local.evaluation.sources import answers_beside, find_source
from qwq_local.evaluation.tasks import read_tasks

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
SAMPLES: Final = Path(__file__).parents[1] / "data" / "tasks"
FILES: Final = {
    "data/test.jsonl": (SAMPLES / "aime.jsonl").read_bytes(),
    "simple.json": (SAMPLES / "BFCL_v4_simple_python.json").read_bytes(),
    "possible_answer/simple.json": (SAMPLES / "possible_answer" / "BFCL_v4_simple_python.json").read_bytes(),
}


class DataHub(ThreadingHTTPServer):
    """The data set someone/own, or nothing but a status where `status` says so."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status: HTTPStatus | None = None
        self.error_code = ""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str) -> tuple[HTTPStatus, bytes, dict[str, str]]:
        self.asked.append(path)
        if self.status is not None:
            return self.status, b"", {"X-Error-Code": self.error_code}
        repository, _, place = path.partition("/resolve/main/")
        if repository != "/datasets/someone/own":
            return HTTPStatus.NOT_FOUND, b"", {"X-Error-Code": "RepoNotFound"}
        if place not in FILES:
            return HTTPStatus.NOT_FOUND, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
        return HTTPStatus.OK, FILES[place], {"ETag": f'"{hashlib.sha1(FILES[place]).hexdigest()}"', "X-Repo-Commit": COMMIT}  # noqa: S324 # as git names it


class _Handler(BaseHTTPRequestHandler):
    server: DataHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def do_GET(self) -> None:
        self._send(with_body=True)

    def _send(self, *, with_body: bool) -> None:
        status, body, headers = self.server.answer(self.path)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DataHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its tries
    with DataHub() as server:
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_of_the_hub_is_read_like_one_that_is_here_and_kept_for_when_there_is_no_network(
    hub: DataHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "hub:someone/own/data/test.jsonl"
    tasks = read_tasks(told)
    assert tasks.name == "own-test"
    assert tasks.digest == read_tasks(str(SAMPLES / "aime.jsonl")).digest
    assert hub.asked[0] == "/datasets/someone/own/resolve/main/data/test.jsonl"
    hub.asked.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert read_tasks(told) == tasks
    assert not hub.asked


@pytest.mark.usefixtures("hub")
def test_answers_are_found_beside_the_tasks_on_the_hub_too() -> None:
    tasks = read_tasks("hub:someone/own/simple.json")
    assert tasks.digest == read_tasks(str(SAMPLES / "BFCL_v4_simple_python.json")).digest
    source = find_source("hub:someone/own/simple.json")
    assert (found := answers_beside(source)) is not None
    assert json.loads(found.path.read_text("utf-8").splitlines()[0])["id"] == "simple_python_0"
    assert answers_beside(find_source("hub:someone/own/data/test.jsonl")) is None
    given = read_tasks(str(SAMPLES / "BFCL_v4_simple_python.json"), answers="hub:someone/own/possible_answer/simple.json")
    assert given.digest == tasks.digest


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("hub:someone/own/nothing.jsonl", "has no file nothing.jsonl"),
        ("hub:someone/else/test.jsonl", "no repository someone/else"),
        ("hub:-someone/own/test.jsonl", "no name of a data set"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_lacks_is_told(told: str, message: str) -> None:
    with pytest.raises(HubError, match=message) as caught:
        read_tasks(told)
    assert caught.value.hint


@pytest.mark.parametrize("told", ["hub:", "hub:someone", "hub:someone/own", "hub:someone/own/", "hub:someone/own/../x.jsonl"])
def test_half_a_name_of_the_hub_is_refused_without_asking(hub: DataHub, told: str) -> None:
    with pytest.raises(SettingsError, match="names no file") as caught:
        read_tasks(told)
    assert "hub:OWNER/DATASET/PATH" in caught.value.hint
    assert not hub.asked


@pytest.mark.parametrize(
    ("status", "error_code", "message", "is_passing"),
    [
        (HTTPStatus.FORBIDDEN, "GatedRepo", "open only to those", False),
        (HTTPStatus.UNAUTHORIZED, "", "no repository|refuses", False),
        (HTTPStatus.INTERNAL_SERVER_ERROR, "", "HTTP 500", True),
    ],
)
def test_what_the_hub_refuses_is_told(hub: DataHub, status: HTTPStatus, error_code: str, message: str, is_passing: bool) -> None:
    hub.status, hub.error_code = status, error_code
    with pytest.raises(HubError, match=message) as caught:
        read_tasks("hub:someone/own/data/test.jsonl")
    assert caught.value.is_passing is is_passing


def test_offline_what_is_not_here_is_refused_with_what_to_do(hub: DataHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE") as caught:
        read_tasks("hub:someone/own/data/test.jsonl")
    assert "'nano'" in caught.value.hint
    assert not hub.asked


def test_a_hub_that_is_not_reached_is_told_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its tries
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(HubError, match="connection to the hub failed") as caught:
        read_tasks("hub:someone/own/data/test.jsonl")
    assert caught.value.is_passing
