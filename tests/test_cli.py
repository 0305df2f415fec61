"""The command line as its users meet it: answers on stdout, the rest on stderr, an exit code that tells, and no traceback ever."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local import __version__, card
from qwq_local.cli import main
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.terminal import DIM, PLAIN, AnswerPrinter, LoadingBar, has_colour
from qwq_local.engine import Answering, Thinking
from qwq_local.runtime import QwQ
from tests.terminals import PROGRAM, Ended, Terminal

WAIT_SECONDS = 100
QUESTION = "What is 47 + 85?"
posix = pytest.mark.skipif(os.name != "posix", reason="closed streams and terminals are made with POSIX calls")


class Qwq:
    """The program in this process, as `main` runs it."""

    def __init__(self, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self._patch, self._captured = patch, captured

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Ended:
        self._captured.readouterr()
        self._patch.setattr(sys, "argv", ["qwq", *arguments])
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b""), encoding="utf-8"))
        with pytest.raises(SystemExit) as caught:
            main()
        return Ended(int(caught.value.code or 0), *self._captured.readouterr())


@pytest.fixture
def qwq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Qwq:
    return Qwq(monkeypatch, capsys)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches the answering, which is left out."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "qwq_local.cli.answer.answer",
        lambda messages, load, options, **rest: calls.append({"messages": messages, "load": load, **options, **rest}),
    )
    return calls


def program(*arguments: str | bytes, redirect: str = "", **environment: str) -> Ended:
    """The program in a process of its own; `redirect` is the shell's."""
    shell = ("sh", "-c", f'exec "$@" {redirect}', "sh") if redirect else ()
    done = subprocess.run(
        [*shell, *PROGRAM, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
        timeout=WAIT_SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_told(ended: Ended, code: int, *says: str) -> None:
    """An error in one line with a hint in another, and nothing on stdout."""
    assert ended.code == code, ended
    assert ended.out == ""
    error, hint = ended.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    for words in says:
        assert words in error


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


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["ask", "--help"], ["chat", "--help"]])
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
    assert list(usage) == ["prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "total_tokens"]
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


# What is asked


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
    load_flags = ["-m", "x.gguf", "--ctx", "99", "--gpu-layers", "7", "--kv-type", "q8_0", "--rope", "yarn"]
    flags = ["--temperature", "1", "--top-p", "0.5", "--top-k", "9", "--min-p", "0.1", "--presence-penalty", "1.5", "--seed", "4"]
    tool_flags = ["--mcp", "python server.py", "--allow-tool", "a*", "--allow-tool", "b", "--allow-tools"]
    qwq("ask", *load_flags, *flags, *tool_flags, "--max-tokens", "5", "--think-tokens", "3", "--no-thoughts", "--json", QUESTION)
    first, second = asked
    defaults = {"temperature": 0.6, "top_p": 0.95, "top_k": 40, "min_p": 0, "presence_penalty": 0, "seed": None}
    defaults |= {"max_tokens": None, "think_tokens": None}
    load: dict[str, Any] = {"model": None, "n_ctx": None, "n_gpu_layers": None, "kv_type": None, "rope": "auto", "force": False}
    shown: dict[str, Any] = {"as_json": False, "shows_thoughts": True, "tools": ToolFlags()}
    assert first == {"messages": first["messages"], "load": load, **shown, **defaults}
    given_values = {"temperature": 1, "top_p": 0.5, "top_k": 9, "min_p": 0.1, "presence_penalty": 1.5, "seed": 4}
    given_values |= {"max_tokens": 5, "think_tokens": 3}
    shown = {"as_json": True, "shows_thoughts": False, "tools": ToolFlags(("python server.py",), ("a*", "b"), allows_all=True)}
    load = {"model": "x.gguf", "n_ctx": 99, "n_gpu_layers": 7, "kv_type": "q8_0", "rope": "yarn", "force": False}
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
--top-k 2147483648  --min-p -0.5  --presence-penalty 3  --seed -1  --seed 4294967296  --seed x  --max-tokens 0  --max-tokens -5
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


# The model's file


DEMO = resources.files("qwq_local").joinpath("demo", "qwq-nano-Q8_0.gguf")


def changed(path: Path, old: bytes, new: bytes) -> str:
    """A copy of the demo with a piece of its header replaced by another of that length."""
    data = DEMO.read_bytes()
    assert data.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return str(path)


def with_template(path: Path, template: str) -> str:
    start = (data := DEMO.read_bytes()).index(key := b"tokenizer.chat_template") + len(key) + 4
    (length,) = struct.unpack_from("<Q", data, start)
    filler = b"{#" + b" " * (length - len(template) - 4) + b"#}"
    return changed(path, data[start + 8 : start + 8 + length], template.encode() + filler)


def test_a_missing_model_a_folder_and_no_model_are_told(qwq: Qwq, tmp_path: Path) -> None:
    missing = str(tmp_path / "no.gguf")
    assert_told(qwq("ask", "-m", missing, QUESTION), 1, missing, "does not exist")
    assert_told(qwq("ask", "-m", str(tmp_path), QUESTION), 1, str(tmp_path), "is a folder")
    ended = qwq("ask", QUESTION)
    assert_told(ended, 1, "There is no model")
    assert "-m demo" in ended.err


@pytest.mark.parametrize("name", ["~nobody-of-this-name/model.gguf", "x" * 5000, "caf\udce9.gguf", "", "\x1b[31mred"])
def test_an_odd_name_of_a_model_is_a_model_that_is_not_there(qwq: Qwq, name: str) -> None:
    ended = qwq("ask", "-m", name, QUESTION)
    assert_told(ended, 1)
    assert "\x1b" not in ended.err


@pytest.mark.parametrize("data", [b"", b"GGU", b"# hello\n", b"PK\x03\x04" + bytes(500), b"\x80\x04pickle"])
def test_what_is_no_gguf_is_told(qwq: Qwq, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    assert_told(qwq("ask", "-m", str(path), QUESTION), 1, str(path))


@pytest.mark.parametrize("kept", [4, 7, 20, 100, 3000, 15_000, 16_064, 500_000, 2_000_000, -1])
def test_a_truncated_model_is_told(qwq: Qwq, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(DEMO.read_bytes()[:kept])
    assert_told(qwq("ask", "-m", str(path), QUESTION), 1, str(path))


def test_another_architecture_is_named(qwq: Qwq, tmp_path: Path) -> None:
    key = b"general.architecture" + struct.pack("<IQ", 8, 5)
    path = changed(tmp_path / "model.gguf", key + b"qwen2", key + b"llama")
    assert_told(qwq("ask", "-m", path, QUESTION), 1, path, "'llama'", "'qwen2'")


@pytest.mark.parametrize(
    ("key", "code", "old", "new"),
    [
        ("qwen2.rope.scaling.factor", "<If", (6, 4.0), (6, float("inf"))),
        ("qwen2.rope.scaling.factor", "<If", (6, 4.0), (6, float("nan"))),
        ("qwen2.rope.scaling.factor", "<If", (6, 4.0), (6, 0.5)),
        ("qwen2.rope.scaling.original_context_length", "<II", (4, 512), (4, 0)),
        ("qwen2.rope.scaling.original_context_length", "<II", (4, 512), (4, 2**32 - 1)),
        ("qwen2.embedding_length", "<II", (4, 256), (4, 255)),
        ("qwen2.block_count", "<II", (4, 3), (4, 4)),
        ("qwen2.attention.head_count", "<II", (4, 4), (4, 0)),
    ],
)
def test_a_model_whose_numbers_cannot_be_is_an_error_with_a_hint(
    key: str, code: str, old: tuple[Any, ...], new: tuple[Any, ...], tmp_path: Path
) -> None:
    path = changed(tmp_path / "model.gguf", key.encode() + struct.pack(code, *old), key.encode() + struct.pack(code, *new))
    assert_told(program("ask", "-m", path, "--max-tokens", "1", QUESTION), 1)


def test_a_broken_template_is_noticed_and_ours_is_used(qwq: Qwq, tmp_path: Path) -> None:
    ended = qwq("ask", "-m", with_template(tmp_path / "m.gguf", "{% if %}"), "--seed", "1", QUESTION)
    assert ended.code == 0
    assert r"\boxed{132}" in ended.out
    notice, *_ = ended.err.splitlines()
    assert notice.startswith("notice: The chat template cannot be parsed")
    assert "own template is used instead" in notice


# Streams that are not there


@posix
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_closed_stdout_is_told(more: list[str]) -> None:
    assert_told(program("ask", "-m", "demo", *more, QUESTION, redirect=">&-"), 1, "Standard output is closed")


@posix
def test_closed_stderr_costs_nothing_but_the_thoughts() -> None:
    ended = program("ask", "-m", "demo", "--seed", "1", "--temperature", "0", QUESTION, redirect="2>&-")
    assert ended.code == 0
    assert r"\boxed{132}" in ended.out
    assert "warning" not in ended.out
    assert ended.out.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_told(more: list[str]) -> None:
    ended = program("ask", "-m", "demo", "--seed", "1", "--no-thoughts", *more, QUESTION, redirect=">/dev/full")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "No space left" in ended.err


@posix
@pytest.mark.slow
def test_a_reader_that_leaves_early_ends_a_long_answer_quietly(endless_model: Path) -> None:
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "--max-tokens", "31000", "--no-thoughts", "--seed", "1", QUESTION]
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            assert child.stdout.read(1), child.stderr.read()
            child.stdout.close()
            assert child.wait(WAIT_SECONDS) == 1
            assert child.stderr.read() == b""
        finally:
            child.kill()


@pytest.mark.parametrize(
    "arguments", [["ask", "-m", "demo", "--seed", "1", QUESTION], ["ask", "-m", "demo", "--seed", "1", "--json", QUESTION]]
)
def test_a_stdout_without_the_letter_shows_something_else_for_it(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "argv", ["qwq", *arguments])
    monkeypatch.setattr("qwq_local.llama._vocabulary.LlamaVocabulary._piece", lambda self, token: "é".encode())  # noqa: ARG005
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    narrow.flush()
    assert isinstance(narrow.buffer, io.BytesIO)
    assert narrow.buffer.getvalue()


# Terminals


class Screen(io.StringIO):
    """A terminal that shows what it got."""

    def isatty(self) -> bool:
        return True


def screens(monkeypatch: pytest.MonkeyPatch) -> tuple[Screen, Screen]:
    """Terminals for stdout and stderr."""
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


EVENTS = st.lists(st.builds(Thinking, st.text(min_size=1)) | st.builds(Answering, st.text(min_size=1)))


@given(EVENTS)
def test_no_control_character_of_a_model_reaches_a_terminal(events: list[Thinking | Answering]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out, err = screens(patch)
        printer = AnswerPrinter(shows_thoughts=True)
        for event in events:
            printer.show(event)
        printer.finish()
    assert err.getvalue().count(DIM) == err.getvalue().count(PLAIN)
    shown = out.getvalue() + err.getvalue().replace(DIM, "").replace(PLAIN, "")
    assert [c for c in shown if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"] == []


def test_a_thought_that_follows_an_answer_begins_on_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = screens(monkeypatch)
    printer = AnswerPrinter(shows_thoughts=True)
    for event in (Answering("a"), Thinking("b"), Answering("c")):
        printer.show(event)
    printer.finish()
    assert out.getvalue() == "a\nc\n"


def test_a_pipe_gets_the_answer_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    printer = AnswerPrinter(shows_thoughts=True)
    printer.show(Answering("a\x1b[31m\r"))
    printer.finish()
    assert pipe.getvalue() == "a\x1b[31m\r\n"


def test_thoughts_are_dimmed_and_set_off_from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = screens(monkeypatch)
    printer = AnswerPrinter(shows_thoughts=True)
    for event in (Thinking("a"), Thinking("b"), Answering("c"), Answering("d")):
        printer.show(event)
    printer.finish()
    assert err.getvalue() == f"{DIM}a{PLAIN}{DIM}b{PLAIN}\n\n"
    assert out.getvalue() == "cd\n"


@pytest.mark.parametrize(("variable", "value", "is_colourful"), [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)])
def test_colour_is_left_out_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, is_colourful: bool) -> None:
    monkeypatch.setenv(variable, value)
    assert has_colour(Screen()) == is_colourful
    assert not has_colour(io.StringIO())


def test_the_loading_bar_is_for_long_loads_and_takes_itself_away(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = screens(monkeypatch)
    bar = LoadingBar(0.0)
    bar.update(0.1, 0.4)
    bar.clear()
    assert err.getvalue() == ""
    bar.update(0.5, 1.0)
    bar.clear()
    assert err.getvalue() == "\rloading  50%\r\x1b[K"
    assert out.getvalue() == ""


def assert_clean(terminal: Terminal) -> None:
    """Nothing dim is left on, the cursor stands at the start of a line, and no traceback was shown."""
    assert terminal.shown.rfind(PLAIN.encode()) >= terminal.shown.rfind(DIM.encode())
    assert terminal.shown.endswith(b"\n")
    assert b"Traceback" not in terminal.shown
    assert b"Exception ignored" not in terminal.shown


@posix
@pytest.mark.parametrize("is_there", [b"\x1b[2m", b"\x1b[0m\r\n\r\n"], ids=["in the thought", "in the answer"])
def test_ctrl_c_in_mid_answer_is_130_and_leaves_the_terminal_clean(
    on_terminal: Callable[..., Terminal], endless_model: Path, is_there: bytes
) -> None:
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "--max-tokens", "31000", "--seed", "1", QUESTION]
    terminal = on_terminal(*PROGRAM, *arguments)
    terminal.read_until(lambda shown: is_there in shown)
    assert terminal.child.poll() is None
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert_clean(terminal)


@posix
def test_ctrl_c_in_mid_prompt_is_130(on_terminal: Callable[..., Terminal], endless_model: Path, tmp_path: Path) -> None:
    (tmp_path / "long").write_text("word " * 20_000, "utf-8")
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "-f", str(tmp_path / "long")]
    terminal = on_terminal(sys.executable, "-X", "importtime", *PROGRAM[1:], *arguments)
    terminal.read_until(lambda shown: b"llama_cpp.llama_cpp" in shown)
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert_clean(terminal)


@posix
@pytest.mark.parametrize("imported", [b"qwq_local.cli.options", b" jinja2", b"qwq_local.cli.answer", b"llama_cpp.llama_cpp"])
def test_ctrl_c_while_loading_is_130(on_terminal: Callable[..., Terminal], endless_model: Path, imported: bytes) -> None:
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "--max-tokens", "31000", QUESTION]
    terminal = on_terminal(sys.executable, "-X", "importtime", *PROGRAM[1:], *arguments)
    terminal.read_until(lambda shown: imported in shown)
    assert imported in terminal.shown
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert_clean(terminal)


