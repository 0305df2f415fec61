"""`qwq serve`, as its users start and end it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.programs import PROGRAM, WAIT_SECONDS, Qwq, assert_told, posix
from tests.serving import Endpoint

QUESTION = "What is 47 + 85?"
ASK = {"model": "mine", "messages": [{"role": "user", "content": QUESTION}]}


@contextmanager
def served(*options: str) -> Iterator[tuple[Endpoint, subprocess.Popen[str]]]:
    """The command with the demo model, ready, on a port that was free."""
    command = [*PROGRAM, "serve", "-m", "demo", "--port", "0", "--alias", "mine", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr
            found = re.fullmatch(r"qwq serve: (http://127\.0\.0\.1:\d+)  loading …\n", child.stderr.readline())
            assert found
            assert child.stderr.readline() == f"qwq serve: {found[1]}  demo is ready; Ctrl-C ends it\n"
            yield Endpoint(found[1], child.terminate), child
        finally:
            child.kill()


def end(child: subprocess.Popen[str], by: signal.Signals) -> tuple[int, str]:
    """The exit code, and what was logged."""
    child.send_signal(by)
    out, err = child.communicate(timeout=WAIT_SECONDS)
    assert out == ""
    return child.returncode, err


@posix
@pytest.mark.slow
def test_it_answers_as_its_options_say_and_ctrl_c_ends_it_with_all_that_was_logged() -> None:
    with served("--max-tokens", "5", "--log-format", "json", "--log-prompts") as (endpoint, child):
        answer = endpoint.post("/v1/chat/completions", ASK).json()
        code, log = end(child, signal.SIGINT)
    assert code == 130
    [line] = filter(None, log.splitlines())
    facts = json.loads(line)
    assert (facts["path"], facts["status"], facts["completion_tokens"], facts["ended"]) == ("/v1/chat/completions", 200, 5, "length")
    assert facts["asked"] == ASK["messages"]
    assert facts["answered"][0]["reasoning_content"] == answer["choices"][0]["message"]["reasoning_content"]


@posix
@pytest.mark.slow
def test_sigterm_ends_it_and_what_was_asked_and_by_which_key_is_not_logged() -> None:
    with served("--api-key", "sk-secret") as (endpoint, child):
        assert endpoint.post("/v1/chat/completions", ASK).status_code == 401
        assert r"\boxed{132}" in endpoint.post("/v1/chat/completions", ASK, authorization="Bearer sk-secret").text
        code, log = end(child, signal.SIGTERM)
    assert code == -signal.SIGTERM
    refused, answered = log.splitlines()
    assert " status=401 " in refused
    assert " status=200 " in answered
    assert "sk-" not in log
    assert "47" not in re.sub(r"\S+=[\d.]+|request=\S+|^\S+Z", "", log, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0"], "there is no key"),  # noqa: S104 - refused
        (["--api-key-file", "no-such-file"], "no-such-file cannot be read"),
        (["--allow-origin", "chat.example.org"], "is no origin"),
        (["--parallel", "0"], "parallel is 0"),
        (["--ctx", "8"], "ctx is 8"),
        (["--temperature", "9"], "temperature is 9.0"),
    ],
)
def test_options_that_cannot_be_are_told_before_anything_is_loaded(qwq: Qwq, options: list[str], told: str) -> None:
    assert_told(qwq("serve", "-m", "/no/such/model.gguf", *options), 2, told)


@pytest.mark.parametrize("options", [["--port", "65536"], ["--queue", "-1"], ["--max-body", "0"], ["--log-format", "xml"]])
def test_options_out_of_their_range_are_wrong_usage(qwq: Qwq, options: list[str]) -> None:
    ended = qwq("serve", *options)
    assert (ended.code, ended.out) == (2, "")
    assert f"Invalid value for '{options[0]}'" in ended.err


def test_a_port_that_is_taken_is_told(qwq: Qwq, endpoint: Endpoint, log: object) -> None:  # noqa: ARG001 - the command sets the log up
    port = endpoint.url.rpartition(":")[2]
    assert_told(qwq("serve", "-m", "demo", "--port", port), 2, f"127.0.0.1:{port} cannot be had")
