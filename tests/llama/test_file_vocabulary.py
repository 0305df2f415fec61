"""A vocabulary without its weights: the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import LoadError
from qwq_local.llama import FileVocabulary, LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from tests.backends import open_backend

DEMO = find("demo")


@pytest.fixture(scope="module")
def alone() -> Iterator[FileVocabulary]:
    with closing(FileVocabulary(DEMO.path)) as vocabulary:
        yield vocabulary


@pytest.fixture(scope="module")
def loaded() -> Iterator[LlamaBackend]:
    with closing(LlamaBackend(DEMO.path, context_shape(DEMO), "native", 0)) as backend:
        yield backend


def test_it_is_the_vocabulary_of_the_loaded_model(alone: FileVocabulary, loaded: LlamaBackend) -> None:
    assert alone.chat_template == loaded.chat_template
    assert alone.markers == loaded.vocabulary.markers
    assert alone.end_tokens == loaded.vocabulary.end_tokens
    assert [alone.piece(token) for token in range(alone.n_tokens)] == [loaded.vocabulary.piece(token) for token in range(alone.n_tokens)]


@given(st.text(max_size=40))
def test_it_tokenizes_as_the_loaded_model_does(alone: FileVocabulary, loaded: LlamaBackend, text: str) -> None:
    assert alone.tokenize(text) == loaded.vocabulary.tokenize(text)


@pytest.mark.parametrize("open_file", [FileVocabulary, lambda path: open_backend(str(path))])
def test_a_file_without_the_chat_markers_is_refused(open_file: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(DEMO.path.read_bytes().replace(b"<|im_start|>", b"<|XX_start|>"))
    with pytest.raises(LoadError, match=r"no <\|im_start\|>"):
        open_file(tmp_path / "other.gguf")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(LoadError, match="could not load"):
        FileVocabulary(tmp_path / "text.gguf")
