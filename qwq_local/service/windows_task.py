"""A service as Windows' Task Scheduler has it (pure): a task of the user's own, which needs no administrator, and the script it runs.

A real Windows service would need an administrator, and would not see the user's models and chats. The task's file follows the Task
Scheduler Schema 1.2 (learn.microsoft.com, "Task Scheduler Schema"), which gives a trigger's elements an order. It is started at logon
and when it is registered, and once a minute from then on: that does nothing while it runs (IgnoreNew), and starts it where it died.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import PureWindowsPath
from typing import Final

from qwq_local.errors import InstallationError
from qwq_local.service.order import DESCRIPTION, NAME, Order, is_writable

TASK: Final = NAME
SPACE: Final = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_SETTINGS: Final = (
    ("MultipleInstancesPolicy", "IgnoreNew"),
    ("DisallowStartIfOnBatteries", "false"),
    ("StopIfGoingOnBatteries", "false"),
    ("AllowHardTerminate", "true"),
    ("StartWhenAvailable", "true"),
    ("AllowStartOnDemand", "true"),
    ("Enabled", "true"),
    ("Hidden", "false"),
    ("ExecutionTimeLimit", "PT0S"),  # none: the default ends it after three days
    ("Priority", "5"),  # the default, 7, is below normal
)


def render(order: Order, user: str, script: PureWindowsPath) -> bytes:
    """The task's file; `user` is the domain's and the user's name, and `script` the file that holds what `render_script` gives."""
    task = ET.Element("Task", {"version": "1.2", "xmlns": SPACE})
    about = ET.SubElement(task, "RegistrationInfo")
    _put(about, "Description", f"{DESCRIPTION} (qwq service)")
    triggers = ET.SubElement(task, "Triggers")
    for kind in ("RegistrationTrigger", "LogonTrigger"):
        trigger = ET.SubElement(triggers, kind)
        _put(trigger, "Enabled", "true")
        _put(ET.SubElement(trigger, "Repetition"), "Interval", "PT1M")
        if kind == "LogonTrigger":
            _put(trigger, "UserId", user)
    principal = ET.SubElement(ET.SubElement(task, "Principals"), "Principal", {"id": "Author"})
    for name, text in (("UserId", user), ("LogonType", "InteractiveToken"), ("RunLevel", "LeastPrivilege")):
        _put(principal, name, text)
    settings = ET.SubElement(task, "Settings")
    for name, text in _SETTINGS:
        _put(settings, name, text)
    _put(task, "Data", json.dumps(asdict(order)))
    action = ET.SubElement(ET.SubElement(task, "Actions", {"Context": "Author"}), "Exec")
    _put(action, "Command", "conhost.exe")  # with --headless it has no window
    _put(action, "Arguments", f'--headless cmd.exe /d /c "{script}"')
    return bytes(ET.tostring(task, "utf-16", xml_declaration=True))


def _put(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text


def render_script(order: Order, log: PureWindowsPath) -> str:
    """What the task runs: a script for cmd.exe, since a task has neither an environment nor a log of its own; `log` is a file."""
    command = " ".join(f'"{_batch(word)}"' for word in order.command)
    variables = [f'set "{_batch(f"{name}={text}")}"' for name, text in order.environment]
    return "\r\n".join(["@echo off", "chcp 65001 >nul", *variables, f'{command} >>"{_batch(str(log))}" 2>&1', ""])


def _batch(text: str) -> str:
    """In quotes, cmd.exe leaves everything as it is but percent signs; a quote would end them."""
    if '"' in text or not is_writable(text):
        raise InstallationError(f"{text!r} cannot stand in a script for cmd.exe.", hint="Use a name without quotes and control characters.")
    return text.replace("%", "%%")


def read(content: bytes) -> Order | None:
    """What a task's file says; None for one that is not ours."""
    try:
        said = json.loads(ET.fromstring(content).findtext(f"{{{SPACE}}}Data") or "")  # noqa: S314 - a file of the user's own
        environment = tuple((str(name), str(text)) for name, text in said["environment"])
        program, options, writable = (tuple(map(str, said[name])) for name in ("program", "options", "writable"))
    except (ET.ParseError, ValueError, LookupError, TypeError):
        return None
    return Order(program, options, environment, writable)
