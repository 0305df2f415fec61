"""What systemd, launchd and the Task Scheduler are given: read by their own tools or rules, and read back as what was ordered."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_local.errors import InstallationError
from qwq_local.service import launchd_job, systemd_unit, windows_task
from qwq_local.service.order import Order
from tests.service.fakes import ORDER

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs", "Zl", "Zp")), min_size=1, max_size=20)
PATHS = WORDS.map(lambda word: f"/home/{word.replace('/', '_')}/x")
NAMES = st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True)
ORDERS = st.builds(
    Order,
    PATHS.map(lambda path: (path,)),
    st.lists(WORDS.filter(lambda word: word != "serve"), max_size=4).map(tuple),
    st.dictionaries(NAMES, WORDS, max_size=3).map(lambda variables: tuple(sorted(variables.items()))),
    st.lists(PATHS, max_size=2, unique=True).map(tuple),
)
ODD = replace(ORDER, program=("/home/ann/a b%c$d/qwq",), options=("--alias", "x $HOME %h \"q\" \\ 'z'"), environment=(("A", "50% $B 'c'"),))
SPACE = {"t": windows_task.SPACE}
SCRIPT = PureWindowsPath(r"C:\Users\Ann\AppData\Local\qwq\service.cmd")


def analyze(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """systemd-analyze, as a user's manager that has this folder to run in."""
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"XDG_RUNTIME_DIR": str(folder)})


# systemd


@settings(max_examples=30)
@given(ORDERS, st.booleans())
def test_a_unit_is_read_back_as_what_was_ordered(order: Order, has_namespaces: bool) -> None:
    order = replace(order, has_namespaces=has_namespaces)
    assert systemd_unit.read(systemd_unit.render(order), "/home/ann") == order


def test_the_packages_unit_means_each_users_own_folders() -> None:
    unit = systemd_unit.render(Order(("/usr/lib/qwq-local/qwq",), writable=systemd_unit.PACKAGED_FOLDERS))
    found = systemd_unit.read(unit, "/home/ann")
    assert found is not None
    assert found.writable == ("/home/ann/.local/share/qwq", "/home/ann/.cache/qwq")


def test_texts_that_a_unit_would_change_are_written_so_that_they_arrive() -> None:
    unit = systemd_unit.render(ODD)
    assert r'''ExecStart="/home/ann/a b%%c$d/qwq" serve --alias "x $$HOME %%h \"q\" \\ 'z'"''' in unit
    assert '''Environment="A=50%% $B 'c'"''' in unit
    assert "ConditionFileIsExecutable=/home/ann/a b%%c$d/qwq" in unit
    with pytest.raises(InstallationError, match=r"'two\\nlines' cannot stand"):
        systemd_unit.render(replace(ORDER, options=("--alias", "two\nlines")))


def test_other_peoples_units_are_told_from_ours() -> None:
    assert systemd_unit.read("[Service]\nExecStart=/bin/sleep 9\n", "/home/ann") is None
    assert systemd_unit.read("", "/home/ann") is None


