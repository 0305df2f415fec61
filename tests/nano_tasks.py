"""Writes the tasks that come with the package, which qwq-nano was trained for: `python -m tests.nano_tasks`.

They are drawn from another seed than the problems of its training (tests/nano/train.py). Its sixth task, recall from a document, is left
out: the model has not learned it (docs/long_context.md), so that it could show no damage.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.nano import tasks
from tests.source import PACKAGE

PATH = PACKAGE / "evaluation" / "data" / "nano.jsonl"
SEED = "what does this quantization cost in answers?"
COUNTS = {"letters": 50, "addition": 50, "compare": 35, "choice": 30, "tool": 35}


def nano_lines() -> str:
    """The whole file: a line for each problem, no two of them asking the same."""
    rng = random.Random(SEED)
    lines: dict[str, dict[str, Any]] = {}
    for group, count in COUNTS.items():
        asked = _different(group, rng)
        for number in range(1, count + 1):
            name = f"{group}-{number}"
            lines[name] = {"id": name, "group": group, **_fields(next(asked))}
    return "".join(json.dumps(line) + "\n" for line in lines.values())


def _different(group: str, rng: random.Random) -> Iterator[tasks.Problem]:
    seen: set[str] = set()
    while True:
        problem = tasks.TASKS[group](rng)
        if (text := json.dumps(problem.messages)) not in seen:
            seen.add(text)
            yield problem


def _fields(problem: tasks.Problem) -> dict[str, Any]:
    question = problem.messages[0]["content"]
    match problem.task:
        case "choice":
            return {"prompt": question, "choice": problem.final}
        case "tool" if len(problem.messages) == 1:
            call = json.loads(problem.final)
            right = {"name": call["name"], "arguments": {key: [value] for key, value in call["arguments"].items()}}
            return {"prompt": question, "tools": problem.tools, "calls": [right]}
        case "tool":
            return {"messages": _as_openai(problem.messages), "tools": problem.tools, "text": [problem.answer, problem.final]}
        case _:
            return {"prompt": question, "maths": problem.final}


def _as_openai(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A call with its result: with an id, and with arguments in JSON text, as OpenAI's API has them."""
    user, assistant, result = messages
    function = assistant["tool_calls"][0]["function"]
    call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": json.dumps(function["arguments"])}}
    return [user, {**assistant, "tool_calls": [call]}, {**result, "tool_call_id": "call_1"}]


if __name__ == "__main__":
    PATH.write_text(nano_lines(), "utf-8")
