"""The tokens of files, told apart one by one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qwq_local.errors import DamagedFileError
from qwq_local.llama import FileVocabulary
from qwq_local.models.inventory import demo_model
from qwq_local.models.tokens import KINDS, TEXTS, TokenTable, difference, read_tokens
from tests.drafts import write_with_tokens

DEMO = read_tokens(demo_model().path)
EOS = "tokenizer.ggml.eos_token_id"
NORMAL, CONTROL, UNUSED = 1, 3, 5


def table(*texts: str, kinds: tuple[int, ...] = (), ends: tuple[int, ...] = (0,)) -> TokenTable:
    return TokenTable("gpt2", [text.encode() for text in texts], kinds or (NORMAL,) * len(texts), frozenset(ends))


def test_a_files_table_is_what_llama_cpp_reads_in_it() -> None:
    with closing(FileVocabulary(demo_model().path)) as vocabulary:
        assert len(DEMO.texts) == vocabulary.n_tokens
        assert {DEMO.texts[token].decode(): token for token, kind in enumerate(DEMO.kinds) if kind in {3, 4}} == vocabulary.markers
        assert DEMO.ends == vocabulary.end_tokens


def put(key: str, token: int, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda metadata: metadata[key].__setitem__(token, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(TEXTS, 65, "odd"), "1 of its 512 tokens are not the model's: 65 is 'odd' (normal) instead of 'b' (normal)."),
        (put(TEXTS, 400, "odd"), f"400 is 'odd' (normal) instead of {DEMO.texts[400].decode()!r} (normal)."),
        (put(KINDS, 65, CONTROL), "65 is 'b' (control) instead of 'b' (normal)."),
        (put(KINDS, 65, 77), "65 is 'b' (kind 77) instead of"),
        (lambda metadata: metadata.update({"tokenizer.ggml.model": "llama"}), "Its tokenizer is 'llama', and the model's 'gpt2'."),
        (lambda metadata: metadata.update({EOS: 65}), "It ends answers with the tokens 65, "),
    ],
)
def test_a_file_of_other_tokens_is_told_by_the_first_of_them(change: Callable[[dict[str, Any]], object], says: str, tmp_path: Path) -> None:
    assert says in difference(DEMO, read_tokens(write_with_tokens(tmp_path / "odd.gguf", change)))


def test_the_same_tokens_make_no_difference(tmp_path: Path) -> None:
    same = write_with_tokens(tmp_path / "same.gguf", lambda metadata: metadata.update({"general.name": "another"}))
    assert difference(DEMO, read_tokens(same)) == ""


def test_of_many_differences_four_are_named_and_the_others_counted() -> None:
    said = difference(table(*"abcdef"), table(*"abCDEFGH"))
    assert said.startswith("6 of its 8 tokens")
    assert "2 is 'C' (normal) instead of 'c' (normal); " in said
    assert "5 is 'F'" in said
    assert "6 is" not in said
    assert said.endswith("; and 2 more.")


def test_padding_may_have_any_name_and_lack_at_the_end() -> None:
    model = table("a", "[PAD1]", "x", "[PAD3]", kinds=(NORMAL, 4, UNUSED, UNUSED))
    assert difference(model, table("a", "y", "[PAD2]", kinds=(NORMAL, UNUSED, 4))) == ""
    assert "1 is 'b' (normal) instead of '[PAD1]'" in difference(model, table("a", "b"))
    assert "2 is nothing instead of 'c' (normal)" in difference(table("a", "b", "c"), table("a", "b"))


def test_what_the_model_could_not_read_may_not_be_guessed() -> None:
    assert "1 is '[PAD1]' (unused) instead of nothing" in difference(table("a"), table("a", "[PAD1]", kinds=(NORMAL, UNUSED)))


def test_qwqs_own_markers_are_missed_in_the_vocabulary_that_it_grew_from() -> None:
    markers = ("<tool_response>", "</tool_response>", "<think>", "</think>")
    qwq = table("a", *markers, kinds=(NORMAL, 4, 4, 4, 4))
    stock = table("a", *(f"[PAD{i}]" for i in range(1, 5)), kinds=(NORMAL, *[UNUSED] * 4))
    said = difference(qwq, stock)
    assert said.startswith("4 of its 5 tokens are not the model's: 1 is '[PAD1]' (unused) instead of '<tool_response>' (user-defined); ")
    assert "4 is '[PAD4]' (unused) instead of '</think>' (user-defined)" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda metadata: metadata.pop(TEXTS), TEXTS),
        (lambda metadata: metadata.update({TEXTS: 7}), TEXTS),
        (lambda metadata: metadata.update({KINDS: ["a"]}), KINDS),
        (lambda metadata: metadata[KINDS].pop(), "kinds of 511"),
    ],
)
def test_a_file_that_does_not_tell_its_tokens_is_refused(change: Callable[[dict[str, Any]], object], says: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=says) as refused:
        read_tokens(write_with_tokens(tmp_path / "odd.gguf", change))
    assert refused.value.hint


def test_without_kinds_every_token_is_an_ordinary_one(tmp_path: Path) -> None:
    path = write_with_tokens(tmp_path / "plain.gguf", lambda metadata: metadata.pop(KINDS))
    assert set(read_tokens(path).kinds) == {NORMAL}
