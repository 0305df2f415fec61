"""How far the graders agree with hand-checked answers: right, wrong and tricky ones.

    python -m benchmarks.agreement [--answers tests/data/grading/answers.jsonl] [--json FILE]

A line of the file holds an `id`, the `kind` of grading, what is `wanted` (the fields of the kind's class in qwq_local/grading/wanted.py),
the `content` of a model's answer, the `verdict` that a person gave, and why it is `tricky`. Every disagreement is listed below the table.
Four answers run into the limit of ten seconds, as they are there to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local.grading import Given, Grade, WantsChoice, WantsMaths, WantsPattern, WantsText
from qwq_local.grading.choice import grade_choice
from qwq_local.grading.maths import grade_maths
from qwq_local.grading.patterns import grade_pattern
from qwq_local.grading.texts import grade_text

NEEDS: Final = ("math_verify",)
ANSWERS: Final = Path(__file__).parents[1] / "tests" / "data" / "grading" / "answers.jsonl"
GRADERS: Final[dict[str, Callable[[dict[str, Any], Given], Grade]]] = {
    "maths": lambda wanted, given: grade_maths(WantsMaths(**wanted), given),
    "choice": lambda wanted, given: grade_choice(WantsChoice(**wanted), given),
    "text": lambda wanted, given: grade_text(WantsText(tuple(wanted["texts"]), wanted.get("is_exact", False)), given),
    "pattern": lambda wanted, given: grade_pattern(WantsPattern(**wanted), given),
}


@dataclass(frozen=True)
class Checked:
    """A hand-checked answer."""

    id: str
    kind: str
    wanted: dict[str, Any]
    content: str
    is_right: bool
    tricky: str

    def grade(self) -> Grade:
        """What the grader says of it."""
        return GRADERS[self.kind](self.wanted, Given(self.content))


def read_answers(path: Path = ANSWERS) -> list[Checked]:
    """Those of a file."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        Checked(row["id"], row["kind"], row["wanted"], row["content"], {"right": True, "wrong": False}[row["verdict"]], row["tricky"])
        for row in rows
    ]


def agreement_table(graded: Sequence[tuple[Checked, Grade, float]]) -> Table:
    """A row for each kind, and one for all; each answer comes with its grade and the seconds that took."""
    table = Table(
        "agreement with hand-checked answers",
        ["kind", "answers", "of them right", "agreed", "agreed, %", "right called wrong", "wrong called right", "seconds"],
    )
    for kind in [*dict.fromkeys(checked.kind for checked, _, _ in graded), "all"]:
        these = [each for each in graded if kind in {each[0].kind, "all"}]
        verdicts = [(checked.is_right, grade.is_right) for checked, grade, _ in these]
        n_agreed = sum(due == said for due, said in verdicts)
        table.add(
            *(kind, len(these), sum(due for due, _ in verdicts), n_agreed, round(100 * n_agreed / len(these), 1)),
            *(verdicts.count((True, False)), verdicts.count((False, True)), sum(seconds for _, _, seconds in these)),
        )
    return table


def disagreement_table(graded: Sequence[tuple[Checked, Grade, float]]) -> Table:
    """A row for each answer that the grader and the person judge differently."""
    table = Table("disagreements", ["id", "wanted", "answer", "by hand", "the grader says", "tricky"])
    for checked, grade, _ in graded:
        if checked.is_right != grade.is_right:
            wanted = ", ".join(str(value) for value in checked.wanted.values())
            table.add(
                checked.id,
                wanted,
                " ".join(checked.content.split()),
                "right" if checked.is_right else "wrong",
                grade.why or "right",
                checked.tricky,
            )
    return table


@click.command()
@click.option("--answers", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=ANSWERS, help="JSON lines.")
@json_option
def main(path: Path, json_path: Path | None) -> None:
    """Grade them all."""
    graded = []
    for checked in read_answers(path):
        started_at = time.perf_counter()
        grade = checked.grade()
        graded.append((checked, grade, time.perf_counter() - started_at))
    agreement_table(graded).show(json_path)
    disagreement_table(graded).show(json_path, "disagreements")


if __name__ == "__main__":
    main()
