"""A service is installed whole or not at all, and what was there before is put back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local.errors import InstallationError, ModelNotFoundError, SettingsError
from qwq_local.service.address import Address, Health, address_of, ask, require_free
from qwq_local.service.lifecycle import Installer, Patience, look, remove
from qwq_local.service.manager import State
from qwq_local.service.order import kept_environment, require_lasting
from tests.service.fakes import ORDER, FakeManager
from tests.serving import Endpoint

RUNNING = State(is_running=True, pid=7, restarts=0, starts="at login")
DEAD = State(end="it ended with exit status 1", starts="at login")
OTHER = replace(ORDER, options=("--port", "9001", "--model", "demo"))
OK = Health("ok", "demo", 1.0)


def installer(
    manager: FakeManager,
    *healths: Health | None,
    check: Callable[[], None] = lambda: None,
    free: Callable[[Address], None] = lambda _address: None,
) -> Installer:
    """One for which time passes only while it waits; the last of its answers holds for good."""
    answers, now = list(healths or [OK]), [0.0]
    told: list[float] = []

    def answer(_address: Address) -> Health | None:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Installer(manager, check, free, Patience(told.append, answer, lambda: now[0], sleep))


# Installing


def test_a_service_is_started_and_waited_for_while_its_model_loads() -> None:
    manager = FakeManager()
    shares: list[float] = []
    found = installer(manager, None, Health("loading", "demo", 0.1), Health("loading", "demo", 0.9), OK)
    found = replace(found, patience=replace(found.patience, tell=shares.append))
    done = found.install(ORDER)
    assert (str(done.address), done.health, done.was_there) == ("http://127.0.0.1:9000", OK, False)
    assert shares == [0.1, 0.9]
    assert manager.done == ["start --port 9000 --model demo"]


def test_the_same_service_is_left_alone() -> None:
    manager = FakeManager(ORDER)
    assert installer(manager).install(ORDER).was_there
    assert manager.done == []


def test_the_same_service_is_started_where_it_does_not_run_or_would_not_at_login() -> None:
    for state in (DEAD, replace(RUNNING, starts="never")):
        manager = FakeManager(ORDER, [state, *([state] if state.is_running else []), RUNNING])
        assert not installer(manager).install(ORDER).was_there
        assert manager.done == ["start --port 9000 --model demo"]


def test_another_service_is_only_replaced_when_that_is_said() -> None:
    manager = FakeManager(ORDER)
    with pytest.raises(InstallationError, match=r"options are --port 9000 --model demo, and would be --port 9001") as caught:
        installer(manager).install(OTHER)
    assert "--replace" in caught.value.hint
    assert manager.done == []
    assert installer(manager).install(OTHER, replaces=True).address.port == 9001


def test_a_service_whose_settings_cannot_be_any_more_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("prot = 8080\n", "utf-8")
    manager = FakeManager(replace(ORDER, environment=(("QWQ_CONFIG", str(tmp_path / "config.toml")),)))
    assert installer(manager).install(ORDER, replaces=True).address.port == 9000
    assert manager.installed == ORDER


def test_nothing_is_changed_where_the_model_cannot_be_loaded_or_the_port_is_taken() -> None:
    def no_model() -> None:
        raise ModelNotFoundError("There is no model.")

    def taken(_address: Address) -> None:
        raise InstallationError("It cannot be had.")

    for error, how in ((ModelNotFoundError, {"check": no_model}), (InstallationError, {"free": taken})):
        manager = FakeManager()
        with pytest.raises(error):
            installer(manager, **how).install(ORDER)
        assert manager.done == []


def test_a_port_that_the_replaced_service_has_is_not_taken() -> None:
    def taken(_address: Address) -> None:
        raise AssertionError("it was looked at")

    manager = FakeManager(ORDER)
    installer(manager, free=taken).install(replace(ORDER, options=(*ORDER.options, "--parallel", "2")), replaces=True)
    assert manager.done == ["start --port 9000 --model demo --parallel 2"]


def test_nor_is_it_when_it_is_to_be_reached_from_elsewhere() -> None:
    def taken(_address: Address) -> None:
        raise AssertionError("it was looked at")

    manager = FakeManager(ORDER)
    opened = replace(ORDER, options=(*ORDER.options, "--host", "192.168.1.2"))
    assert installer(manager, free=taken).install(opened, replaces=True).address.host == "192.168.1.2"


@pytest.mark.parametrize(
    ("states", "healths", "why"),
    [
        ([replace(RUNNING, restarts=1)], [None], "does not stay alive"),
        ([DEAD], [None], "does not stay alive: it ended with exit status 1"),
        ([RUNNING], [None], "has not answered for 90 seconds"),
    ],
)
def test_a_service_that_does_not_answer_is_taken_away_and_its_log_shown(
    states: list[State], healths: list[Health | None], why: str
) -> None:
    manager = FakeManager(states=states, log=["one", "GET path=/health status=503", "error: no such thing"])
    with pytest.raises(InstallationError, match=why) as caught:
        installer(manager, *healths).install(ORDER)
    assert str(caught.value).endswith("Its log ends:\none\nerror: no such thing")
    assert manager.done == ["start --port 9000 --model demo", "take away"]
    assert manager.installed is None


def test_what_was_there_before_is_put_back() -> None:
    manager = FakeManager(ORDER, [RUNNING, DEAD])
    with pytest.raises(InstallationError, match="does not stay alive"):
        installer(manager, None).install(OTHER, replaces=True)
    assert manager.done == ["start --port 9001 --model demo", "take away", "start --port 9000 --model demo"]
    assert manager.installed == ORDER


def test_an_interrupted_installation_leaves_nothing() -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    manager = FakeManager()
    found = installer(manager, None)
    with pytest.raises(KeyboardInterrupt):
        replace(found, patience=replace(found.patience, sleep=interrupt)).install(ORDER)
    assert manager.installed is None


def test_a_system_without_services_says_so_before_anything_else() -> None:
    with pytest.raises(InstallationError, match="no systemd"):
        installer(FakeManager(refuses="require")).install(ORDER)


def test_a_manager_that_refuses_leaves_nothing() -> None:
    manager = FakeManager(refuses="start")
    with pytest.raises(InstallationError, match="systemctl failed"):
        installer(manager).install(ORDER)
    assert manager.done[-1] == "take away"


# What it needs of its surroundings


def test_the_environment_keeps_what_says_where_things_are_and_no_key() -> None:
    kept = dict(
        kept_environment(
            {"QWQ_MODELS": "models", "HF_HOME": "/hf", "QWQ_CTX": "4096", "PATH": "/bin", "HF_TOKEN": "secret", "QWQ_DATA": ""}
        )
    )
    assert kept.keys() == {"QWQ_MODELS", "HF_HOME", "QWQ_CTX"}
    assert kept["QWQ_MODELS"].startswith("/")
    with pytest.raises(InstallationError, match="QWQ_API_KEY is set") as caught:
        kept_environment({"QWQ_API_KEY": "secret"})
    assert "--api-key-file" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_what_lies_where_systems_clear_away_is_refused() -> None:
    require_lasting({"The model": "demo", "The program": "/home/ann/bin/qwq"})
    with pytest.raises(InstallationError, match=r"The model is /tmp/x/qwq\.gguf"):
        require_lasting({"The model": "/tmp/x/qwq.gguf"})  # noqa: S108 - the value that is refused


def test_the_address_is_that_of_the_options_then_of_the_settings() -> None:
    assert address_of(ORDER) == Address("127.0.0.1", 9000)
    assert address_of(replace(ORDER, options=("--host", "0.0.0.0"), environment=(("QWQ_PORT", "8090"),))) == Address("0.0.0.0", 8090)  # noqa: S104 - not bound
    assert str(Address("0.0.0.0", 80)) == "http://127.0.0.1:80"  # noqa: S104 - likewise
    assert str(Address("::", 80)) == "http://[::1]:80"
    with pytest.raises(SettingsError, match="port is 'x'"):
        address_of(replace(ORDER, options=("--port", "x")))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_told_with_whoever_has_it(taken: int) -> None:
    with pytest.raises(InstallationError, match=rf"127\.0\.0\.1:{taken} cannot be had: Address already in use; process \d+ \("):
        require_free(Address("127.0.0.1", taken))


def test_a_port_that_a_server_of_ours_has_is_told_with_its_model(endpoint: Endpoint) -> None:
    port = int(endpoint.url.rpartition(":")[2])
    assert ask(Address("127.0.0.1", port)) == Health("ok", "demo", 1.0)
    with pytest.raises(InstallationError, match=r"serves demo there with qwq serve"):
        require_free(Address("127.0.0.1", port))


def test_addresses_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingsError, match="port is 0"):
        require_free(Address("127.0.0.1", 0))
    with pytest.raises(InstallationError, match=r"192\.0\.2\.1:9 cannot be had"):
        require_free(Address("192.0.2.1", 9))


def test_whoever_answers_otherwise_is_none_of_ours(taken: int) -> None:
    assert ask(Address("127.0.0.1", 9)) is None
    assert ask(replace(Address(port=taken)), 0.1) is None


# Looking and removing


def test_a_look_tells_all_without_those_who_asked_for_health() -> None:
    manager = FakeManager(ORDER, log=["one", *["GET path=/health status=200"] * 3, "two"])
    status = look(manager, 1, lambda _address: OK)
    assert (status.order, status.health, status.log) == (ORDER, OK, ("two",))
    assert look(manager, 0, lambda _address: OK).log == ()
    assert look(FakeManager(), 5).order is None
    assert look(FakeManager(ORDER, [DEAD]), 5).health is None


def test_a_look_tells_of_settings_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("prot = 8080\n", "utf-8")
    manager = FakeManager(replace(ORDER, environment=(("QWQ_CONFIG", str(tmp_path / "config.toml")),)), [DEAD], ["it began"])
    status = look(manager, 5, lambda _address: OK)
    assert (status.state, status.address, status.health, status.log) == (DEAD, None, None, ("it began",))
    assert "sets 'prot', which is unknown. Did you mean port?" in status.obstacle


def test_removing_takes_away_what_is_there_and_what_is_half_there() -> None:
    manager = FakeManager(ORDER)
    assert remove(manager)
    assert not remove(manager)
    assert manager.done == ["take away", "take away"]
