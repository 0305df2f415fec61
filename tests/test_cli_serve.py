"""`qwq serve`: what its options come to. The server itself is stood for by what writes down how it was set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from qwq_local.cli import _run, serving
from qwq_local.server.settings import DeskSettings, GuardSettings, ServerSettings
from qwq_local.settings import Sampling

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
    names = ("temperature", "top_p", "top_k", "min_p", "presence_penalty")
    desk = DeskSettings(defaults={name: getattr(Sampling, name) for name in names})
    assert settings == ServerSettings(desk, GuardSettings(hosts=settings.guard.hosts))
    assert settings.guard.hosts == {"localhost", "127.0.0.1", "::1"}


def test_options_arrive_as_given(serve: Serve, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# ours\nfirst\n\nsecond\n", "utf-8")
    settings = serve(
        *("-m", "demo", "--host", "0.0.0.0", "--port", "9", "--stop-wait", "3", "--log-prompts"),  # noqa: S104 - not bound
        *("--parallel", "2", "--queue", "5", "--alias", "Mine", "--load-wait", "7", "--max-body", "0.5"),
        *("--api-key", "given", "--api-key-file", str(keys), "--allow-host", "Box.lan", "--allow-origin", "https://a.example:443"),
        *("--seed", "4", "--max-tokens", "99"),
    )
    assert (settings.host, settings.port, settings.stop_seconds, settings.logs_prompts) == ("0.0.0.0", 9, 3, True)  # noqa: S104 - likewise
    assert settings.guard == GuardSettings(("given", "first", "second"), frozenset({"box.lan"}), frozenset({"https://a.example"}), 2**19)
    assert settings.desk == DeskSettings("demo", 2, 5, frozenset({"mine"}), 7, settings.desk.defaults)
    assert (settings.desk.defaults["seed"], settings.desk.defaults["max_tokens"]) == (4, 99)


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
