"""`qwq serve`: options turned into a server's settings, and what the terminal tells of it."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from qwq_local.asking import Choices
from qwq_local.cli.terminal import notice
from qwq_local.configuration import read_configuration
from qwq_local.errors import SettingsError
from qwq_local.runtime import QwQ
from qwq_local.server import logs
from qwq_local.server.desk import DeskSettings, Health
from qwq_local.server.guard import GuardSettings, allowed_hosts, origin_of
from qwq_local.server.run import ServerSettings, serve
from qwq_local.settings import LoadSettings

LOAD_FIELDS: Final = ("n_ctx", "n_gpu_layers", "kv_type", "rope", "force", "n_parallel")
SAMPLING_FIELDS: Final = (
    *("temperature", "top_p", "top_k", "min_p", "presence_penalty", "seed"),
    *("max_tokens", "think_tokens"),
)
SERVER_FIELDS: Final = ("host", "port", "stop_seconds")


def run(options: dict[str, Any]) -> None:
    """Serve as the options say. Raises SettingsError, and what loading raises."""
    settings, load_arguments, idle_seconds = read_options(options)
    logs.set_up(options["log_format"])

    def load(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        how = {"isolated": True, "keeps_chats": options["keeps_chats"], "idle_seconds": idle_seconds}
        qwq = QwQ.load(model, **load_arguments, **how, on_progress=on_progress)
        for text in qwq.notices:
            notice(f"notice: {text}")
        return qwq

    serve(settings, load, _Terminal(opens_page=options["opens_page"]))


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


def read_options(options: Mapping[str, Any]) -> tuple[ServerSettings, dict[str, Any], float | None]:
    """A server's settings, the arguments of `QwQ.load`, and the idle seconds. Raises SettingsError for what cannot be."""
    load = {name: options[name] for name in LOAD_FIELDS}
    LoadSettings(**load)
    guard = GuardSettings(
        keys=read_keys(options["keys"], options["key_file"], str(read_configuration().arguments.get("api_key", ""))),
        hosts=allowed_hosts(options["host"], options["hosts"]),
        origins=frozenset(map(_origin, options["origins"])),
        max_body_bytes=round(options["max_body_mib"] * 2**20),
    )
    desk = DeskSettings(
        options["model"],
        options["n_parallel"],
        options["n_queued"],
        frozenset(name.casefold() for name in options["aliases"]),
        options["load_wait_seconds"],
        {name: value for name, value in options.items() if name in SAMPLING_FIELDS and value is not None},
    )
    Choices.of(desk.defaults, None)
    server = {name: options[name] for name in SERVER_FIELDS}
    return ServerSettings(desk, guard, **server, logs_prompts=options["log_prompts"]), load, options["idle_seconds"]


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
