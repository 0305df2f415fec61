"""The first run: no model is here, and whoever sits at a terminal is told what suits this machine, and asked once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from qwq_local.cli import first_run
from qwq_local.cli.first_run import page, propose, with_model
from qwq_local.errors import HubError, SettingsError
from qwq_local.machine.machine import Machine, described
from qwq_local.models.hub import Hub
from qwq_local.models.record import Record
from qwq_local.offers import offers_here
from qwq_local.plan.plan import Plan, PlanWish, make_plan
from tests.hub_server import HubServer, serve
from tests.programs import Qwq, assert_told, posix
from tests.terminals import Terminal
from tests.waiting import wait_until

REPOSITORY = "Qwen/QwQ-32B-GGUF"
DEMO = resources.files("qwq_local").joinpath("demo", "qwq-nano-Q8_0.gguf").read_bytes()
QUESTION = "What is 47 + 85?"
# The program on a machine with a card of 24 GiB: what is looked at is described, everything else is as it is.
ON_24_GIB = """
from qwq_local.cli import first_run, main
from qwq_local.machine.machine import described
from qwq_local.offers import offers_here
from qwq_local.plan.plan import make_plan
first_run.plan_apart = lambda wish: make_plan(described([24], 64), offers_here(), wish)
main()
"""


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    return tmp_path / "models"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub whose Q4_K_M is the demo model."""
    with serve({REPOSITORY: {"qwq-32b-q4_k_m.gguf": DEMO}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield hub


@pytest.fixture
def start(on_terminal: Callable[..., Terminal]) -> Callable[..., Terminal]:
    def start_it(*arguments: str, **environment: str) -> Terminal:
        return on_terminal(sys.executable, "-c", ON_24_GIB, *arguments, **environment)

    return start_it


def plan_for(machine: Machine) -> Plan:
    return make_plan(machine, offers_here(), PlanWish())


class FakeHub(Hub):
    """Has what is asked for, or fails as it is told to."""

    def __init__(self, error: HubError | None = None) -> None:
        super().__init__("http://127.0.0.1:9")
        self._error = error

    def find(self, quantization: str, repositories: object, revision: str = "main") -> list[Record]:  # noqa: ARG002 - as the hub has it
        if self._error:
            raise self._error
        return [Record(REPOSITORY, "0" * 40, f"qwq-32b-{quantization.lower()}.gguf", 19_850_000_000, "ab" * 32)]


def shown(plan: Plan, hub: Hub, width: int = 80) -> str:
    return "\n".join(page(propose(plan, hub), width))


# What is told


def test_the_machine_the_choice_its_size_speed_and_origin_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**12}))
    text = shown(plan_for(replace(described([24], 64), disk_free_bytes=200 * 10**9)), FakeHub())
    joined = " ".join(text.split())
    assert "GPU with 24 GiB" in joined
    assert "200 GB of disk free" in joined
    assert f"QwQ-32B:Q4_K_M, 19.9 GB from {REPOSITORY}, about 3" in joined
    assert "fit whole on the GPU" in joined
    assert "but" not in [line.split(" ")[0] for line in text.splitlines()]
    assert all(len(line) < 80 for line in text.splitlines())


def test_what_is_here_already_of_it_is_told(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**12}))
    part = shelf / ".partial" / "QwQ-32B-Q4_K_M.gguf.abababababab.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(200_000_000))
    assert "0.2 GB of which are here already" in " ".join(shown(plan_for(described([24], 64)), FakeHub()).split())