def test_without_namespaces_only_what_needs_none_is_asked_for() -> None:
    unit = systemd_unit.render(replace(ORDER, has_namespaces=False))
    assert "NoNewPrivileges=yes" in unit
    assert not any(line in unit for line in (*systemd_unit.NAMESPACES, "ReadWritePaths"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("order", [ORDER, ODD, replace(ORDER, has_namespaces=False)])
def test_systemd_finds_nothing_wrong_with_a_unit_and_calls_it_ok(order: Order, tmp_path: Path) -> None:
    program = tmp_path / Path(order.program[0]).relative_to("/")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    file = tmp_path / systemd_unit.UNIT
    file.write_text(systemd_unit.render(replace(order, program=(str(program),))), "utf-8")
    checked = analyze("verify", "--user", "--man=no", file, folder=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = analyze("security", "--offline=true", "--no-pager", file, folder=tmp_path)
    score = re.search(r"Overall exposure level for qwq.service: ([\d.]+)", rated.stdout)
    assert score, rated.stdout + rated.stderr
    assert float(score[1]) < (3 if order.has_namespaces else 8)


# launchd


@settings(max_examples=30)
@given(ORDERS)
def test_a_property_list_is_read_back_as_what_was_ordered(order: Order) -> None:
    assert launchd_job.read(launchd_job.render(order, PurePosixPath("/log"))) == order


def test_a_property_list_has_the_kinds_of_values_that_launchd_wants() -> None:
    job = plistlib.loads(launchd_job.render(ORDER, PurePosixPath("/Users/ann/Library/Logs/qwq/service.log")))
    assert job["ProgramArguments"] == ["/venv/bin/qwq", "serve", "--port", "9000", "--model", "demo"]
    assert job["EnvironmentVariables"] == {"QWQ_MODELS": "/data/models"}
    assert (job["RunAtLoad"], job["KeepAlive"], job["Umask"]) == (True, {"SuccessfulExit": False}, 0o077)
    kinds = {"Label": str, "ThrottleInterval": int, "ExitTimeOut": int, "StandardErrorPath": str, "ProcessType": str}
    assert all(type(job[key]) is kind for key, kind in kinds.items())


@pytest.mark.parametrize(
    "content", [b"", b"<plist", b"\x00", plistlib.dumps([]), plistlib.dumps({"Label": "x", "ProgramArguments": ["/bin/ls"]})]
)
def test_other_peoples_property_lists_are_told_from_ours(content: bytes) -> None:
    assert launchd_job.read(content) is None


# Task Scheduler


@settings(max_examples=30)
@given(ORDERS)
def test_a_task_is_read_back_as_what_was_ordered(order: Order) -> None:
    assert windows_task.read(windows_task.render(order, r"BOX\Ann", SCRIPT)) == order


def test_a_task_follows_the_schema() -> None:
    content = windows_task.render(ORDER, r"BOX\Ann", SCRIPT)
    assert content.startswith((b"\xff\xfe", b"\xfe\xff")), "schtasks reads UTF-16"
    task = ET.fromstring(content)  # noqa: S314 - our own
    assert (task.tag, task.get("version")) == (f"{{{windows_task.SPACE}}}Task", "1.2")
    triggers = task.findall("t:Triggers/*", SPACE)
    order = ["Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit", "UserId", "Delay"]
    for trigger in triggers:
        names = [child.tag.partition("}")[2] for child in trigger]
        assert names == sorted(names, key=order.index)
        assert trigger.findtext("t:Repetition/t:Interval", "", SPACE) == "PT1M"
    assert task.findtext("t:Triggers/t:LogonTrigger/t:UserId", "", SPACE) == r"BOX\Ann"
    assert task.findtext("t:Principals/t:Principal/t:RunLevel", "", SPACE) == "LeastPrivilege"
    principal, actions = task.find("t:Principals/t:Principal", SPACE), task.find("t:Actions", SPACE)
    assert principal is not None
    assert actions is not None
    assert principal.get("id") == actions.get("Context")
    assert task.findtext("t:Settings/t:MultipleInstancesPolicy", "", SPACE) == "IgnoreNew"
    assert task.findtext("t:Settings/t:ExecutionTimeLimit", "", SPACE) == "PT0S"
    assert str(SCRIPT) in task.findtext("t:Actions/t:Exec/t:Arguments", "", SPACE)


def test_the_script_of_a_task_leaves_nothing_to_cmd() -> None:
    order = replace(ORDER, program=(r"C:\Program Files\100% & more\qwq.exe",), options=("--alias", "a b"))
    assert windows_task.render_script(order, PureWindowsPath(r"C:\log")).splitlines() == [
        "@echo off",
        "chcp 65001 >nul",
        'set "QWQ_MODELS=/data/models"',
        r'"C:\Program Files\100%% & more\qwq.exe" "serve" "--alias" "a b" >>"C:\log" 2>&1',
    ]
    with pytest.raises(InstallationError, match="cannot stand in a script"):
        windows_task.render_script(replace(order, options=("--alias", 'a" & calc "')), PureWindowsPath("C:/log"))


@pytest.mark.parametrize("content", [b"", b"<Task/>", b"<Task xmlns='x'><Data>{}</Data></Task>"])
def test_other_peoples_tasks_are_told_from_ours(content: bytes) -> None:
    assert windows_task.read(content) is None
