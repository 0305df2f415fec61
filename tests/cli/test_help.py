"""The command line as its users meet it: answers on stdout, the rest on stderr, and help."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

from qwq_local import __version__, card
from qwq_local.cli import main
from tests.programs import WAIT_SECONDS, Qwq, program

QUESTION = "What is 47 + 85?"


# Help


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_commands_and_an_example(qwq: Qwq, flag: str) -> None:
    ended = qwq(flag)
    assert (ended.code, ended.err) == (0, "")
    assert "qwq ask -m demo" in ended.out
    assert "Answer one question." in ended.out


def test_the_version_is_the_packages(qwq: Qwq) -> None:
    assert qwq("--version") == (0, f"qwq, version {__version__}\n", "")


def test_help_of_ask_has_an_example_and_every_option(qwq: Qwq) -> None:
    ended = qwq("ask", "--help")
    assert ended.code == 0
    assert 'qwq ask -m demo "What is 47 + 85?"' in ended.out
    options = "--model --ctx --gpu-layers --kv-type --rope --temperature --top-p --top-k --min-p --presence-penalty --seed --max-tokens"
    for option in [*options.split(), "--file", "--system", "--math", "--choice", "--no-thoughts", "--json", "--mcp", "--allow-tool"]:
        assert option in ended.out
    assert f"[default: {card.TEMPERATURE}]" in ended.out


def test_wrong_usage_is_2(qwq: Qwq) -> None:
    assert qwq().code == 2
    for arguments in (["bogus"], ["ask", "--bogus", "hi"], ["ask", "one", "two"], ["ask", "--seed"]):
        ended = qwq(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert "Error:" in ended.err


def test_the_installed_program_is_this_one() -> None:
    [script] = metadata.entry_points(group="console_scripts", name="qwq")
    assert script.load() is main


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["ask", "--help"], ["chat", "--help"], ["divergence", "--help"]])
def test_help_needs_no_heavy_import(arguments: list[str]) -> None:
    code = """
import sys
from qwq_local.cli import main
from qwq_local.cli.options import ToolFlags
sys.argv[0] = "qwq"
try:
    main()
except SystemExit:
    heavy = {"llama_cpp", "numpy", "jinja2", "gguf", "psutil", "ctypes", "mcp", "anyio", "qwq_local.runtime"} & set(sys.modules)
    sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Answers


def test_the_answer_is_right_and_alone_on_stdout(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "1", QUESTION)
    told = qwq("ask", "-m", "demo", "--seed", "1", "--json", QUESTION)
    reply = json.loads(told.out)
    assert ended == (0, reply["content"] + "\n", reply["reasoning_content"] + "\n\n")
    assert r"\boxed{132}" in reply["content"]
    assert told.err == ""


def test_json_is_one_object_of_the_promised_shape(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "3", "--json", QUESTION)
    assert ended.out.count("\n") == 1
    reply = json.loads(ended.out)
    assert list(reply) == ["model", "reasoning_content", "content", "finish_reason", "usage", "rope", "seed", "timings"]
    assert (reply["model"], reply["finish_reason"], reply["rope"], reply["seed"]) == ("demo", "stop", "native", 3)
    usage = reply["usage"]
    counts = ["prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "drafted_tokens", "accepted_tokens"]
    assert list(usage) == [*counts, "total_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["reasoning_tokens"] < usage["completion_tokens"]
    assert all(seconds >= 0 for seconds in reply["timings"].values())
    assert "think>" not in reply["content"]


def test_thoughts_can_be_left_out(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "1", "--no-thoughts", QUESTION)
    assert (ended.code, ended.err) == (0, "")
    assert r"\boxed{132}" in ended.out


def test_an_answer_that_is_cut_short_says_so_on_stderr(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "1", "--max-tokens", "5", QUESTION)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.endswith("\n\n[cut short after 5 tokens; more room: --ctx, --max-tokens]\n")


def test_greedy_is_warned_of_once_on_stderr(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--temperature", "0", QUESTION)
    assert ended.code == 0
    assert r"\boxed{132}" in ended.out
    assert ended.err.startswith(f"warning: {card.GREEDY_WARNING}\n")
    assert ended.err.count("warning") == 1


def test_the_program_itself_answers_without_escape_codes() -> None:
    ended = program("ask", "-m", "demo", "--seed", "1", QUESTION)
    assert ended.code == 0
    assert r"\boxed{132}" in ended.out
    assert ended.err
    assert "\x1b" not in ended.out + ended.err
