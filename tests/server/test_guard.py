"""What the endpoint refuses, and that it goes on answering others."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import psutil
import pytest

from qwq_local.cli.serving import read_keys
from qwq_local.errors import SettingsError
from qwq_local.server.addresses import allowed_hosts, is_loopback, origin_of
from qwq_local.server.desk import Desk
from qwq_local.server.settings import DeskSettings, GuardSettings, ServerSettings
from tests.server_attacks import ATTACKS, KEY, SECURED, SUM, Attack, chat, head, status
from tests.serving import GUARD, Endpoint, log_up_to, running


@pytest.fixture(scope="module")
def secured() -> Iterator[Endpoint]:
    with running(SECURED) as endpoint:
        yield endpoint


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused_and_the_next_request_is_answered(secured: Endpoint, attack: Attack) -> None:
    assert attack.carry_out(secured) == attack.expected
    assert status(secured, head("GET", "/v1/models")) == 200


@pytest.mark.parametrize("key", [KEY, "another"])
def test_each_key_opens_in_either_header(secured: Endpoint, key: str) -> None:
    assert secured.get("/v1/models", authorization=f"Bearer {key}").status_code == 200
    assert secured.get("/v1/models", authorization=f"bearer {key}").status_code == 200
    assert secured.get("/v1/models", **{"x-api-key": key}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health", "/docs", "/openapi.json"])
def test_what_tells_nothing_needs_no_key(secured: Endpoint, path: str) -> None:
    assert secured.get(path).status_code == 200


def test_a_page_that_was_allowed_may_ask(secured: Endpoint) -> None:
    origin = "https://friend.example"
    answer = secured.post("/v1/chat/completions", SUM, authorization=f"Bearer {KEY}", origin=origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
    leave = head("OPTIONS", "/v1/models", f"Origin: {origin}", "Access-Control-Request-Method: GET", key=None)
    assert status(secured, leave) == 200
    refused = secured.post("/v1/chat/completions", SUM, origin=origin)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin), "it may read why it is refused"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://Chat.Example.org", "https://chat.example.org"),
        ("https://chat.example.org:443/", "https://chat.example.org"),
        ("http://chat.example.org:8080", "http://chat.example.org:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_origins_are_compared_as_browsers_send_them(given: str, origin: str) -> None:
    assert origin_of(given) == origin


@pytest.mark.parametrize("given", ["chat.example.org", "https://chat.example.org/path", "https://a@b", "https://", "https://x:port"])
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"origin|port"):
        origin_of(given)


def test_a_fault_of_the_server_is_told_logged_and_counted_under_its_id(
    secured: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Desk) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(Desk, "models", fail)
    answer = secured.get("/v1/models", authorization=f"Bearer {KEY}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert f"request {answer.headers['x-request-id']} failed" in caplog.text
    metrics = secured.get("/metrics", authorization=f"Bearer {KEY}").text
    assert 'qwq_requests_total{route="/v1/models",status="500"} 1.0' in metrics


def test_a_page_of_the_server_itself_may_ask(secured: Endpoint) -> None:
    assert secured.get("/v1/models", authorization=f"Bearer {KEY}", origin=secured.url).status_code == 200


def test_errors_have_the_shape_of_the_api_that_was_asked(secured: Endpoint) -> None:
    openai, anthropic, ollama = (secured.post(path, SUM).json() for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"))
    assert (openai["error"]["type"], openai["error"]["code"]) == ("authentication_error", "missing_api_key")
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")
    assert "key" in ollama["error"]


def test_a_request_keeps_its_id_unless_that_is_unfit(secured: Endpoint) -> None:
    assert secured.get("/health", **{"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for unfit in ("a b", "x" * 65, "<script>"):
        assert secured.get("/health", **{"x-request-id": unfit}).headers["x-request-id"].startswith("req_")


def _is_held(connection: socket.socket) -> bool:
    """Whether the other side, in this process too, has not hung up on a connection that nobody reads."""
    here, there = connection.getsockname(), connection.getpeername()
    return any(
        (found.laddr, found.raddr, found.status) == (there, here, psutil.CONN_ESTABLISHED)
        for found in psutil.Process().net_connections("tcp")
    )


def _read_to_end(connection: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(2**20):
            data += part
    return data


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answer_is_let_go(secured: Endpoint) -> None:
    address = urlsplit(secured.url)
    many = json.dumps(SUM | {"n": 16, "stream": True, "logprobs": True, "top_logprobs": 20}).encode()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((address.hostname, address.port))
        deaf.settimeout(60)
        deaf.sendall(chat(body=many) * 20)
        assert status(secured, chat(), patience_seconds=100) == 200, "others are answered meanwhile"
        while _is_held(deaf):  # as long as it takes to write more than the system's buffers hold, and some seconds
            time.sleep(0.1)
        assert _read_to_end(deaf).count(b"[DONE]") < 20, "it was hung up on"


def test_keys_are_neither_told_nor_logged(secured: Endpoint, log: io.StringIO) -> None:
    for headers in ({"authorization": "Bearer sk-mistyped"}, {"x-api-key": "sk-mistyped"}, {"authorization": f"Bearer {KEY}"}):
        answer = secured.get("/v1/models", **headers)
        assert "sk-" not in answer.text
        assert log_up_to(log, answer.headers["x-request-id"])
    assert "sk-" not in log.getvalue()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104 - refused
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match="there is no key"):
        ServerSettings(DeskSettings("demo"), GuardSettings(), host=host)
    ServerSettings(DeskSettings("demo"), replace(GUARD, keys=("k",)), host=host)


def test_a_server_that_others_reach_goes_by_any_name_unless_names_are_given() -> None:
    assert allowed_hosts("0.0.0.0", ()) == frozenset()  # noqa: S104 - not bound
    names = ("Box.lan", "other.lan:8080", "[::1]", "fe80::1")
    assert allowed_hosts("0.0.0.0", names) == {"box.lan", "other.lan", "::1", "fe80::1"}  # noqa: S104 - likewise
    assert "127.0.0.1" in allowed_hosts("localhost", ())


def test_keys_come_from_options_the_environment_and_a_file(tmp_path: os.PathLike[str]) -> None:
    file = os.path.join(tmp_path, "keys")  # noqa: PTH118 - as users type it
    with open(file, "w", encoding="utf-8") as out:  # noqa: PTH123 - likewise
        out.write("# ours\nfrom-file \n\nfrom-option\n")
    keys = read_keys(("from-option",), file, "one, two,")
    assert keys == ("from-option", "one", "two", "from-file")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_keys((), os.path.join(tmp_path, "none"), "")  # noqa: PTH118 - likewise
