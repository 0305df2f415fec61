"""What `qwq ask` is asked: words from everywhere, options as given; and what cannot be asked is refused in two lines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qwq_local import card
from qwq_local.cli.options import ToolFlags
from qwq_local.runtime import QwQ
from tests.programs import Qwq, assert_told, posix, program

QUESTION = "What is 47 + 85?"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches the answering, which is left out."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "qwq_local.cli.answer.answer",
        lambda messages, load, options, **rest: calls.append({"messages": messages, "load": load, **options, **rest}),
    )
    return calls


def content(calls: list[dict[str, Any]]) -> str:
    [call] = calls
    text: str = call["messages"][-1]["content"]
    return text


def test_the_question_is_the_argument_or_standard_input(qwq: Qwq, asked: list[dict[str, Any]]) -> None:
    qwq("ask", QUESTION, stdin=b"not this")
    qwq("ask", stdin="wie groß?\n".encode())
    assert [call["messages"] for call in asked] == [[{"role": "user", "content": text}] for text in (QUESTION, "wie groß?\n")]


def test_files_are_added_in_their_order(qwq: Qwq, asked: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("ä 1".encode())
    assert qwq("ask", "-f", str(tmp_path / "a"), "-f", "-", "Sum up.", stdin=b"from stdin").code == 0
    assert content(asked) == "Sum up.\n\nä 1\n\nfrom stdin"


def test_a_file_alone_is_a_question(qwq: Qwq, asked: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "question").write_text(QUESTION, "utf-8")
    assert qwq("ask", "-f", str(tmp_path / "question"), stdin=b"not this").code == 0
    assert content(asked) == QUESTION


@pytest.mark.parametrize(("flag", "instruction"), [("--math", card.MATH_INSTRUCTION), ("--choice", card.CHOICE_INSTRUCTION)])
def test_a_standard_instruction_follows_the_question(qwq: Qwq, asked: list[dict[str, Any]], flag: str, instruction: str) -> None:
    qwq("ask", flag, QUESTION)
    assert content(asked) == f"{QUESTION} {instruction}"


def test_a_system_message_comes_first(qwq: Qwq, asked: list[dict[str, Any]]) -> None:
    qwq("ask", "--system", "Be brief.", QUESTION)
    assert asked[0]["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]


def test_options_arrive_as_given_and_defaults_are_the_cards(qwq: Qwq, asked: list[dict[str, Any]]) -> None:
    qwq("ask", QUESTION)
    load_flags = ["-m", "x.gguf", "--ctx", "99", "--gpu-layers", "7", "--kv-type", "q8_0", "--rope", "yarn", "--draft-model", "small"]
    load_flags += ["--no-speculation"]
    flags = ["--temperature", "1", "--top-p", "0.5", "--top-k", "9", "--min-p", "0.1", "--presence-penalty", "1.5", "--seed", "4"]
    flags += ["--hesitation-penalty", "2"]
    tool_flags = ["--mcp", "python server.py", "--allow-tool", "a*", "--allow-tool", "b", "--allow-tools"]
    qwq("ask", *load_flags, *flags, *tool_flags, "--max-tokens", "5", "--think-tokens", "3", "--no-thoughts", "--json", QUESTION)
    first, second = asked
    defaults = {"temperature": 0.6, "top_p": 0.95, "top_k": 40, "min_p": 0, "presence_penalty": 0, "seed": None}
    defaults |= {"hesitation_penalty": 0, "max_tokens": None, "think_tokens": None}
    load: dict[str, Any] = {"model": None, "n_ctx": None, "n_gpu_layers": None, "kv_type": None, "rope": "auto", "force": False}
    load |= {"draft_model": None, "speculates": True}
    shown: dict[str, Any] = {"as_json": False, "shows_thoughts": True, "tools": ToolFlags()}
    assert first == {"messages": first["messages"], "load": load, **shown, **defaults}
    given_values = {"temperature": 1, "top_p": 0.5, "top_k": 9, "min_p": 0.1, "presence_penalty": 1.5, "seed": 4}
    given_values |= {"hesitation_penalty": 2, "max_tokens": 5, "think_tokens": 3}
    shown = {"as_json": True, "shows_thoughts": False, "tools": ToolFlags(("python server.py",), ("a*", "b"), allows_all=True)}
    load = {"model": "x.gguf", "n_ctx": 99, "n_gpu_layers": 7, "kv_type": "q8_0", "rope": "yarn", "force": False}
    load |= {"draft_model": "small", "speculates": False}
    assert second == {"messages": second["messages"], "load": load, **shown, **given_values}


def test_an_answer_follows_the_schema_in_a_file(qwq: Qwq, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}
    (tmp_path / "sum.json").write_text(json.dumps(schema))
    ended = qwq("ask", "-m", "demo", "--seed", "1", "--schema", str(tmp_path / "sum.json"), QUESTION)
    assert (ended.code, list(json.loads(ended.out))) == (0, ["sum"])


@pytest.mark.parametrize(
    ("content", "told"), [("{", "is no JSON"), ("[1]", "[1], which is no JSON schema"), ('{"type": "nonsense"}', "nonsense")]
)
def test_a_schema_that_cannot_be_is_told_of(qwq: Qwq, tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "schema.json").write_text(content)
    ended = qwq("ask", "-m", "demo", "--schema", str(tmp_path / "schema.json"), QUESTION)
    assert (ended.code, ended.out) == (1, "")
    assert told in ended.err


def test_what_happens_to_a_thought_is_told(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "1", "--think-tokens", "5", QUESTION)
    assert ended.code == 0
    assert "[the thought has spent its budget: now the answer]" in ended.err


# What cannot be asked


@pytest.mark.parametrize("prompt", ["", " ", "\n\t\u3000"])
def test_an_empty_question_is_refused(qwq: Qwq, prompt: str) -> None:
    assert_told(qwq("ask", "-m", "demo", prompt), 1, "empty")


def test_empty_input_and_empty_files_are_refused(qwq: Qwq, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert_told(qwq("ask", "-m", "demo", stdin=b" \n"), 1, "empty")
    assert_told(qwq("ask", "-m", "demo", "-f", str(tmp_path / "empty")), 1, "empty")


@pytest.mark.parametrize("redirect", [pytest.param("<&-", marks=posix)])
def test_nothing_to_read_the_question_from_is_told(redirect: str) -> None:
    assert_told(program("ask", "-m", "demo", redirect=redirect), 1, "Nothing was asked")
    assert_told(program("ask", "-m", "demo", "-f", "-", redirect=redirect), 1)


def test_a_file_that_cannot_be_read_is_named(qwq: Qwq, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("grün".encode("latin-1"))
    assert_told(qwq("ask", "-m", "demo", "-f", str(tmp_path / "latin")), 1, str(tmp_path / "latin"), "not UTF-8", "byte 2")
    assert_told(qwq("ask", "-m", "demo", "-f", str(tmp_path / "missing")), 1, str(tmp_path / "missing"), "No such file")
    assert_told(qwq("ask", "-m", "demo", "-f", str(tmp_path)), 1, str(tmp_path))
    assert_told(qwq("ask", "-m", "demo", stdin=b"\xff\xfe"), 1, "not UTF-8", "byte 0")


@posix
@pytest.mark.parametrize("arguments", [[b"caf\xe9"], ["--system", b"caf\xe9", QUESTION]], ids=["question", "system"])
def test_an_argument_that_is_not_utf_8_is_refused(qwq: Qwq, arguments: list[str | bytes]) -> None:
    assert_told(qwq("ask", "-m", "demo", *map(os.fsdecode, arguments)), 1, "UTF-8")


BAD_OPTIONS = """--temperature 6  --temperature -1  --temperature nan  --temperature hot  --top-p 1.5  --top-p inf  --top-k -1  --top-k 1.5
--top-k 2147483648  --min-p -0.5  --presence-penalty 3  --hesitation-penalty -1  --hesitation-penalty nan
--hesitation-penalty 101  --hesitation-penalty much  --seed -1  --seed 4294967296  --seed x  --max-tokens 0  --max-tokens -5
--max-tokens many  --ctx 0  --ctx 15  --ctx 2049  --ctx 2147483648  --ctx long  --gpu-layers -1  --gpu-layers all  --kv-type q5_0
--kv-type f32  --rope linear"""


@pytest.mark.parametrize("option", BAD_OPTIONS.replace("\n", "  ").split("  "))
def test_a_bad_value_is_wrong_usage_that_names_option_and_value(qwq: Qwq, option: str) -> None:
    name, value = option.split(" ")
    ended = qwq("ask", "-m", "demo", name, value, QUESTION)
    assert (ended.code, ended.out) == (2, "")
    told = ended.err.replace(",", "").replace("_", "-")
    assert name.removeprefix("--") in told
    assert value.replace("_", "-") in told


def test_the_native_context_is_the_longest_without_yarn(qwq: Qwq) -> None:
    assert_told(qwq("ask", "-m", "demo", "--rope", "native", "--ctx", "513", QUESTION), 2, "513", "512", "native")


def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(qwq: Qwq, demo: QwQ) -> None:
    question = "word " * 1000
    n_tokens = len(demo.tokenize(demo.render(question)))
    assert n_tokens > 1000
    assert_told(qwq("ask", "-m", "demo", "--ctx", "64", question), 1, f"{n_tokens:,} tokens", " 64.")
    assert_told(qwq("ask", "-m", "demo", question), 1, f"{n_tokens:,} tokens", " 512.")


@pytest.mark.parametrize("n_words", [600, 1500])
def test_the_hint_on_a_long_prompt_names_a_context_that_is_not_refused(qwq: Qwq, n_words: int) -> None:
    hint = qwq("ask", "-m", "demo", "word " * n_words).err.splitlines()[1]
    longer = hint.split("--ctx ")[1].rstrip(".")
    assert qwq("ask", "-m", "demo", "--ctx", longer, "--max-tokens", "1", "hi").code == 0, hint


def test_a_prompt_that_fits_no_context_is_to_be_shortened(qwq: Qwq) -> None:
    assert qwq("ask", "-m", "demo", "word " * 5000).err.splitlines()[1] == "hint: Shorten the prompt."
