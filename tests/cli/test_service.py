"""`qwq service`: what its options come to, and what it tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwq_local.cli import service_status, servicing
from qwq_local.configuration import find_folders
from qwq_local.installation import find_installation
from qwq_local.service import lifecycle
from qwq_local.service.address import Health
from qwq_local.service.manager import State
from tests.programs import Ended, Qwq
from tests.service.fakes import ORDER, FakeManager


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> FakeManager:
    """A manager of services that starts nothing; whoever asks its services hears that all is well."""
    found = FakeManager()
    monkeypatch.setattr(servicing, "require_lasting", lambda _paths: None)  # tests run in /tmp
    for module in (servicing, service_status):
        monkeypatch.setattr(module, "find_manager", lambda: found)
    monkeypatch.setattr(lifecycle, "ask", lambda _address: Health("ok", "demo", 1.0))
    monkeypatch.setattr(servicing, "Patience", lambda tell: lifecycle.Patience(tell, lambda _address: Health("ok", "demo", 1.0)))
    monkeypatch.setattr(service_status, "look", lambda manager, n: lifecycle.look(manager, n, lambda _address: Health("ok", "demo", 1.0)))
    return found


def assert_said(ended: Ended, words: str) -> None:
    assert ended.code == 0, ended
    assert words in ended.out


def test_only_what_is_given_stands_in_the_service(qwq: Qwq, manager: FakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    ended = qwq(
        *("service", "install", "-m", "demo", "--port", "0", "--port", "18080", "--alias", "a", "--alias", "b"),
        *("--api-key-file", "keys", "--keep-chats", "--no-speculation", "--temperature", "0.5", "--idle-unload", "600"),
    )
    assert_said(ended, "qwq runs as a service: http://127.0.0.1:18080 (demo)")
    order, folders = manager.installed, find_folders()
    assert order is not None
    assert order.program == find_installation().program
    assert set(order.writable) == {str(folders.data), str(folders.cache)}
    options = {"--port 18080", "--alias a", "--alias b", f"--api-key-file {keys}", "--keep-chats", "--idle-unload 600.0"}
    options |= {"--model demo", "--no-speculation", "--temperature 0.5"}
    assert {part for option in options for part in option.split()} == set(order.options)


def test_what_the_settings_file_says_is_left_to_it(qwq: Qwq, manager: FakeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWQ_MODEL", "demo")
    monkeypatch.setenv("QWQ_PORT", "18081")
    ended = qwq("service", "install")
    assert_said(ended, "http://127.0.0.1:18081 (demo)")
    assert manager.installed is not None
    assert manager.installed.options == ()
    assert dict(manager.installed.environment)["QWQ_PORT"] == "18081"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["-m", "demo", "--port", "0"], 2, "port is 0"),
        (["-m", "demo", "--host", "0.0.0.0"], 2, "there is no key"),  # noqa: S104 - refused
        (["-m", "none.gguf"], 1, "none.gguf"),
        (["-m", "demo", "--api-key", "x"], 2, "No such option"),
        (["-m", "demo", "--api-key-file", "/none"], 2, "cannot be read"),
        (["-m", "demo", "--ctx", "999999999"], 2, "ctx is 999,999,999"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(
    qwq: Qwq, manager: FakeManager, arguments: list[str], code: int, told: str
) -> None:
    ended = qwq("service", "install", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err
    assert manager.done == []


def test_a_second_service_is_told_of(qwq: Qwq, manager: FakeManager) -> None:
    manager.installed = ORDER
    ended = qwq("service", "install", "-m", "demo", "--port", "18082")
    assert ended.code == 1
    assert "Another service is there already" in ended.err
    assert "--replace" in ended.err
    assert_said(qwq("service", "install", "-m", "demo", "--port", "18082", "--replace"), "http://127.0.0.1:18082")


def test_status_is_told_for_people_and_for_programs(qwq: Qwq, manager: FakeManager) -> None:
    manager.installed, manager.log = ORDER, ["it began"]
    manager.states = [State(is_running=True, pid=7, since=0.0, restarts=2, starts="at boot")]
    ended = qwq("service", "status")
    assert ended.code == 0
    told: dict[str, Any] = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert (told["service"], told["process"], told["restarts"], told["starts"], told["log"]) == ("runs", "7", "2", "at boot", "it began")
    assert (told["address"], told["model"]) == ("http://127.0.0.1:9000", "demo, ok")
    facts = json.loads(qwq("service", "status", "--json").out)
    assert (facts["running"], facts["pid"], facts["health"], facts["command"][:2]) == (True, 7, "ok", ["/venv/bin/qwq", "serve"])


def test_status_ends_with_1_where_nothing_answers(qwq: Qwq, manager: FakeManager) -> None:
    assert (qwq("service", "status").code, json.loads(qwq("service", "status", "--json").out)["installed"]) == (1, False)
    manager.installed, manager.states = ORDER, [State(end="it ended with exit status 2", starts="at login")]
    ended = qwq("service", "status")
    assert ended.code == 1
    assert "does not run: it ended with exit status 2" in ended.out


def test_remove_says_whether_there_was_one(qwq: Qwq, manager: FakeManager) -> None:
    manager.installed = ORDER
    assert qwq("service", "remove").out == "The service is removed; chats, models and settings stay.\n"
    assert qwq("service", "remove").out == "There is no service.\n"


def test_a_service_is_told_of_and_removed_whatever_the_settings_are(
    qwq: Qwq, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWQ_PROT", "8080")
    manager.installed = replace(ORDER, environment=(("QWQ_PROT", "8080"),))
    told = qwq("service", "status")
    assert told.code == 1
    assert "address    not known: The environment sets QWQ_PROT, which is unknown. Did you mean QWQ_PORT?" in told.out
    facts = json.loads(qwq("service", "status", "--json").out)
    assert (facts["address"], "QWQ_PROT" in facts["error"]) == (None, True)
    refused = qwq("service", "install", "-m", "demo")
    assert (refused.code, "QWQ_PROT" in refused.err) == (2, True)
    assert_said(qwq("service", "remove"), "The service is removed")
