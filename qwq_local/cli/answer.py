"""One answer, from loading the model to the last line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from qwq_local.cli.terminal import AnswerPrinter, LoadingBar, notice
from qwq_local.errors import QwqError
from qwq_local.prompt import Message
from qwq_local.runtime import Answering, Finished, QwQ, Reply, Thinking
from qwq_local.settings import Sampling, check_max_tokens


def answer(
    messages: Sequence[Message],
    load: Mapping[str, Any],
    *,
    as_json: bool,
    shows_thoughts: bool,
    max_tokens: int | None,
    **sampling: Any,  # noqa: ANN401 - the fields of Sampling
) -> None:
    """Load a model, answer, and print. `load` are the arguments of QwQ.load. Raises what loading and asking raise."""
    if sys.stdout is None:
        raise QwqError("Standard output is closed.", hint="Run it in a terminal, or send the output to a file.")
    check_max_tokens(max_tokens)
    warning = Sampling(**sampling).warning
    if warning:
        notice(f"warning: {warning}")
    started_at = time.perf_counter()
    bar = LoadingBar(started_at)
    try:
        qwq = QwQ.load(**load, on_progress=lambda share: bar.update(share, time.perf_counter()))
    finally:
        bar.clear()
    load_seconds = time.perf_counter() - started_at
    with qwq:
        for text in qwq.notices:
            notice(f"notice: {text}")
        if as_json:
            reply = qwq.chat(messages, max_tokens=max_tokens, **sampling)
            sys.stdout.write(json.dumps(reply_json(reply, load_seconds), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            _print_answer(qwq, messages, max_tokens, shows_thoughts=shows_thoughts, sampling=sampling)


def _print_answer(qwq: QwQ, messages: Sequence[Message], max_tokens: int | None, *, shows_thoughts: bool, sampling: dict[str, Any]) -> None:
    printer = AnswerPrinter(shows_thoughts=shows_thoughts)
    with closing(qwq.stream(messages, max_tokens=max_tokens, **sampling)) as events:
        end: Finished | None = None
        try:
            for event in events:
                if isinstance(event, Finished):
                    end = event
                elif isinstance(event, Thinking | Answering):
                    printer.show(event)
        finally:
            printer.finish(end)


def reply_json(reply: Reply, load_seconds: float) -> dict[str, Any]:
    """The object that `--json` prints; times are in seconds."""
    return {
        "model": reply.model,
        "reasoning_content": reply.reasoning,
        "content": reply.content,
        "finish_reason": reply.finish_reason,
        "usage": {**asdict(reply.usage), "total_tokens": reply.usage.total_tokens},
        "rope": reply.rope,
        "seed": reply.seed,
        "timings": {"load_seconds": load_seconds, **asdict(reply.timings)},
    }
