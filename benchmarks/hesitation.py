r"""The penalty on words of hesitation: how long the thoughts are with it, and how many answers are right.

    python -m benchmarks.hesitation [--model demo] [--penalty 1 --penalty 2] [--questions FILE] [--problems 300] [--json FILE]

Every penalty, and none, gets the same questions with the same seeds. A line of FILE is {"question": …, "answer": …}; without one the
questions are qwq-nano's sums, comparisons and counts of letters. An answer is right where the due one stands in a \boxed{…}, written alike.
The intervals hold 95 % of 2,000 resamplings of the questions, with and without the penalty together. The demo model never hesitates: on it
the penalty should change nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local import QwQ, card
from tests.nano.tasks import draw

BOXED: Final = ("addition", "compare", "letters")
"""Nano's tasks whose answers are boxed."""
N_RESAMPLINGS: Final = 2_000

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """A question and the result that is due."""

    text: str
    result: str


@dataclass(frozen=True)
class Answers:
    """For each question: tokens of thought, whether the answer is right, and whether it was cut short; each of shape (n_questions,)."""

    thought_tokens: Figures
    right: Figures
    cut: Figures


def nano_questions(n_questions: int, *, instructs: bool) -> list[Question]:
    """Problems that nano has learned, with QwQ's instruction for mathematics where they are for another model."""
    rng = random.Random(29)
    problems = [draw(rng, dict.fromkeys(BOXED, 1.0)) for _ in range(n_questions)]
    texts = [problem.messages[-1]["content"] for problem in problems]
    if instructs:
        texts = [text if card.MATH_INSTRUCTION in text else f"{text} {card.MATH_INSTRUCTION}" for text in texts]
    return [Question(text, problem.final) for text, problem in zip(texts, problems, strict=True)]


def read_questions(path: Path) -> list[Question]:
    """Those of a file, with QwQ's instruction for mathematics."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [Question(f"{row['question']} {card.MATH_INSTRUCTION}", str(row["answer"])) for row in rows]


def ask(qwq: QwQ, questions: Sequence[Question], penalty: float) -> Answers:
    """Every question, its number as the seed."""
    rows = []
    for seed, question in enumerate(questions):
        reply = qwq.chat(question.text, seed=seed, hesitation_penalty=penalty)
        is_right = f"\\boxed{{{question.result}}}" in reply.content
        rows.append((reply.usage.reasoning_tokens, is_right, reply.finish_reason != "stop"))
    return Answers(*np.array(rows, np.float64).T)


def compare(penalties: Sequence[float], found: Sequence[Answers]) -> Table:
    """One row for each penalty; the first is none."""
    columns = ["penalty", "questions", "tokens of thought", "against none", "95 %", "right", "more right", "95 %, of that", "cut short"]
    table = Table("the penalty on hesitation", columns)
    base = found[0]
    picks = np.random.default_rng(1).integers(len(base.right), size=(N_RESAMPLINGS, len(base.right)))
    for penalty, answers in zip(penalties, found, strict=True):
        ratio = answers.thought_tokens.mean() / base.thought_tokens.mean()
        ratios = answers.thought_tokens[picks].mean(1) / base.thought_tokens[picks].mean(1)
        gains = (answers.right - base.right)[picks].mean(1)
        table.add(
            *(penalty, len(answers.right), float(answers.thought_tokens.mean()), float(ratio), _interval(ratios)),
            *(float(answers.right.mean()), float(answers.right.mean() - base.right.mean()), _interval(gains), int(answers.cut.sum())),
        )
    return table


def _interval(resampled: Figures) -> str:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return f"{low:.3f} to {high:.3f}"


@click.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--penalty", "penalties", type=float, multiple=True, default=(1.0, 2.0, 4.0), show_default=True)
@click.option("--questions", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON lines, instead of nano's.")
@click.option("--problems", "n_problems", type=click.IntRange(min=1), default=300, show_default=True)
@json_option
def main(model: str, penalties: tuple[float, ...], path: Path | None, n_problems: int, json_path: Path | None) -> None:
    """One table."""
    questions = read_questions(path) if path else nano_questions(n_problems, instructs=model != "demo")
    with QwQ.load(model, reads_ahead=False) as qwq:
        asked = (0.0, *penalties)
        compare(asked, [ask(qwq, questions, penalty) for penalty in asked]).show(json_path)


if __name__ == "__main__":
    main()
