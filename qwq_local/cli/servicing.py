"""`qwq service install`: options turned into what runs as a service, and what the terminal tells of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from qwq_local.cli.activity import Activity
from qwq_local.cli.options import given_options
from qwq_local.cli.serving import read_settings
from qwq_local.cli.terminal import notice
from qwq_local.configuration import find_folders
from qwq_local.installation import find_installation
from qwq_local.loading.plan import plan_load
from qwq_local.service.here import find_manager
from qwq_local.service.lifecycle import Installed, Installer, Patience
from qwq_local.service.manager import Manager
from qwq_local.service.order import Order, kept_environment, require_lasting
from qwq_local.settings import LoadSettings

_FILES = frozenset({"model", "draft_model", "key_file"})
"""Options that may name a file."""


def install(context: click.Context, options: dict[str, Any], *, replaces: bool) -> None:
    """Install the service. Raises InstallationError, SettingsError for what cannot be, and what planning raises."""
    manager = find_manager()
    asked = {name: _absolute(value) if name in _FILES and value else value for name, value in options.items()}
    order = make_order(context, asked)
    settings, load_settings = _read(asked)
    require_lasting(
        {"The model": settings.desk.model or "", "The draft model": load_settings.draft_model or "", "The program": order.program[0]}
    )
    with Activity("looking at what is here") as activity:

        def tell(share: float) -> None:
            activity.begin(f"loading the model: {share:.0%}")

        def check() -> None:
            plan_load(settings.desk.model, load_settings)
            activity.begin("starting the service")

        installed = Installer(manager, check, patience=Patience(tell)).install(order, replaces=replaces)
    _tell_installed(installed, manager)


def _read(asked: dict[str, Any]) -> tuple[Any, LoadSettings]:
    options = {name: value for name, value in asked.items() if name not in {"log_format", "keeps_chats", "idle_seconds"}}
    settings, load_settings = read_settings(options | {"keys": ()})
    return settings, load_settings


def make_order(context: click.Context, asked: dict[str, Any]) -> Order:
    """What is to run: this program, with those options of `qwq serve` that were given, and the folders that it writes to."""
    folders = find_folders()
    given = given_options(context)
    words = [word for option in context.command.params if option.name in given for word in _words(option, asked)]
    return Order(
        find_installation().program,
        tuple(words),
        kept_environment(os.environ),
        tuple(dict.fromkeys((str(folders.data), str(folders.cache)))),
    )


def _words(option: click.Parameter, asked: dict[str, Any]) -> Iterator[str]:
    if option.name not in asked:  # one of our own
        return
    value, flag = asked[option.name], max(option.opts, key=len)
    if getattr(option, "is_flag", False):
        yield flag
        return
    for each in value if option.multiple else [value]:
        yield from (flag, str(each))


def _absolute(name: str) -> str:
    """A file's path as the service finds it, whose folder is another; a model's name stays."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_file() or os.sep in name else name


def _tell_installed(installed: Installed, manager: Manager) -> None:
    click.echo(
        f"{'It was there already' if installed.was_there else 'qwq runs as a service'}: {installed.address} ({installed.health.model})"
    )
    notice(f"It starts {installed.state.starts}, and again when it dies; {manager.file} says how.")
    if not installed.order.has_namespaces:
        notice("notice: this system lets a user's services have no file system of their own, so it is confined by the rest alone.")
    if installed.state.starts == "at login" and sys.platform == "linux":
        notice("It ends when you log out. To have it from boot on: loginctl enable-linger")
