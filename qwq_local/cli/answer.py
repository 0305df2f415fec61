"""One answer, from loading the model to the last line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qwq_local.asking import Choices
from qwq_local.cli.terminal import AnswerPrinter, LoadingBar, notice
from qwq_local.errors import QwqError
from qwq_local.prompt import Message
from qwq_local.runtime import Finished, QwQ, Reply


def answer(
    messages: Sequence[Message], load: Mapping[str, Any], options: Mapping[str, Any], *, as_json: bool, shows_thoughts: bool
) -> None:
    """Load a model, answer, and print. `load` are the arguments of QwQ.load, `options` those of QwQ.stream. Raises what these raise."""
    if sys.stdout is None:
        raise QwqError("Standard output is closed.", hint="Run it in a terminal, or send the output to a file.")
    warning = Choices.of(options, None).sampling.warning
    if warning:
        notice(f"warning: {warning}")
    started_at = time.perf_counter()
    bar = LoadingBar(started_at)
    try:
        qwq = QwQ.load(**load, reads_ahead=False, on_progress=lambda share: bar.update(share, time.perf_counter()))
    finally:
        bar.clear()
    load_seconds = time.perf_counter() - started_at
    with qwq:
        for text in qwq.notices:
            notice(f"notice: {text}")
        if as_json:
            reply = qwq.chat(messages, **options)
            sys.stdout.write(json.dumps(reply_json(reply, load_seconds), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            _print_answer(qwq, messages, options, shows_thoughts=shows_thoughts)


def _print_answer(qwq: QwQ, messages: Sequence[Message], options: Mapping[str, Any], *, shows_thoughts: bool) -> None:
    printer = AnswerPrinter(shows_thoughts=shows_thoughts)
    with qwq.stream(messages, **options) as events:
        end: Finished | None = None
        try:
            for event in events:
                if isinstance(event, Finished):
                    end = event
                else:
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
