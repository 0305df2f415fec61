"""One run: every question asked as often as wanted, several at once, graded, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from qwq_local.errors import PromptError
from qwq_local.evaluation.answerers import Answerer
from qwq_local.evaluation.journal import Journal
from qwq_local.evaluation.question import Question
from qwq_local.evaluation.sample import RunHead, Sample, seed_of
from qwq_local.grading import grade

_Turn: TypeAlias = tuple[Question, int]
OnSample: TypeAlias = Callable[[Sample, int, int], None]
"""Told of each answer, how many there are and how many there will be."""


def run(questions: Sequence[Question], answerer: Answerer, head: RunHead, path: Path, n_parallel: int, on_sample: OnSample) -> list[Sample]:
    """All answers that the head asks for, those of an earlier run of the same head among them, in the order of the questions.

    Raises the first error that is not about one question alone; what was graded before stays written down.
    """
    with Journal(path, head) as journal:
        done = {(sample.question, sample.index) for sample in journal.samples}
        n_all = len(questions) * head.settings.n_samples
        asked = ((question, index) for index in range(head.settings.n_samples) for question in questions)
        left = ((question, index) for question, index in asked if (question.name, index) not in done)

        def answer(question: Question, index: int) -> None:
            sample = answer_once(question, index, answerer, head)
            journal.add(sample)
            on_sample(sample, len(journal.samples), n_all)

        _each(left, answer, n_parallel, answerer.close)
        places = {question.name: place for place, question in enumerate(questions)}
        return sorted(journal.samples, key=lambda sample: (places[sample.question], sample.index))


def answer_once(question: Question, index: int, answerer: Answerer, head: RunHead) -> Sample:
    """Ask, and grade. What cannot be asked (a prompt too long) is an answer that failed; every other error is raised."""
    started_at = time.perf_counter()
    settings = head.settings
    ending, why, found, is_right, content, counts = "error", "", "", False, "", (0, 0, 0)
    try:
        answered = answerer.ask(question, seed_of(settings.seed, question.name, index), settings.options or {})
    except PromptError as error:
        why = str(error)
    else:
        verdict = grade(question.wanted, answered.given)
        ending, content = answered.ending, answered.given.content
        is_right, found, why = verdict.is_right, verdict.found, verdict.why
        counts = answered.prompt_tokens, answered.completion_tokens, answered.reasoning_tokens
    seconds = time.perf_counter() - started_at
    return Sample(question.name, index, question.group, is_right, found, why, ending, *counts, seconds, content)


def _each(left: Iterator[_Turn], answer: Callable[[Question, int], None], n_parallel: int, give_up: Callable[[], None]) -> None:
    """So many at once. The first error ends all others too (an answer may take hours), and is raised."""
    with ThreadPoolExecutor(n_parallel, "qwq-eval") as threads:
        running: set[Future[None]] = {threads.submit(answer, *each) for each in islice(left, n_parallel)}
        try:
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for each in ended:
                    each.result()
                running |= {threads.submit(answer, *each) for each in islice(left, len(ended))}
        except BaseException:
            give_up()
            raise
