"""What the server's log says of requests, and in which form."""

from __future__ import annotations

import io
import json
import logging

import pytest

from tests.serving import Endpoint, log_up_to

LOGGER = logging.getLogger("qwq.server")


def test_a_request_is_one_line_of_pairs(endpoint: Endpoint, log: io.StringIO) -> None:
    request = endpoint.get("/v1/models/nothing").headers["x-request-id"]
    [line] = log_up_to(log, request)
    time, level, *pairs = line.split(" ", 6)
    assert (time[-1], level) == ("Z", "info")
    assert pairs[:4] == [f"request={request}", "method=GET", "path=/v1/models/nothing", "status=404"]


@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_a_request_is_one_object_where_json_is_asked_for(endpoint: Endpoint, log: io.StringIO) -> None:
    ask = {"messages": [{"role": "user", "content": "What is 47 + 85?"}], "max_tokens": 5}
    request = endpoint.post("/v1/chat/completions", ask).headers["x-request-id"]
    [line] = log_up_to(log, request)
    facts = json.loads(line)
    assert (facts["level"], facts["status"], facts["model"], facts["completion_tokens"]) == ("info", 200, "demo", 5)
    assert facts["seconds"] >= facts["decode_seconds"] >= 0
    assert "asked" not in facts
    assert "47" not in {part for value in facts.values() for part in str(value).split()}


@pytest.mark.parametrize("value", ["two words", 'a "quoted" one', "a=b", "", "line\nbreak", "\x1b[31mred\u202e"])
def test_a_value_never_becomes_two_pairs_or_two_lines_and_moves_no_cursor(log: io.StringIO, value: str) -> None:
    LOGGER.info("GET", extra={"facts": {"first": value, "second": 2}})
    [line] = log.getvalue().splitlines()
    assert line.isprintable()
    pairs = line.split(" ", 2)[2]
    first = pairs.removeprefix("first=").removesuffix(" second=2")
    assert json.loads(first) == value


@pytest.mark.parametrize("log", ["text", "json"], indirect=True)
def test_a_fault_is_logged_with_what_it_was(log: io.StringIO) -> None:
    LOGGER.error("request %s failed", "req_1", exc_info=RuntimeError("of the inside"))
    assert "request req_1 failed" in log.getvalue()
    assert "RuntimeError: of the inside" in log.getvalue()
    assert len(log.getvalue().splitlines()) == 1


def test_of_other_libraries_only_warnings_are_logged(log: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.error").warning("refused")
    assert [line.split(" ", 1)[1] for line in log.getvalue().splitlines()] == ["warning message=refused"]
