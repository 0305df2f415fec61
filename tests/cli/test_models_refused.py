"""Models that `qwq ask` cannot use: told in two lines, with a hint, whatever is in the file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.programs import PROGRAM, Qwq, assert_told, posix, program
from tests.terminals import Terminal

QUESTION = "What is 47 + 85?"


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


@pytest.mark.parametrize("damage", [lambda data: b"PK" + data[2:], lambda data: data[:100], lambda data: data[:-1]])
def test_a_model_that_is_no_gguf_or_is_cut_short_is_told(qwq: Qwq, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(damage(DEMO.read_bytes()))
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


@posix
def test_a_template_that_refuses_moves_no_cursor(on_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    path = with_template(tmp_path / "m.gguf", r'{{ raise_exception("\x1b[2J\x1b]0;owned\x07") }}')
    terminal = on_terminal(*PROGRAM, "ask", "-m", path, QUESTION)
    assert terminal.end() == 1
    assert b"The chat template refuses this conversation" in terminal.shown
    assert b"\x1b" not in terminal.shown
