"""Thoughts under control, on the demo model: budgets kept to the token, circles broken, and what that costs in right answers.

    python -m benchmarks.control [--runs 100] [--problems 300] [--json FILE]

Nonsense questions at temperature 0 are tried until --runs of them go round in circles till the context is full; each is then asked again
with the rescue. A budget is exact where the thought has as many drawn tokens as it may, or ended by itself before.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import click

from benchmarks.grading import is_right
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local import QwQ, card
from qwq_local.engine import ThoughtClosed
from qwq_local.prompt import Prompt, Segment
from qwq_local.runtime import Finished
from tests.nano.tasks import Problem, draw

LEARNED: Final = dict.fromkeys(("addition", "choice", "compare", "letters", "tool"), 1.0)
BUDGETS: Final = (0, 8, 64)


def budgets(qwq: QwQ, problems: Sequence[Problem]) -> Table:
    """For each budget, how the thoughts ended, and whether each kept to it."""
    table = Table("budgets of thought", ["tokens", "answers", "closed by the budget", "exact", "most drawn", "answered"])
    n_closing = len(qwq.tokenize(Prompt((Segment(card.CLOSING_SENTENCE),), opens_thinking=False)))
    for budget in BUDGETS:
        n_closed = n_exact = n_answered = most = 0
        for seed, problem in enumerate(problems):
            events = list(qwq.stream(problem.messages, tools=problem.tools, seed=seed, think_tokens=budget, max_tokens=400))
            end = events[-1]
            assert isinstance(end, Finished)
            is_closed = ThoughtClosed("budget") in events
            put = 1 + (n_closing if is_closed and budget else 0)
            drawn = end.usage.reasoning_tokens - put
            n_closed += is_closed
            n_exact += drawn == budget if is_closed else drawn <= budget
            n_answered += end.reason == "stop"
            most = max(most, drawn)
        table.add(budget, len(problems), n_closed, n_exact, most, n_answered)
    return table


def nonsense(rng: random.Random) -> Iterator[str]:
    """Questions of no meaning."""
    while True:
        letters = rng.choice(["xq", "abc", "0123456789", "?!.,", "lorem ipsum dolor "])
        yield "".join(rng.choice(letters) for _ in range(rng.randint(5, 60))) or "?"


def rescue(qwq: QwQ, n_runs: int) -> Table:
    """Questions that go round for ever, with the rescue."""
    going_round = list(islice(_going_round(qwq), n_runs))
    found = Counter(qwq.chat(question, temperature=0, seed=0).finish_reason for _, question in going_round)
    table = Table(
        "nonsense at temperature 0", ["questions tried", "endless without", "rescued", "of these answered", "ended", "still endless"]
    )
    rescued = found["stop"] + found["repetition"]
    table.add(going_round[-1][0], n_runs, rescued, found["stop"], found["repetition"], found["length"])
    return table


def _going_round(qwq: QwQ) -> Iterator[tuple[int, str]]:
    for n_tried, question in enumerate(nonsense(random.Random(3)), 1):
        if qwq.chat(question, temperature=0, seed=0, stops_repetition=False).finish_reason == "length":
            yield n_tried, question


def accuracy(qwq: QwQ, problems: Sequence[Problem]) -> Table:
    """Right answers with the rescue and without, at the default sampling and at temperature 0."""
    table = Table("right answers", ["temperature", "problems", "without the rescue", "with it"])
    for temperature in (card.TEMPERATURE, 0.0):
        right = [
            sum(
                is_right(qwq.chat(p.messages, tools=p.tools, seed=i, temperature=temperature, stops_repetition=stops, max_tokens=400), p)
                for i, p in enumerate(problems)
            )
            for stops in (False, True)
        ]
        table.add(temperature, len(problems), *(count / len(problems) for count in right))
    return table


@click.command()
@click.option("--runs", "n_runs", default=100, show_default=True)
@click.option("--problems", "n_problems", default=300, show_default=True)
@json_option
def main(n_runs: int, n_problems: int, json_path: Path | None) -> None:
    """All three tables."""
    rng = random.Random(17)
    problems = [draw(rng, LEARNED) for _ in range(n_problems)]
    with QwQ.load("demo", rope="native", reads_ahead=False) as qwq:
        budgets(qwq, problems[:100]).show(json_path, "budgets")
        rescue(qwq, n_runs).show(json_path, "rescue")
        accuracy(qwq, problems).show(json_path, "rescue_accuracy")


if __name__ == "__main__":
    main()