def test_a_disk_too_full_is_told_before_anything_is_begun(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    text = " ".join(shown(plan_for(described([24], 64)), FakeHub()).split())
    assert "19.9 GB are still to be written" in text
    assert "1.0 GB are free" in text
    assert "QWQ_MODELS" in text
    assert not shelf.exists()


def test_a_hub_that_cannot_be_asked_and_a_machine_too_small_are_told() -> None:
    text = " ".join(shown(plan_for(described([24], 64)), FakeHub(HubError("No network.", hint="Check it."))).split())
    assert "cannot be pulled now. No network. Check it." in text
    assert "Q4_K_M" in text
    text = " ".join(shown(plan_for(described([], 6)), FakeHub()).split())
    assert "No quantization of it fits this machine" in text
    assert "the smallest" in text
    assert "demo" in text


# Who is asked


def test_only_a_terminal_is_asked_and_only_where_no_model_is_named_or_here(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "ask", lambda _: "chosen")
    assert with_model({"model": None, "n_ctx": 99}) == {"model": None, "n_ctx": 99}
    monkeypatch.setattr(first_run, "is_watched", lambda: True)
    assert with_model({"model": None, "n_ctx": 99}) == {"model": "chosen", "n_ctx": 99}
    assert with_model({"model": "demo"}) == {"model": "demo"}
    with pytest.raises(SettingsError, match="ctx is 3"):
        with_model({"model": None, "n_ctx": 3})
    shelf.mkdir()
    (shelf / "QwQ-32B-Q4_K_M.gguf").write_bytes(DEMO)
    assert with_model({"model": None}) == {"model": None}


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_without_a_terminal_nothing_is_asked(qwq: Qwq, command: str) -> None:
    ended = qwq(command, *([QUESTION] if command == "ask" else []), stdin=b"hi\n")
    assert_told(ended, 1, "There is no model")
    assert "-m demo" in ended.err


def test_the_program_alone_without_a_terminal_prints_help(qwq: Qwq) -> None:
    ended = qwq()
    assert ended.code == 2
    assert "Commands:" in ended.err


# On a terminal


@posix
@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_yes_pulls_and_answers_and_the_next_run_asks_nothing(start: Callable[..., Terminal], shelf: Path) -> None:
    terminal = start("ask", "--seed", "1", QUESTION)
    terminal.await_text("[Y]es, [d]emo, [n]o")
    terminal.type("\n")
    assert terminal.end() == 0, terminal.shown
    assert b"132" in terminal.shown
    assert (shelf / "QwQ-32B-Q4_K_M.gguf").read_bytes() == DEMO
    again = start("ask", "--seed", "1", QUESTION)
    assert again.end() == 0
    assert b"[Y]es" not in again.shown


@posix
@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_the_program_alone_asks_and_then_chats_with_the_demo_where_that_is_wanted(start: Callable[..., Terminal], shelf: Path) -> None:
    terminal = start()
    terminal.await_text("[n]o")
    terminal.type("maybe\n")
    terminal.await_text("'maybe' is none of yes, demo, no.")
    terminal.type("d\n")
    terminal.await_text("Alt-Enter new line")
    terminal.type("\x04")
    assert terminal.end() == 0, terminal.shown
    assert not shelf.exists()


@posix
@pytest.mark.slow
@pytest.mark.parametrize(("key", "status"), [("n\n", 1), ("\x04", 130)])
@pytest.mark.usefixtures("server")
def test_no_ends_with_the_hint_and_begins_nothing(start: Callable[..., Terminal], shelf: Path, key: str, status: int) -> None:
    terminal = start("chat")
    terminal.await_text("[n]o")
    terminal.type(key)
    assert terminal.end() == status
    assert (b"qwq pull" in terminal.shown) is (status == 1)
    assert b"Traceback" not in terminal.shown
    assert not shelf.exists()


@posix
@pytest.mark.slow
def test_offline_is_told_and_the_demo_offered(start: Callable[..., Terminal]) -> None:
    terminal = start("ask", "--seed", "1", QUESTION, HF_HUB_OFFLINE="1")
    terminal.await_text("HF_HUB_OFFLINE")
    terminal.await_text("Try the demo? [D]emo, [n]o")
    terminal.type("\n")
    assert terminal.end() == 0, terminal.shown
    assert b"132" in terminal.shown


@posix
@pytest.mark.slow
def test_ctrl_c_in_mid_pull_goes_on_the_next_time(start: Callable[..., Terminal], server: HubServer, shelf: Path) -> None:
    server.pace_seconds = 0.02
    terminal = start("ask", "--seed", "1", QUESTION)
    terminal.await_text("[n]o")
    terminal.type("y\n")
    wait_until(lambda: any(part.stat().st_size for part in (shelf / ".partial").glob("*.part")))
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert b"goes on from here" in terminal.shown
    assert b"Traceback" not in terminal.shown
    server.pace_seconds = 0
    before = server.sent_bytes
    again = start("ask", "--seed", "1", QUESTION)
    again.await_text("here already")
    again.await_text("[n]o")
    again.type("y\n")
    assert again.end() == 0, again.shown
    assert server.sent_bytes - before < len(DEMO)
