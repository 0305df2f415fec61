"""One answer, from loading the model to the last line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from qwq_local.agent import AgentReply, Record, RoundsSpent, ToolAnswered, ToolCalled, run_agent
from qwq_local.asking import AnswerWish
from qwq_local.cli.activity import Activity
from qwq_local.cli.first_run import with_model
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.terminal import notice
from qwq_local.cli.tools import AgentPrinter, Permission, opened_tools
from qwq_local.engine import Racing
from qwq_local.errors import QwqError
from qwq_local.prompt import Message
from qwq_local.runtime import QwQ, Reply


def answer(
    messages: Sequence[Message],
    load: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    tools: ToolFlags,
    as_json: bool,
    shows_thoughts: bool,
) -> None:
    """Load a model, answer, and print. `load` are the arguments of QwQ.load, `options` those of QwQ.stream. Raises what these raise."""
    require_stdout()
    with opened_tools(tools) as toolbox, opened_model(load, options, reads_ahead=bool(tools.servers)) as (qwq, load_seconds):
        record = Record()
        printer = AgentPrinter(shows_thoughts=shows_thoughts)
        with closing(run_agent(qwq, list(messages), toolbox, allow=Permission(tools), **options)) as events:
            try:
                for event in events:
                    record.add(event)
                    if not as_json or isinstance(event, ToolCalled | ToolAnswered | RoundsSpent | Racing):
                        printer.show(event)
            finally:
                printer.finish()
        if as_json:
            whole = whole_json(record.reply(qwq.model.name), load_seconds, has_tools=bool(tools.servers))
            sys.stdout.write(json.dumps(whole, ensure_ascii=False) + "\n")
            sys.stdout.flush()


def require_stdout() -> None:
    """Raise QwqError where there is nothing to answer on."""
    if sys.stdout is None:
        raise QwqError("Standard output is closed.", hint="Run it in a terminal, or send the output to a file.")


@contextmanager
def opened_model(load: Mapping[str, Any], options: Mapping[str, Any], *, reads_ahead: bool) -> Iterator[tuple[QwQ, float]]:
    """A model and the seconds that loading it took; what its user should know of it and of the options is told."""
    warning = AnswerWish.of(options, None).sampling.warning
    if warning:
        notice(f"warning: {warning}")
    load = with_model(load)
    started_at = time.perf_counter()
    with Activity("loading") as activity:
        qwq = QwQ.load(**load, reads_ahead=reads_ahead, on_progress=lambda share: activity.update("loading", round(100 * share), 100))
    load_seconds = time.perf_counter() - started_at
    with qwq:
        for text in qwq.notices:
            notice(f"notice: {text}")
        yield qwq, load_seconds


def whole_json(whole: AgentReply, load_seconds: float, *, has_tools: bool) -> dict[str, Any]:
    """The object that `--json` prints, with the calls where there were tools to call."""
    calls = [
        {"name": done.call.name, "arguments": done.call.arguments, "result": done.result.text, "is_error": done.result.is_error}
        for done in whole.calls
    ]
    return reply_json(whole.reply, load_seconds) | ({"tool_calls": calls} if has_tools else {})


def reply_json(reply: Reply, load_seconds: float) -> dict[str, Any]:
    """The answer's part of that; times are in seconds."""
    return {
        "model": reply.model,
        "reasoning_content": reply.reasoning,
        "content": reply.content,
        "finish_reason": reply.finish_reason,
        "usage": {**asdict(reply.usage), "total_tokens": reply.usage.total_tokens},
        "rope": reply.rope,
        "seed": reply.seed,
        "timings": {"load_seconds": load_seconds, **asdict(reply.timings)},
        **({"race": asdict(reply.race)} if reply.race else {}),
    }