@posix
def test_ctrl_c_while_the_question_is_awaited_is_130() -> None:
    command = [sys.executable, "-X", "importtime", *PROGRAM[1:], "ask", "-m", "demo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert any(b"qwq_local.cli.answer" in line for line in child.stderr)
        child.send_signal(signal.SIGINT)
        _, rest = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode == 130
    assert b"Traceback" not in rest


@posix
def test_a_terminal_gets_dimmed_thoughts_and_no_color_is_obeyed(on_terminal: Callable[..., Terminal]) -> None:
    command = [*PROGRAM, "ask", "-m", "demo", "--seed", "1", QUESTION]
    dimmed = on_terminal(*command)
    assert dimmed.end() == 0
    plain = on_terminal(*command, NO_COLOR="1")
    assert plain.end() == 0
    assert DIM.encode() in dimmed.shown
    assert b"\x1b" not in plain.shown
    assert dimmed.shown.replace(DIM.encode(), b"").replace(PLAIN.encode(), b"") == plain.shown
    assert plain.shown.count(rb"\boxed{132}") == 1
    assert_clean(dimmed)


@posix
def test_a_template_that_refuses_moves_no_cursor(on_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    path = with_template(tmp_path / "m.gguf", r'{{ raise_exception("\x1b[2J\x1b]0;owned\x07") }}')
    terminal = on_terminal(*PROGRAM, "ask", "-m", path, QUESTION)
    assert terminal.end() == 1
    assert b"The chat template refuses this conversation" in terminal.shown
    assert b"\x1b" not in terminal.shown
