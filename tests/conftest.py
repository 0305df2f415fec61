"""What every test stands on: an environment of its own, the demo model loaded once, and the slow tests last."""

from __future__ import annotations

import io
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from qwq_convert.pipeline import convert
from qwq_local.runtime import QwQ
from qwq_local.server import logs
from tests.checkpoints import NANO
from tests.drafts import write_draft
from tests.endless import write_endless
from tests.programs import Qwq
from tests.serving import Endpoint, running
from tests.terminals import Terminal

# A busy machine must not fail a test: nothing here is about time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("patient")

_FOREIGN = ("QWQ_", "HF_", "XDG_", "HUGGING", "LLAMA_", "OLLAMA_", "OPENAI_", "ANTHROPIC_", "LITELLM_")
_PROXY = "_PROXY"
_COLOURS = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS")


def pytest_configure(config: pytest.Config) -> None:
    """What must hold before a test's module is imported, since some look for models and make clients there."""
    # A shell starts what it puts in the background with SIGINT ignored, and so would every program that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    home = tempfile.TemporaryDirectory(prefix="qwq-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    _leave_environment(patch, Path(home.name))
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, _stay_here(getattr(socket.socket, name)))


def _leave_environment(patch: pytest.MonkeyPatch, home: Path) -> None:
    """No test, and no program that a test starts, sees the home folder, the settings or the accounts of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.upper().endswith(_PROXY) or name in _COLOURS:
            patch.delenv(name)
    for name in ("HOME", "USERPROFILE"):
        patch.setenv(name, str(home))
    for name in ("QWQ_MODELS", "QWQ_DATA", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        patch.setenv(name, str(home / name.lower()))
    patch.setenv("QWQ_CONFIG", str(home / "config.toml"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("TERM", "xterm")
    patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nobody listens: what a child asks the network for fails
    patch.setenv("NO_PROXY", "127.0.0.1,localhost,::1")


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def _stay_here(connect: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    """`connect`, which fails the test where it would leave this machine."""

    def connect_here(connection: socket.socket, address: Any) -> Any:
        if connection.family in {socket.AF_INET, socket.AF_INET6} and not _is_this_machine(address[0]):
            connection.close()
            pytest.fail(f"this test asks the network: {address}")
        return connect(connection, address)

    return connect_here


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def demo() -> Iterator[QwQ]:
    """The built-in model, loaded once for all tests."""
    with QwQ.load("demo") as qwq:
        yield qwq


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that talks until its context is full."""
    return write_endless(tmp_path_factory.mktemp("endless") / "endless.gguf")


@pytest.fixture(scope="session")
def nano_draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A draft model of the built-in one."""
    return write_draft(tmp_path_factory.mktemp("draft"))


@pytest.fixture(scope="session")
def nano_f32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model in floats, whose products are the same in batches of any width."""
    return convert(NANO, tmp_path_factory.mktemp("f32"), ["F32"]).files[0].path


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    """A server of the built-in model, started once for all tests."""
    with running() as found:
        yield found


@pytest.fixture
def qwq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Qwq:
    return Qwq(monkeypatch, capsys)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What servers log, as `qwq serve` writes it; its parameter is the format."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    loggers = [logging.getLogger(name) for name in ("qwq", "qwq_local", "uvicorn.error")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    logs.set_up(getattr(request, "param", "text"))
    yield written
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts programs, each on a terminal of its own."""
    made: list[Terminal] = []

    def open_terminal(*command: str, **environment: str) -> Terminal:
        made.append(Terminal(*command, **environment))
        return made[-1]

    yield open_terminal
    for terminal in made:
        terminal.close()
