"""One line for each request, without what was asked or answered unless that is wanted."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

from qwq_local.engine import Failed, Finished
from qwq_local.server.answers import Answers
from qwq_local.server.guard import Visit

LogFormat = Literal["text", "json"]
LOGGER: Final = logging.getLogger("qwq.server")


class RequestLog:
    """Writes the line of each visit; `with_prompts` adds what was asked and what was answered."""

    def __init__(self, *, with_prompts: bool = False) -> None:
        self._with_prompts = with_prompts

    def note(self, visit: Visit) -> None:
        """A request has ended."""
        facts: dict[str, Any] = {
            "request": visit.id,
            "method": visit.method,
            "path": visit.path[:200],
            "status": visit.status or 499,
            "seconds": round(visit.seconds, 3),
        }
        if visit.answers:
            facts |= _answer_facts(visit.answers)
        if visit.error:
            facts["error"] = visit.error[:500]
        if self._with_prompts and visit.answers:
            facts |= _texts(visit.answers)
        LOGGER.info("%s %s", visit.method, visit.path[:200], extra={"facts": facts})

    def note_answer(self, chat_id: str, answers: Answers) -> None:
        """The answer to a question of a chat has ended, whoever looked on."""
        texts = _texts(answers) if self._with_prompts else {}
        LOGGER.info("an answer in the chat %s", chat_id, extra={"facts": {"chat": chat_id} | _answer_facts(answers, "stopped") | texts})


def _texts(answers: Answers) -> dict[str, Any]:
    """What was asked, and what each choice has come to."""
    found = [answers.found(index) for index in range(answers.n_choices)]
    told = [{"reasoning_content": each.reasoning, **each.message()} for each in found]
    return {"asked": list(answers.ask.messages or answers.ask.prompts), "answered": told}


def _answer_facts(answers: Answers, without_end: str = "hung up") -> dict[str, Any]:
    ends = [end for _, end in sorted(answers.ends.items())]
    done = [end for end in ends if isinstance(end, Finished)]
    failed = [str(end.error) for end in ends if isinstance(end, Failed)]
    facts: dict[str, Any] = {"model": answers.model, "ended": ",".join(end.reason for end in done) or without_end}
    if done:
        facts |= {
            "prompt_tokens": done[0].usage.prompt_tokens,
            "cached_tokens": done[0].usage.cached_tokens,
            "completion_tokens": sum(end.usage.completion_tokens for end in done),
            "queued_seconds": round(max(end.timings.queued_seconds for end in done), 3),
            "prefill_seconds": round(max(end.timings.prefill_seconds for end in done), 3),
            "decode_seconds": round(max(end.timings.decode_seconds for end in done), 3),
            "rope": done[0].rope,
        }
    return facts | ({"error": failed[0]} if failed else {})


class _Formatter(logging.Formatter):
    """A line of key=value pairs, or of JSON."""

    def __init__(self, kind: LogFormat) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        facts: Mapping[str, Any] = getattr(record, "facts", None) or {"message": record.getMessage()}
        if record.exc_info:
            facts = {**facts, "exception": self.formatException(record.exc_info)}
        if self._kind == "json":
            return json.dumps({"time": at, "level": record.levelname.lower(), **facts}, default=str)
        pairs = " ".join(f"{name}={_plain(value)}" for name, value in facts.items())
        return f"{at} {record.levelname.lower()} {pairs}"


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    is_plain = bool(text) and text.isprintable() and not set(text) & set(' "=')
    return text if is_plain else json.dumps(text, ensure_ascii=not text.isprintable())


def set_up(kind: LogFormat = "text", level: int = logging.INFO) -> None:
    """Send our log, and what uvicorn warns of, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(kind))
    for name, least in (("qwq", level), ("qwq_local", logging.WARNING), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)
