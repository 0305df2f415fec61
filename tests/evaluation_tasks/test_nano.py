"""The tasks that come with the package: they are what the script writes, and the built-in model learned them."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from qwq_local.evaluation.tasks import read_tasks
from qwq_local.grading import WantsCalls, WantsChoice, WantsMaths, WantsText
from qwq_local.race.results import normalised, result_of
from qwq_local.runtime import QwQ
from tests.nano_tasks import COUNTS, PATH, nano_lines


def test_the_bundled_file_is_what_the_script_writes() -> None:
    assert PATH.read_text("utf-8") == nano_lines(), "write it anew: python -m tests.nano_tasks"


def test_nano_has_every_kind_of_problem_that_the_model_learned_and_no_line_is_malformed() -> None:
    tasks = read_tasks("nano", strict=True)
    assert tasks.name == "nano"
    assert Counter(question.group for question in tasks.questions) == COUNTS
    assert sum(COUNTS.values()) == 200
    assert len({json.dumps(question.messages) for question in tasks.questions}) == 200
    kinds = {question.group: set[type]() for question in tasks.questions}
    for question in tasks.questions:
        kinds[question.group].add(type(question.wanted))
    assert kinds == {
        "letters": {WantsMaths},
        "addition": {WantsMaths},
        "compare": {WantsMaths},
        "choice": {WantsChoice},
        "tool": {WantsCalls, WantsText},
    }


@pytest.mark.slow
def test_the_built_in_model_answers_most_of_nano(demo: QwQ) -> None:
    chosen = [question for question in read_tasks("nano").questions if question.name.endswith(("-1", "-2"))]
    assert len(chosen) == 2 * len(COUNTS)
    n_right = 0
    for number, question in enumerate(chosen):
        reply = demo.chat([dict(message) for message in question.messages], tools=list(question.tools) or None, seed=number)
        match question.wanted:
            case WantsMaths(answer):
                n_right += result_of(reply.content) == normalised(answer)
            case WantsChoice(letter):
                n_right += result_of(reply.content) == letter
            case WantsText(texts):
                n_right += reply.content.strip() in texts
            case WantsCalls(calls):
                made = [(call.name, {key: (value,) for key, value in json.loads(call.arguments).items()}) for call in reply.tool_calls]
                n_right += made == list(calls)
    assert n_right >= 8
