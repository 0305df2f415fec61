"""`qwq doctor`: troubles printed, and mended by their commands or by an exchange of llama.cpp."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from qwq_local.builds import SOURCE
from qwq_local.cli.rm import agrees
from qwq_local.configuration import find_folders
from qwq_local.doctor import facts as asked
from qwq_local.doctor.condition import Facts, System
from qwq_local.doctor.diagnosis import Trouble, diagnose
from qwq_local.doctor.fetch import Source
from qwq_local.doctor.remedy import Choice, expected, named
from qwq_local.doctor.running import stderr_descriptor
from qwq_local.doctor.swap import Done, Swapper, Wish
from qwq_local.errors import SettingsError
from qwq_local.machine.nvidia import Report


@dataclass(frozen=True)
class Manner:
    """How things are mended: only told, or without asking; and whether JSON is wanted of it."""

    is_dry: bool
    is_sure: bool
    as_json: bool


def check_options(*, fixes: bool, undoes: bool, only_with_fix: Mapping[str, object], is_dry: bool) -> None:
    """Raise SettingsError for options that say nothing together."""
    if fixes and undoes:
        raise SettingsError("--fix and --undo are opposites.", hint="Say one of them.")
    stray = next((name for name, value in only_with_fix.items() if value and not fixes), None)
    if stray:
        raise SettingsError(f"{stray} says how --fix is to mend, and it was not asked to.", hint=f"qwq doctor --fix {stray} ...")
    if only_with_fix.get("--index-url") and only_with_fix.get("--build") == SOURCE:
        raise SettingsError(
            "--index-url says where builds come from, and --build source takes none of them: it compiles one.", hint="Say one of them."
        )
    if is_dry and not (fixes or undoes):
        raise SettingsError("--dry-run tells what --fix or --undo would do, and neither was asked for.", hint="qwq doctor --fix --dry-run")


def look(*, as_json: bool) -> int:
    """Tell what is wrong; the exit code."""
    found = diagnose(asked.gather())
    if as_json:
        click.echo(json.dumps({"checks": _as_data(found)}))
    else:
        _print(found)
    return 1 if any(found.values()) else 0


def undo(*, is_dry: bool, as_json: bool) -> int:
    """Put back what was before the last exchange, also before one that was broken off, or tell how; the exit code."""
    swapper = _swapper(asked.system_facts(Report()))
    if is_dry:
        steps = swapper.mend_steps() or swapper.undo_steps()
        click.echo(json.dumps({"steps": steps}) if as_json else "\n".join(_numbered(steps)))
        return 0
    if told := swapper.mend():
        click.echo(json.dumps({"mended": told}) if as_json else told)
        return 0
    done = swapper.undo()
    if as_json:
        click.echo(json.dumps({"undone": asdict(done)}))
    else:
        click.echo(f"llama-cpp-python {done.tried.version} is back" + (f" in place of {done.before}." if done.before else "."))
    return 0


class Fixing:
    """One `qwq doctor --fix`; `build` names the one that the user wants, `index` where builds come from."""

    def __init__(self, manner: Manner, build: str | None, index: str | None) -> None:
        self._manner, self._build = manner, build
        self._source = Source(index) if index else Source()
        self._told: dict[str, Any] = {}
        self._mended: list[dict[str, Any]] = []
        self._steps: list[str] = []

    def run(self) -> int:
        """Mend what can be mended; the exit code. Raises SettingsError, and InstallationError where llama.cpp cannot be exchanged."""
        facts = self._unbroken(asked.gather())
        if self._build:
            done = self._exchange(facts, named(facts, self._build), f"{self._build} was asked for.")
            return self._end(is_well=done or self._manner.is_dry)
        found = diagnose(facts)
        self._told["checks"] = _as_data(found)
        if not self._manner.as_json:
            _print(found)
        left = 0
        for check in found:
            # What one exchange has mended, another need not.
            for trouble in diagnose(facts)[check]:
                is_mended = self._mend(facts, trouble)
                left += not is_mended
                if is_mended and trouble.choice:
                    facts = replace(facts, build=asked.build_facts())
        return self._end(is_well=not left)

    def _unbroken(self, facts: Facts) -> Facts:
        """End an exchange that was broken off, before anything else is looked at."""
        if not facts.unfinished:
            return facts
        if self._manner.is_dry:
            self._steps += _swapper(facts.system).mend_steps()
            return replace(facts, unfinished=None)
        told = _swapper(facts.system).mend() or ""
        click.echo(told, err=True)
        self._mended.append({"check": "exchange", "told": told})
        return replace(facts, build=asked.build_facts(), unfinished=None)

    def _mend(self, facts: Facts, trouble: Trouble) -> bool:
        if trouble.choice:
            return self._exchange(facts, trouble.choice, trouble.finding)
        if self._manner.is_dry:
            self._steps.append(f"Run {trouble.command}" if trouble.can_run else f"Left to you: {trouble.command}")
            return False
        is_mended = mend(trouble, is_sure=self._manner.is_sure, as_json=self._manner.as_json)
        if is_mended:
            self._mended.append({"check": trouble.check, "command": trouble.command})
        return is_mended

    def _exchange(self, facts: Facts, choice: Choice, why: str) -> bool:
        swapper, wishes = _swapper(facts.system), self._wishes(facts, choice)
        swapper.check(wishes)
        if self._manner.is_dry:
            self._steps += swapper.steps(wishes[0])
            self._steps += [f"Where it lacks CUDA's libraries: the same with {wish.choice.name}" for wish in wishes[1:]]
            return False
        question = f"{why}\nExchange llama.cpp for the build {choice.name}? It is tried first, and --undo takes it back."
        if not agrees(question, is_sure=self._manner.is_sure):
            return False
        done = swapper.exchange(wishes)
        self._mended.append({"check": "llama.cpp", **asdict(done)})
        if not self._manner.as_json:
            click.echo("\n".join(_told(done)))
        return True

    def _wishes(self, facts: Facts, choice: Choice) -> list[Wish]:
        """That build; where nobody asked for it by name, one for CUDA has another behind it, which needs no libraries."""
        choices = [choice]
        if choice.name.startswith("cu") and not self._build:
            choices.append(Choice("vulkan"))
        return [Wish(each, expected(facts, each), self._source) for each in choices]

    def _end(self, *, is_well: bool) -> int:
        if self._manner.as_json:
            outcome = {"steps": self._steps} if self._manner.is_dry else {"mended": self._mended}
            click.echo(json.dumps(self._told | outcome))
        elif self._manner.is_dry:
            click.echo("\n".join(_numbered(self._steps)) if self._steps else "Nothing is to be done.")
        return 0 if is_well else 1


def mend(trouble: Trouble, *, is_sure: bool = False, as_json: bool = False) -> bool:
    """Run a trouble's command after asking; whether it ran and succeeded. Where JSON is wanted of us, what it prints goes to stderr."""
    if not trouble.can_run:
        click.echo(f"Run this yourself, in your own shell: {trouble.command}", err=True)
        return False
    if not agrees(f"{trouble.finding}\nRun {trouble.command}?", is_sure=is_sure):
        return False
    printed_to = stderr_descriptor() if as_json else None
    return subprocess.run(trouble.command, shell=True, check=False, stdout=printed_to).returncode == 0  # noqa: S602 - shown and asked for


def _swapper(system: System) -> Swapper:
    return Swapper(system, find_folders().data, lambda told: click.echo(f"{told} ...", err=True))


def _print(found: Mapping[str, Sequence[Trouble]]) -> None:
    for name, each in found.items():
        for trouble in each:
            click.echo(f"{name:10} {trouble.finding}\n{'':10} {trouble.command}")
        if not each:
            click.echo(f"{name:10} fine")


def _told(done: Done) -> Iterator[str]:
    yield f"llama-cpp-python {done.tried.version} ({done.build}) is in place of {done.before or 'none'}."
    yield f"The built-in model's weights: {done.tried.devices}."
    if done.before:
        yield "qwq doctor --undo puts the old one back."


def _numbered(steps: Sequence[str]) -> Iterator[str]:
    return (f"{number}. {step}" for number, step in enumerate(steps, 1))


def _as_data(found: Mapping[str, Sequence[Trouble]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [asdict(trouble) for trouble in each] for name, each in found.items()}
