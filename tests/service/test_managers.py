"""systemd, launchd and the Task Scheduler, asked through their commands, which are faked with what the real ones print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local.errors import InstallationError
from qwq_local.service import launchd, systemd, systemd_unit
from qwq_local.service.here import find_manager
from qwq_local.service.launchd import Launchd
from qwq_local.service.lifecycle import Installer
from qwq_local.service.manager import NOT_FOUND, Manager, Ran, State, command_environment, run
from qwq_local.service.order import Order
from qwq_local.service.scheduler import Scheduler
from qwq_local.service.systemd import Systemd
from tests.programs import posix
from tests.service.fakes import ORDER, Commands

SHOWN = """LoadState=loaded
ActiveState=active
MainPID=441
ActiveEnterTimestampMonotonic=5000000
NRestarts=2
UnitFileState=enabled
Result=success
ExecMainStatus=0
"""
PRINTED = """gui/501/local.qwq.serve = {
	active count = 1
	path = /Users/ann/Library/LaunchAgents/local.qwq.serve.plist
	type = LaunchAgent
	state = running

	program = /venv/bin/qwq
	endpoints = {
		"x" = {
			state = active
			pid = 1
		}
	}
	runs = 3
	pid = 812
	last exit code = 9
}
"""
QUERIED = '"BOX","\\qwq","N/A","Wird ausgeführt","Interaktiv","30.11.2026 20:00:00","{}","BOX\\Ann","conhost.exe"\r\n'


def a_systemd(tmp_path: Path, commands: Commands, *, booted: bool = True) -> Systemd:
    for name in ("booted",) if booted else ():
        (tmp_path / name).mkdir(exist_ok=True)
    home = tmp_path / "home"
    return Systemd(
        home / ".config/systemd/user", home, "ann", commands, tmp_path / "packaged/qwq.service", tmp_path / "booted", tmp_path / "kernel"
    )


# systemd


def test_a_unit_is_written_enabled_and_started_and_leaves_nothing(tmp_path: Path) -> None:
    commands = Commands(show=Ran(0, "ActiveState=inactive\n"))
    manager = a_systemd(tmp_path, commands)
    manager.start(ORDER)
    assert manager.find() == ORDER
    assert manager.file.stat().st_mode & 0o777 == 0o600
    beginnings = ("daemon-reload", "enable --quiet", "reset-failed", "restart")
    assert [command for command in commands.asked if command.startswith(tuple(f"systemctl --user {each}" for each in beginnings))] == [
        f"systemctl --user {each}" for each in ("daemon-reload", *(f"{each} qwq.service" for each in beginnings[1:]))
    ]
    (manager.own / ".qwq.service.part").write_text("half", "utf-8")
    (manager.own / "default.target.wants").mkdir()
    (manager.own / "default.target.wants/qwq.service").symlink_to(manager.file)
    manager.take_away()
    assert commands.ran("systemctl --user disable --now")
    assert not (tmp_path / "home/.config").exists()


def test_removing_spares_what_others_have_beside_it(tmp_path: Path) -> None:
    manager = a_systemd(tmp_path, Commands())
    manager.start(ORDER)
    (manager.own / "mine.service").write_text("[Unit]\n", "utf-8")
    manager.take_away()
    assert [path.name for path in manager.own.iterdir()] == ["mine.service"]


def test_the_packages_unit_is_used_where_it_says_the_same(tmp_path: Path) -> None:
    commands = Commands()
    manager = a_systemd(tmp_path, commands)
    manager.packaged.parent.mkdir()
    manager.packaged.write_text(systemd_unit.render(Order(("/usr/lib/qwq-local/qwq",), writable=systemd_unit.PACKAGED_FOLDERS)), "utf-8")
    home = tmp_path / "home"
    order = Order(("/usr/lib/qwq-local/qwq",), writable=(f"{home}/.local/share/qwq", f"{home}/.cache/qwq"))
    assert manager.find() is None, "it is not enabled"
    manager.start(order)
    assert manager.file == manager.packaged
    commands.answers["show"] = Ran(0, SHOWN)
    assert manager.find() == order
    manager.start(ORDER)
    assert (manager.find(), manager.file) == (ORDER, manager.own / "qwq.service")


def test_a_unit_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    manager = a_systemd(tmp_path, Commands())
    manager.own.mkdir(parents=True)
    (manager.own / "qwq.service").write_text("[Service]\nExecStart=/bin/sleep 9\n", "utf-8")
    with pytest.raises(InstallationError, match="runs something else than qwq serve"):
        manager.find()


def test_a_service_that_runs_on_is_not_called_removed(tmp_path: Path) -> None:
    manager = a_systemd(tmp_path, Commands(show=Ran(0, SHOWN)))
    manager.own.mkdir(parents=True)
    with pytest.raises(InstallationError, match="cannot be stopped"):
        manager.take_away()


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    manager = a_systemd(tmp_path, Commands(restart=Ran(1, err="Job for qwq.service failed.\nSee journalctl.")))
    with pytest.raises(
        InstallationError, match=r"systemctl --user restart qwq.service failed: Job for qwq.service failed. See journalctl."
    ):
        manager.start(ORDER)


@pytest.mark.parametrize(
    ("code", "booted", "kernel", "told", "hint"),
    [
        (NOT_FOUND, False, "6.1.0-amd64", "no systemd here", "qwq serve itself"),
        (1, False, "5.15.0-microsoft-standard-WSL2", "WSL runs without systemd", "wsl --shutdown"),
        (1, True, "6.1.0-amd64", "systemd of user ann cannot be reached: No medium found", "sudo loginctl enable-linger ann"),
    ],
)
def test_a_system_that_cannot_keep_services_says_what_to_do(
    tmp_path: Path, code: int, booted: bool, kernel: str, told: str, hint: str
) -> None:
    (tmp_path / "kernel").write_text(kernel, "utf-8")
    manager = a_systemd(tmp_path, Commands(show=Ran(code, err="No medium found")), booted=booted)
    with pytest.raises(InstallationError, match=told) as caught:
        manager.require()
    assert hint in caught.value.hint


def test_a_service_is_not_forgotten_while_its_systemd_cannot_be_reached(tmp_path: Path) -> None:
    commands = Commands()
    manager = a_systemd(tmp_path, commands)
    manager.start(ORDER)
    commands.answers["show"] = Ran(1, err="No medium found")
    with pytest.raises(InstallationError, match="cannot be reached"):
        manager.take_away()
    assert manager.file.exists()


def test_a_service_has_a_file_system_of_its_own_where_the_system_allows_it(tmp_path: Path) -> None:
    commands = Commands()
    assert a_systemd(tmp_path, commands).adapt(ORDER).has_namespaces
    assert all(f"--property={line}" in commands.asked[0] for line in systemd_unit.NAMESPACES)
    assert not a_systemd(tmp_path, Commands(systemd_run=Ran(217))).adapt(ORDER).has_namespaces


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    manager = a_systemd(tmp_path, Commands())
    (tmp_path / "home").write_text("no folder", "utf-8")
    with pytest.raises(InstallationError, match=r"qwq\.service cannot be written"):
        manager.start(ORDER)


def test_what_systemctl_shows_becomes_a_state() -> None:
    shown = dict(line.split("=", 1) for line in SHOWN.splitlines())
    state = systemd.parse_state(shown, lingers=True, boot_time=1000.0)
    assert state == State(is_running=True, pid=441, since=1005.0, restarts=2, starts="at boot")
    failed = shown | {"ActiveState": "failed", "MainPID": "0", "Result": "exit-code", "ExecMainStatus": "2"}
    assert systemd.parse_state(failed, lingers=False, boot_time=0) == State(
        restarts=2, starts="at login", end="it ended with exit status 2"
    )
    assert systemd.parse_state({}, lingers=False, boot_time=0) == State()


# launchd


def a_launchd(tmp_path: Path, commands: Commands) -> Launchd:
    return Launchd(tmp_path, 501, commands, lambda _seconds: None)


def gone(command: Sequence[str]) -> Ran:
    return Ran(0 if command[-1] == "gui/501" else 113, err="Could not find service")


def test_an_agent_is_loaded_and_leaves_nothing(tmp_path: Path) -> None:
    commands = Commands(print=gone)
    manager = a_launchd(tmp_path, commands)
    manager.require()
    manager.start(ORDER)
    assert manager.find() == ORDER
    assert commands.asked[-2:] == ["launchctl enable gui/501/local.qwq.serve", f"launchctl bootstrap gui/501 {manager.file}"]
    manager.log.write_text("one\ntwo\nthree\n", "utf-8")
    assert manager.log_lines(2) == ["two", "three"]
    manager.take_away()
    assert (manager.find(), manager.log_lines(2)) == (None, [])
    assert not manager.log.parent.exists()


def test_an_agent_that_does_not_stop_or_has_no_session_is_told(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match="cannot be stopped"):
        a_launchd(tmp_path, Commands(print=Ran(0, PRINTED))).take_away()
    with pytest.raises(InstallationError, match="no session of user 501"):
        a_launchd(tmp_path, Commands(print=Ran(125, err="Domain does not support specified action"))).require()


def test_what_launchctl_prints_becomes_a_state(tmp_path: Path) -> None:
    state = launchd.parse_state(PRINTED, has_file=True, age_seconds=60.0, now=1000.0)
    assert state == State(is_running=True, pid=812, since=940.0, restarts=2, starts="at login")
    dead = PRINTED.replace("\tpid = 812\n", "").replace("state = running", "state = spawn scheduled")
    assert launchd.parse_state(dead, has_file=True, age_seconds=None, now=0).end == "it ended with exit status 9"
    assert launchd.parse_state("", has_file=False, age_seconds=None, now=0) == State()
    assert a_launchd(tmp_path, Commands(print=Ran(0, PRINTED), ps=Ran(0, " 01:02\n"))).state().pid == 812


@pytest.mark.parametrize(("text", "seconds"), [("00:07", 7), ("01:02:03", 3723), ("2-00:00:01", 172801), ("", None), ("soon", None)])
def test_ages_are_read_as_ps_writes_them(text: str, seconds: float | None) -> None:
    assert launchd.parse_etime(text) == seconds


# Task Scheduler


def a_scheduler(tmp_path: Path, commands: Commands) -> Scheduler:
    return Scheduler(tmp_path / "qwq", r"BOX\Ann", commands, lambda _seconds: None)


def test_a_task_is_registered_and_leaves_nothing(tmp_path: Path) -> None:
    commands = Commands(query=Ran(1, err="ERROR: The system cannot find the file specified."))
    manager = a_scheduler(tmp_path, commands)
    manager.start(ORDER)
    assert manager.find() == ORDER
    assert commands.asked[-1] == f"schtasks /create /tn qwq /xml {manager.file} /f"
    assert '"/venv/bin/qwq" "serve" "--port" "9000"' in manager.script.read_text("utf-8")
    manager.take_away()
    assert commands.ran("schtasks /delete /tn qwq /f")
    assert list(manager.folder.iterdir()) == []


def test_a_task_is_told_to_run_in_every_language(tmp_path: Path) -> None:
    commands = Commands(query=Ran(0, QUERIED.format("267009")))
    manager = a_scheduler(tmp_path, commands)
    assert manager.state() == State(), "no file of ours"
    manager.start(ORDER)
    assert manager.state() == State(is_running=True, starts="at login")
    commands.answers["query"] = Ran(0, QUERIED.format("2"))
    assert manager.state() == State(starts="at login", end="its last result is 2")


def test_a_task_that_cannot_be_deleted_or_had_is_told(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match="cannot be deleted"):
        a_scheduler(tmp_path, Commands()).take_away()
    with pytest.raises(InstallationError, match="lets this user have no tasks"):
        a_scheduler(tmp_path, Commands(query=Ran(1, err="ERROR: Access is denied."))).require()


# Any


@posix
def test_commands_are_run_and_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\n", "err\n")
    assert run(["no-such-program"]) == (NOT_FOUND, "", "no-such-program is not installed")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/mine")
    assert command_environment()["XDG_RUNTIME_DIR"] == "/mine"


def test_sudo_is_refused_and_so_are_systems_without_a_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0, raising=False)
    with pytest.raises(InstallationError, match="neither the models nor the chats of ann"):
        find_manager({"SUDO_USER": "ann"})
    for system, kind in (("Linux", Systemd), ("Darwin", Launchd), ("Windows", Scheduler)):
        monkeypatch.setattr("platform.system", lambda name=system: name)
        assert isinstance(find_manager({}), kind)
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(InstallationError, match="On Plan9"):
        find_manager({})


@posix
def test_a_user_whom_the_system_does_not_know_by_name_goes_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", unknown)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    assert systemd.here().user == "1234"


# What cannot be written down


@pytest.mark.parametrize("make", [a_systemd, a_launchd, a_scheduler])
def test_an_order_that_cannot_be_written_down_is_refused_before_anything_is_stopped(
    make: Callable[[Path, Commands], Manager], tmp_path: Path
) -> None:
    commands = Commands(print=gone)
    manager = make(tmp_path, commands)
    manager.start(ORDER)
    commands.asked.clear()
    with pytest.raises(InstallationError, match=r"'two\\x07lines' cannot stand"):
        Installer(manager, lambda: None, lambda _address: None).install(replace(ORDER, options=("--alias", "two\alines")), replaces=True)
    assert manager.find() == ORDER
    assert not any(word in command for command in commands.asked for word in ("restart", "bootout", "/end"))
