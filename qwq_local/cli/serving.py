"""`qwq serve`: options turned into a server's settings, and what the terminal tells of it."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from qwq_local.asking import AnswerWish
from qwq_local.cli.first_run import with_model
from qwq_local.cli.options import take_load
from qwq_local.cli.terminal import notice
from qwq_local.configuration import find_folders, read_configuration
from qwq_local.errors import SettingsError
from qwq_local.history import CHATS_FILE
from qwq_local.runtime import QwQ
from qwq_local.server import logs
from qwq_local.server.addresses import allowed_hosts, origin_of
from qwq_local.server.desk import Health, Load
from qwq_local.server.run import serve
from qwq_local.server.settings import DeskSettings, GuardSettings, ServerSettings
from qwq_local.settings import LoadSettings


def run(options: dict[str, Any]) -> None:
    """Serve as the options say. Raises SettingsError, and what loading raises."""
    opens_page = options.pop("opens_page")
    settings, load = prepare(options)
    serve(settings, load, _Terminal(opens_page=opens_page))


def prepare(options: dict[str, Any]) -> tuple[ServerSettings, Load]:
    """A server's settings, and what loads its models, its log set up. Raises SettingsError, and what pulling raises."""
    log_format = options.pop("log_format")
    how = {"isolated": True, "keeps_chats": options.pop("keeps_chats"), "idle_seconds": options.pop("idle_seconds")}
    settings, load_settings = read_settings(options)
    served = with_model({**asdict(load_settings), "model": settings.desk.model})["model"]
    settings = replace(settings, desk=replace(settings.desk, model=served))
    logs.set_up(log_format)

    def load(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        # The draft model was chosen for the model that is served, and need not know the tokens of others.
        own = load_settings if model == served else replace(load_settings, draft_model=None)
        qwq = QwQ.load(model, **asdict(own), **how, on_progress=on_progress)
        for text in qwq.notices:
            notice(f"notice: {text}")
        return qwq

    return settings, load


class _Terminal:
    """Tells whoever started the server how it fares."""

    def __init__(self, *, opens_page: bool) -> None:
        self._opens_page = opens_page

    def listens(self, address: str, _stop: Callable[[], None]) -> None:
        notice(f"qwq serve: {address}  loading …")
        if self._opens_page:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    def is_ready(self, address: str, health: Health) -> None:
        notice(f"qwq serve: {address}  {health.model} is ready; Ctrl-C ends it")


def read_settings(options: dict[str, Any]) -> tuple[ServerSettings, LoadSettings]:
    """A server's settings, and how it loads models; what other options there are hold for requests that don't name them.

    Raises SettingsError for what cannot be.
    """
    take = options.pop
    load = take_load(options)
    model, host = load.pop("model"), take("host")
    load_settings = LoadSettings(**load)
    guard = GuardSettings(
        keys=read_keys(take("keys"), take("key_file"), str(read_configuration().arguments.get("api_key", ""))),
        hosts=allowed_hosts(host, take("hosts")),
        origins=frozenset(map(_origin, take("origins"))),
        max_body_bytes=round(take("max_body_mib") * 2**20),
    )
    chats = None if take("no_history") else find_folders().data / CHATS_FILE
    server = {"chats": chats, "host": host, "port": take("port"), "stop_seconds": take("stop_seconds"), "logs_prompts": take("log_prompts")}
    desk = DeskSettings(
        model=model,
        n_parallel=load_settings.n_parallel,
        n_queued=take("n_queued"),
        aliases=frozenset(name.casefold() for name in take("aliases")),
        load_wait_seconds=take("load_wait_seconds"),
        defaults={name: value for name, value in options.items() if value is not None},
    )
    AnswerWish.of(desk.defaults, None)
    return ServerSettings(desk, guard, **server), load_settings


def read_keys(given: tuple[str, ...], file: str | None, configured: str) -> tuple[str, ...]:
    """All keys: those given, those configured (by commas), those of a file (one a line, # begins a comment). Raises SettingsError."""
    keys = [*given, *configured.split(",")]
    if file is not None:
        try:
            lines = Path(file).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"The keys in {file} cannot be read: {error}.", hint="Name a text file with one key a line.") from error
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise SettingsError(f"{file} holds no key.", hint="Write one key a line.")
        keys += found
    return tuple(dict.fromkeys(key.strip() for key in keys if key.strip()))


def _origin(text: str) -> str:
    try:
        return origin_of(text)
    except ValueError:
        raise SettingsError(
            f"allow-origin is {text!r}, which is no origin.", hint="Such as https://chat.example.org, without a path."
        ) from None
