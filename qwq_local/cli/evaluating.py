"""`qwq eval`: models loaded one after the other, asked, and what came of it printed and written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from qwq_local.cli.activity import Activity
from qwq_local.cli.terminal import count, notice, one_line
from qwq_local.configuration import find_folders
from qwq_local.errors import SettingsError
from qwq_local.evaluation.answerers import Answerer, Endpoint, LoadedModel
from qwq_local.evaluation.journal import read_run
from qwq_local.evaluation.report import Report, RunReport, report_of, shown_name
from qwq_local.evaluation.run import run
from qwq_local.evaluation.sample import RunHead, RunSettings
from qwq_local.evaluation.tables import page_of
from qwq_local.evaluation.tasks import FORMATS, TaskSet, read_tasks
from qwq_local.models.store import find_local
from qwq_local.runtime import QwQ

FOLDER: Final = "evaluations"
UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
"""What some file system has no place for in a name."""
SHOWN_MALFORMED: Final = 5
REST_NAMES: Final = {"think_tokens": "thinking_budget_tokens"}
"""Where our endpoint calls an option otherwise than `QwQ.chat` does."""
REST_ALWAYS: Final = frozenset({"temperature", "top_p"})
"""Every endpoint of OpenAI's format takes these; what else is sent was asked for."""


@dataclass(frozen=True)
class Asked:
    """What `qwq eval` was given, but for how models are loaded and tokens drawn."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    url: str | None
    api_key: str | None
    n_samples: int
    limit: int | None
    n_parallel: int
    format_name: str | None
    answers: str | None
    strict: bool
    out: Path | None
    again: bool
    kept: tuple[Path, ...]
    divergences: tuple[Path, ...]
    html_path: Path | None
    as_json: bool


def show_formats() -> None:
    """A line for each."""
    width = max(map(len, FORMATS))
    for name, line in FORMATS.items():
        click.echo(f"{name:{width}}  {line}")


def evaluate(asked: Asked, load: dict[str, Any], options: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Run what is asked for, and tell. Raises QwqError; what was graded until then is kept."""
    if not asked.tasks and not asked.kept:
        raise SettingsError("No questions are given.", hint="Try the built-in ones: qwq eval nano -m demo")
    runs = [RunReport.of(path, *read_run(path)) for path in asked.kept]
    sets = [read_tasks(name, format_name=asked.format_name, answers=asked.answers, strict=asked.strict) for name in asked.tasks]
    for tasks in sets:
        _tell_malformed(tasks)
    seed = options.pop("seed")
    wanted = {name: value for name, value in options.items() if value is not None}
    if asked.url:
        rest = {REST_NAMES.get(name, name): value for name, value in wanted.items() if name in given or name in REST_ALWAYS}
        for model in asked.models or (None,):
            with Endpoint(asked.url, model, asked.api_key) as endpoint:
                runs += _ask(asked, sets, endpoint, (endpoint.name, "", 0), seed, rest)
    else:
        for model in asked.models or (None,) if sets else ():
            with _loaded(model, load, asked.n_parallel) as (answerer, about):
                runs += _ask(asked, sets, answerer, about, seed, wanted)
    _tell(report_of(runs, asked.divergences), sets, asked)


@contextmanager
def _loaded(name: str | None, load: dict[str, Any], n_parallel: int) -> Iterator[tuple[Answerer, tuple[str, str, int]]]:
    """A model with its name, quantization and bytes."""
    with Activity(f"loading {one_line(name or 'the model that the plan chooses')}"):
        qwq = QwQ.load(name, n_parallel=n_parallel, reads_ahead=False, **load)
    with qwq:
        for text in qwq.notices:
            notice(f"notice: {text}")
        local = find_local(qwq.model.name)
        yield LoadedModel(qwq), (shown_name(local.name), local.quantization, local.file_bytes)


def _ask(
    asked: Asked, sets: Sequence[TaskSet], answerer: Answerer, about: tuple[str, str, int], seed: int | None, options: Mapping[str, Any]
) -> Iterator[RunReport]:
    """One run for each set of questions."""
    settings = RunSettings(asked.n_samples, 1 if seed is None else seed, dict(options))
    for tasks in sets:
        questions = tasks.questions[: asked.limit]
        head = RunHead(*about, tasks.name, tasks.digest, len(questions), settings)
        name = UNSAFE.sub("-", f"{tasks.name} {head.model}")
        path = (asked.out or find_folders().data / FOLDER) / f"{name}-{head.stamp}.jsonl"
        if asked.again:
            path.unlink(missing_ok=True)
        began_at = time.monotonic()
        n_right = 0
        with Activity(f"{tasks.name}, {head.model}") as activity:

            def progress(sample: Any, n_done: int, n_all: int, activity: Activity = activity, head: RunHead = head) -> None:  # noqa: ANN401 - a Sample
                nonlocal n_right
                n_right += sample.is_right
                activity.update(f"{head.tasks}, {one_line(head.model)}: {n_right} right", n_done, n_all)

            samples = run(questions, answerer, head, path, asked.n_parallel, progress)
        yield RunReport(path, head, tuple(samples), time.monotonic() - began_at)


def _tell_malformed(tasks: TaskSet) -> None:
    for each in tasks.malformed[:SHOWN_MALFORMED]:
        notice(f"notice: {one_line(tasks.name)}, line {each.line}: {one_line(each.reason)}; left out.")
    if (n_more := len(tasks.malformed) - SHOWN_MALFORMED) > 0:
        notice(f"notice: {one_line(tasks.name)}: {count(n_more, 'more line')} left out; --strict refuses such a file, --json names all.")


def _tell(report: Report, sets: Sequence[TaskSet], asked: Asked) -> None:
    if asked.html_path:
        from qwq_local.evaluation.html import write_page

        write_page(report, asked.html_path)
        notice(f"Written: {asked.html_path}")
    if asked.as_json:
        malformed = {tasks.name: [asdict(each) for each in tasks.malformed] for tasks in sets}
        click.echo(json.dumps(report.as_json() | {"malformed": malformed}, ensure_ascii=False))
    else:
        click.echo("\n".join(page_of(report)))
