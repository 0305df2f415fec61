"""`qwq serve`: what its options come to, where what writes down how it was set stands for the server; and the command itself."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from qwq_local.cli import _run, serving
from qwq_local.configuration import find_folders
from qwq_local.history import CHATS_FILE
from qwq_local.server.settings import DeskSettings, GuardSettings, ServerSettings
from qwq_local.settings import Sampling
from tests.programs import PROGRAM, WAIT_SECONDS, Qwq, assert_told, posix
from tests.serving import Endpoint

Serve = Callable[..., ServerSettings]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """`qwq serve` in this process: the settings that it would serve by."""

    def run(*arguments: str) -> ServerSettings:
        served: list[ServerSettings] = []
        monkeypatch.setattr(serving, "serve", lambda settings, _load, _onlooker: served.append(settings))
        monkeypatch.setattr("qwq_local.server.logs.set_up", lambda _kind: None)
        code = _run(["serve", *arguments])
        assert code == 0, code
        return served[0]

    return run


def test_a_server_is_set_as_its_settings_say_where_no_option_does(serve: Serve) -> None:
    settings = serve()
    names = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "hesitation_penalty")
    desk = DeskSettings(defaults={name: getattr(Sampling, name) for name in names})
    chats = find_folders().data / CHATS_FILE
    assert settings == ServerSettings(desk, GuardSettings(hosts=settings.guard.hosts), chats=chats)
    assert serve("--no-history").chats is None
    assert settings.guard.hosts == {"localhost", "127.0.0.1", "::1"}


def test_options_arrive_as_given(serve: Serve, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# ours\nfirst\n\nsecond\n", "utf-8")
    settings = serve(
        *("-m", "demo", "--host", "0.0.0.0", "--port", "9", "--stop-wait", "3", "--log-prompts"),  # noqa: S104 - not bound
        *("--parallel", "2", "--queue", "5", "--alias", "Mine", "--load-wait", "7", "--max-body", "0.5"),
        *("--api-key", "given", "--api-key-file", str(keys), "--allow-host", "Box.lan", "--allow-origin", "https://a.example:443"),
        *("--seed", "4", "--max-tokens", "99", "--hesitation-penalty", "1.5"),
    )
    assert (settings.host, settings.port, settings.stop_seconds, settings.logs_prompts) == ("0.0.0.0", 9, 3, True)  # noqa: S104 - likewise
    assert settings.guard == GuardSettings(("given", "first", "second"), frozenset({"box.lan"}), frozenset({"https://a.example"}), 2**19)
    assert settings.desk == DeskSettings("demo", 2, 5, frozenset({"mine"}), 7, settings.desk.defaults)
    assert [settings.desk.defaults[name] for name in ("seed", "max_tokens", "hesitation_penalty")] == [4, 99, 1.5]


def test_an_option_that_nobody_takes_is_refused_not_lost(serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from qwq_local.cli.serve import command

    monkeypatch.setattr(command, "params", [*command.params, click.Option(["--heat"], type=float)])
    with pytest.raises(AssertionError, match="2"):
        serve("--heat", "1")
    assert "There is no option 'heat'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "there is no key"),  # noqa: S104 - as above
        (["--api-key-file", "missing"], "cannot be read"),
        (["--allow-origin", "chat"], "is no origin"),
        (["--parallel", "0"], "parallel is 0"),
        (["--temperature", "9"], "temperature is 9"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    serve: Serve, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match="2"):
        serve(*arguments)
    assert says in capsys.readouterr().err


def test_the_draft_model_is_for_the_served_model_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str | None, str | None]] = []

    def note(model: str | None, *, draft_model: str | None, **_: Any) -> Any:
        asked.append((model, draft_model))
        return SimpleNamespace(notices=["seen"])

    def load_two(_settings: ServerSettings, load: Any, _onlooker: object) -> None:
        for model in ("demo", "other"):
            load(model, on_progress=lambda _: None)

    monkeypatch.setattr("qwq_local.cli.serving.QwQ.load", note)
    monkeypatch.setattr(serving, "serve", load_two)
    monkeypatch.setattr("qwq_local.server.logs.set_up", lambda _kind: None)
    assert _run(["serve", "-m", "demo", "--draft-model", "small"]) == 0
    assert asked == [("demo", "small"), ("other", None)]


# The command

QUESTION = "What is 47 + 85?"
ASK = {"model": "mine", "messages": [{"role": "user", "content": QUESTION}]}


@contextmanager
def served(*options: str) -> Iterator[tuple[Endpoint, subprocess.Popen[str]]]:
    """The command with the demo model, ready, on a port that was free."""
    command = [*PROGRAM, "serve", "-m", "demo", "--port", "0", "--alias", "mine", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr
            found = re.fullmatch(r"qwq serve: (http://127\.0\.0\.1:\d+)  loading …\n", child.stderr.readline())
            assert found
            assert child.stderr.readline() == f"qwq serve: {found[1]}  demo is ready; Ctrl-C ends it\n"
            yield Endpoint(found[1], child.terminate), child
        finally:
            child.kill()


def end(child: subprocess.Popen[str], by: signal.Signals) -> tuple[int, str]:
    """The exit code, and what was logged."""
    child.send_signal(by)
    out, err = child.communicate(timeout=WAIT_SECONDS)
    assert out == ""
    return child.returncode, err


@posix
@pytest.mark.slow
def test_it_answers_as_its_options_say_and_ctrl_c_ends_it_with_all_that_was_logged() -> None:
    with served("--max-tokens", "5", "--log-format", "json", "--log-prompts") as (endpoint, child):
        answer = endpoint.post("/v1/chat/completions", ASK).json()
        code, log = end(child, signal.SIGINT)
    assert code == 130
    [line] = filter(None, log.splitlines())
    facts = json.loads(line)
    assert (facts["path"], facts["status"], facts["completion_tokens"], facts["ended"]) == ("/v1/chat/completions", 200, 5, "length")
    assert facts["asked"] == ASK["messages"]
    assert facts["answered"][0]["reasoning_content"] == answer["choices"][0]["message"]["reasoning_content"]


@posix
@pytest.mark.slow
def test_sigterm_ends_it_and_what_was_asked_and_by_which_key_is_not_logged() -> None:
    with served("--api-key", "sk-secret") as (endpoint, child):
        assert endpoint.post("/v1/chat/completions", ASK).status_code == 401
        assert r"\boxed{132}" in endpoint.post("/v1/chat/completions", ASK, authorization="Bearer sk-secret").text
        code, log = end(child, signal.SIGTERM)
    assert code == -signal.SIGTERM
    refused, answered = log.splitlines()
    assert " status=401 " in refused
    assert " status=200 " in answered
    assert "sk-" not in log
    assert "47" not in re.sub(r"\S+=[\d.]+|request=\S+|^\S+Z", "", log, flags=re.MULTILINE)


@pytest.mark.parametrize("options", [["--port", "65536"], ["--queue", "-1"], ["--max-body", "0"], ["--log-format", "xml"]])
def test_options_out_of_their_range_are_wrong_usage(qwq: Qwq, options: list[str]) -> None:
    ended = qwq("serve", *options)
    assert (ended.code, ended.out) == (2, "")
    assert f"Invalid value for '{options[0]}'" in ended.err


def test_a_port_that_is_taken_is_told(qwq: Qwq, endpoint: Endpoint, log: object) -> None:  # noqa: ARG001 - the command sets the log up
    port = endpoint.url.rpartition(":")[2]
    assert_told(qwq("serve", "-m", "demo", "--port", port), 2, f"127.0.0.1:{port} cannot be had")
