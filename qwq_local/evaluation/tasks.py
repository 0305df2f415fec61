"""From a file of tasks to questions, whatever of the known formats it has; lines that make none are named, and passed over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from typing import Any, Final

from qwq_local.errors import SettingsError
from qwq_local.evaluation.formats import FORMATS, Format, LineError, find_format, format_of
from qwq_local.evaluation.formats.fields import LONGEST_NAME, has
from qwq_local.evaluation.question import Question
from qwq_local.evaluation.rows import Malformed, Row, read_rows
from qwq_local.evaluation.sources import Source, answers_beside, find_source

__all__ = ["FORMATS", "Malformed", "TaskSet", "read_tasks"]

_HEAD: Final = 20
"""Rows that are looked at to tell the format."""
_LONGEST_REASON: Final = 500


@dataclass(frozen=True)
class TaskSet:
    """The questions of a file; `malformed` are its lines that make none.

    `digest` is the SHA-256 of the questions, in hexadecimal: where it is the same, so are they, and the order they are in.
    """

    name: str
    questions: tuple[Question, ...]
    malformed: tuple[Malformed, ...]
    digest: str


def read_tasks(source: str, *, format_name: str | None = None, answers: str | None = None, strict: bool = False) -> TaskSet:
    """The questions of `nano`, of a file, or of `hub:OWNER/DATASET/PATH`.

    The format is told by the keys of the first lines, unless it is named. `answers` is the file of answers of a format that has one, if
    it is not beside the tasks. Raises SettingsError where there are no questions, and where a line is malformed if `strict`; HubError.
    """
    forced = _named(format_name) if format_name is not None else None
    found = find_source(source)
    rows = read_rows(found.path)
    head = list(islice(rows, _HEAD))
    shape = forced or _told_by_keys(head, source)
    gathered = _Gathered(source, shape, strict)
    if shape.has_answers_apart:
        gathered.take_answers(found, answers)
    elif answers is not None:
        raise SettingsError(f"Tasks of the format {shape.name} have no answers apart.", hint=f"Leave out {answers}.")
    gathered.take(chain(head, rows))
    return gathered.done(found.name)


@dataclass
class _Gathered:
    """What has been read so far."""

    source: str
    shape: Format
    strict: bool
    questions: list[Question] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    answers: dict[str, Any] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)

    def take(self, rows: Iterable[Row | Malformed]) -> None:
        for row in rows:
            if isinstance(row, Malformed):
                self._refuse(row)
                continue
            try:
                self._add(row)
            except LineError as error:
                self._refuse(Malformed(row.line, f"{_identity(row)}{error}"))
            except RecursionError:
                self._refuse(Malformed(row.line, f"{_identity(row)}it is nested too deeply"))

    def _add(self, row: Row) -> None:
        fields = row.fields
        if (known := self.answers.get(str(fields.get("id")))) is not None:
            fields = {"ground_truth": known, **fields}
        question = self.shape.read(fields)
        question = replace(question, name=self._unused(question.name or str(row.number)))
        written = canonical(question)
        self.names.add(question.name)
        self.questions.append(question)
        self.digest.update(written)

    def _unused(self, name: str) -> str:
        """The name, with a number behind it where another question has it."""
        unused, n = name, 1
        while unused in self.names:
            n += 1
            unused = f"{name}#{n}"
        return unused

    def _refuse(self, line: Malformed) -> None:
        line = Malformed(line.line, line.reason[:_LONGEST_REASON])
        if self.strict:
            place = f"{self.source}, line {line.line}"
            raise SettingsError(f"{place}: {line.reason}.", hint="Mend the line, or let malformed lines be passed over.")
        self.malformed.append(line)

    def take_answers(self, tasks: Source, told: str | None) -> None:
        """The answers by the ids of their questions."""
        found = find_source(told) if told is not None else answers_beside(tasks)
        if found is None:
            return
        for row in read_rows(found.path):
            if isinstance(row, Malformed):
                self._refuse(Malformed(row.line, f"in the answers ({found.path.name}): {row.reason}"))
            elif has(row.fields, "id") and "ground_truth" in row.fields:
                self.answers[str(row.fields["id"])] = row.fields["ground_truth"]
            else:
                self._refuse(Malformed(row.line, f"in the answers ({found.path.name}): it has no 'id', or no 'ground_truth'"))

    def done(self, name: str) -> TaskSet:
        if not self.questions:
            first = self.malformed[0] if self.malformed else None
            why = f": line {first.line}: {first.reason}" if first else ", nor any line"
            raise SettingsError(
                f"{self.source} has no question of the format {self.shape.name}{why}.", hint=f"That format has {FORMATS[self.shape.name]}."
            )
        return TaskSet(name, tuple(self.questions), tuple(self.malformed), self.digest.hexdigest())


def canonical(question: Question) -> bytes:
    """A question in bytes that are the same for the same question."""
    wanted: Mapping[str, Any] = {"kind": type(question.wanted).__name__, **asdict(question.wanted)}
    whole = [question.name, question.group, question.messages, question.tools, wanted]
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _named(name: str) -> Format:
    shape = format_of(name)
    if shape is None:
        raise SettingsError(f"There is no format {name!r} of tasks.", hint=f"There are {', '.join(FORMATS)}.")
    return shape


def _told_by_keys(head: list[Row | Malformed], source: str) -> Format:
    rows = [row for row in head if isinstance(row, Row)]
    for row in rows:
        if shape := find_format(row.fields):
            return shape
    if not rows:
        why = f"line {head[0].line}: {head[0].reason}" if head and isinstance(head[0], Malformed) else "it is empty"
        raise SettingsError(f"{source} has no tasks: {why}.", hint="Give JSON lines, a JSON array or CSV, a row for each task.")
    listed = "".join(f"\n  {name}: {about}" for name, about in FORMATS.items())
    keys = ", ".join(list(rows[0].fields)[:_HEAD]) or "none"
    raise SettingsError(f"{source} has tasks of no known format: the keys are {keys}.", hint=f"Use one of these:{listed}")


_NAMED_BY: Final = ("id", "ID", "task_id", "question_id", "key", "unique_id", "Record ID")


def _identity(row: Row) -> str:
    """What a line calls itself, for a message."""
    names = (row.fields.get(key) for key in _NAMED_BY)
    name = next((str(name) for name in names if isinstance(name, str | int) and name != ""), "")
    return f"{name}: " if name.isprintable() and 0 < len(name) <= LONGEST_NAME else ""
