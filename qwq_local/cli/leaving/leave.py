"""One uninstallation: what goes and what stays is told, asked about, and done, the program itself last."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from qwq_local.cli.leaving.clearing import Left, clear
from qwq_local.cli.leaving.others import Service, find_running, find_service
from qwq_local.cli.leaving.program import Departure, depart, plan_departure
from qwq_local.cli.leaving.traces import Kept, Trace, find_traces, foreign_models
from qwq_local.cli.list import size
from qwq_local.cli.rm import confirm
from qwq_local.configuration import find_folders, settings_file
from qwq_local.errors import InstallationError
from qwq_local.installation import Installation, find_installation
from qwq_local.machine.processes import Running
from qwq_local.service.lifecycle import remove

MANY: Final = 3
"""Files that are named one by one; more are told by their folder."""


@dataclass(frozen=True)
class Findings:
    """What there is, in the order in which it goes."""

    service: Service
    going: list[Trace]
    staying: list[Trace]
    foreign: list[Path]
    running: list[Running]
    installation: Installation
    departure: Departure


def look(wanted: Collection[Kept], *, keeps_program: bool) -> Findings:
    """Find all of it; the program itself may be kept. Raises SettingsError where the settings cannot be read, and with them the folders."""
    folders, service, installation = find_folders(), find_service(), find_installation()
    traces = find_traces(folders, settings_file(), Path.home())
    going = [trace for trace in traces if trace.kept is None or trace.kept in wanted]
    staying = [trace for trace in traces if trace not in going]
    departure = Departure() if keeps_program else plan_departure(installation)
    return Findings(service, going, staying, foreign_models(folders), find_running(service), installation, departure)


def leave(found: Findings, *, is_sure: bool, tries: bool, as_json: bool) -> int:
    """Tell, ask, and remove; the exit code. Raises InstallationError where one of ours runs, SettingsError where nobody can be asked."""
    if not as_json:
        click.echo("\n".join(told(found)))
    report = _report(found, tried=tries)  # with the sizes as they are before anything goes
    left: list[Left] = []
    if not tries:
        _require_rest(found.running)
        confirm("Remove it?", is_sure=is_sure)
        left = _go(found)
    if as_json:
        report["left"] = [{"path": str(path), "reason": reason} for path, reason in left]
        click.echo(json.dumps(report, ensure_ascii=False))
    for path, reason in left:
        click.echo(f"left: {path}: {reason}", err=True)
    if left:
        click.echo("Mend that, and give the same command again: it goes on, and the program itself goes last.", err=True)
    return 1 if left else 0


def _go(found: Findings) -> list[Left]:
    """What is left; the program itself only goes when nothing else is."""
    left = _remove_service(found.service)
    for trace in found.going:
        left += clear(trace)
    return left or depart(found.departure)


def told(found: Findings) -> Iterator[str]:
    """The lines for people."""
    yield "This goes:"
    if found.service.manager:
        yield _line("the service", str(found.service.manager.file))
    yield from (_row(trace) for trace in found.going if trace)
    yield from _program_lines(found)
    yield ""
    yield "This stays:"
    yield from (_line(f"{trace.title}, --{trace.kept}", _what(trace)) for trace in found.staying if trace)
    if found.foreign:
        yield _line("models that were put there", _list(found.foreign))
    yield _line("other programs' models", "those of Hugging Face's cache, LM Studio and Ollama")
    if found.service.problem:
        yield _line("a service, if there is one", found.service.problem)
    for program in found.running:
        yield f"\nRunning: {_running(program)}"


def _program_lines(found: Findings) -> Iterator[str]:
    departure = found.departure
    if departure.folder:
        yield _line("the program, from a kit", str(departure.folder))
    elif departure.command:
        yield _line("the program", departure.told if departure.does_it else f"by your own hand: {departure.told}")
    if departure.then:
        yield _line("the program, then" if departure.command else "the program, by hand", departure.then)


def _row(trace: Trace) -> str:
    return _line(trace.title, _what(trace))


def _what(trace: Trace) -> str:
    return f"{size(trace.n_bytes)}, {_list(trace.paths)}"


def _list(paths: Sequence[Path]) -> str:
    if len(paths) <= MANY:
        return ", ".join(map(str, paths))
    folders = sorted({str(path.parent) for path in paths})
    return f"{len(paths):,} files in {folders[0]}{f' and {len(folders) - 1:,} more folders' if len(folders) > 1 else ''}"


def _line(title: str, what: str) -> str:
    return f"  {title:34}  {what}"


def _running(program: Running) -> str:
    return f"process {program.pid}, {shlex.join(program.arguments)[-80:]}"


def _require_rest(running: Sequence[Running]) -> None:
    if running:
        pids = " ".join(str(program.pid) for program in running)
        raise InstallationError(f"qwq runs: {'; '.join(map(_running, running))}.", hint=f"End it first, and try again: kill {pids}")


def _remove_service(service: Service) -> list[Left]:
    if service.manager is None:
        return []
    try:
        remove(service.manager)
    except InstallationError as error:
        return [Left(service.manager.file, f"{error} {error.hint}".strip())]
    return []


def _report(found: Findings, *, tried: bool) -> dict[str, Any]:
    """What `--json` prints, but for what is left."""
    departure = found.departure
    return {
        "dry_run": tried,
        "service": str(found.service.manager.file) if found.service.manager else None,
        "removed": [_trace_json(trace) for trace in found.going if trace],
        "kept": [_trace_json(trace) for trace in found.staying if trace],
        "foreign_models": list(map(str, found.foreign)),
        "running": [{"pid": program.pid, "command": shlex.join(program.arguments)} for program in found.running],
        "program": {
            "kind": found.installation.kind,
            "command": departure.told or None,
            "folder": str(departure.folder) if departure.folder else None,
            "is_run": departure.does_it or departure.folder is not None,
            "then": departure.then or None,
        },
    }


def _trace_json(trace: Trace) -> dict[str, Any]:
    return {"what": trace.title, "bytes": trace.n_bytes, "paths": list(map(str, trace.paths))}
