"""`qwq service`: how the service is, told for people and for programs, and the service removed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click

from qwq_local.cli.terminal import duration
from qwq_local.service.here import find_manager
from qwq_local.service.lifecycle import Status, look, remove
from qwq_local.service.manager import Manager


def show_status(n_lines: int, *, as_json: bool) -> int:
    """Print how the service is; 1 where it does not answer."""
    manager = find_manager()
    status = look(manager, n_lines)
    if as_json:
        click.echo(json.dumps(facts(status, manager)))
    else:
        for label, text in lines(status, manager):
            click.echo(f"{label:10} {text}".rstrip())
    return 0 if status.health and status.health.status in {"ok", "unloaded"} else 1


def facts(status: Status, manager: Manager) -> dict[str, Any]:
    """The status, for programs."""
    order, state, health = status.order, status.state, status.health
    return {
        "installed": order is not None,
        "running": state.is_running,
        "since": state.since,
        "pid": state.pid,
        "address": str(status.address) if status.address else None,
        "health": health.status if health else None,
        "model": health.model if health else None,
        "error": (health.error if health else status.obstacle or state.end) or None,
        "restarts": state.restarts,
        "starts": state.starts,
        "file": str(manager.file) if order else None,
        "command": list(order.command) if order else None,
        "log": list(status.log),
    }


def lines(status: Status, manager: Manager) -> Iterator[tuple[str, str]]:
    """The status, for people."""
    order, state, health = status.order, status.state, status.health
    if order is None:
        yield "service", "not installed; to have one: qwq service install"
        return
    yield "service", "runs" if state.is_running else f"does not run{f': {state.end}' if state.end else ''}"
    if state.since is not None:
        yield "since", f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(state.since))}, for {duration(time.time() - state.since)}"
    if state.pid:
        yield "process", str(state.pid)
    yield "address", str(status.address or f"not known: {status.obstacle}")
    if state.is_running:
        yield "model", f"{health.model}, {health.error or health.status}" if health else "nothing answers yet"
    if state.restarts is not None:
        yield "restarts", str(state.restarts)
    yield "starts", state.starts
    yield "file", str(manager.file)
    yield "command", " ".join(order.command)
    for i, line in enumerate(status.log):
        yield "" if i else "log", line


def remove_service() -> None:
    """Remove the service. Raises InstallationError."""
    if remove(find_manager()):
        click.echo("The service is removed; chats, models and settings stay.")
    else:
        click.echo("There is no service.")
