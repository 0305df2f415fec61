"""The file of a base's log-probabilities, as llama-perplexity has it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qwq_local.errors import SettingsError
from qwq_local.likelihood.base_file import BaseFile, Maker, decoded, encoded, file_bytes, write_head, write_maker
from qwq_local.likelihood.chunks import Chunks, ScoringSettings, cut
from qwq_local.likelihood.scores import log_sums

Logits = NDArray[np.float32]
MAKER = Maker("base.gguf", 123)
CHUNKS = cut(range(40), ScoringSettings(16))


def made(chunks: Chunks = CHUNKS, n_vocab: int = 5, maker: Maker | None = MAKER) -> bytes:
    file = io.BytesIO()
    write_head(file, chunks, n_vocab)
    for place in range(chunks.n_chunks * chunks.n_scored):
        file.write(encoded(np.arange(n_vocab, dtype=np.float32)[None] * (place + 1)).tobytes())
    assert len(file.getvalue()) == file_bytes(chunks, n_vocab)
    if maker:
        write_maker(file, maker)
    return file.getvalue()


def opened(content: bytes, chunks: Chunks = CHUNKS, n_vocab: int = 5) -> BaseFile:
    return BaseFile(io.BytesIO(content), "base.logits", chunks, n_vocab)


def test_a_row_is_laid_out_as_llama_perplexity_does_it() -> None:
    # Probabilities 1/2, 1/4, 1/4: the range is ln 2, in 65,535 steps from ln 1/4.
    row = encoded(np.log(np.array([[0.5, 0.25, 0.25]], np.float32)))[0].tobytes()
    scale, least, *steps = struct.unpack("<2f4H", row)
    assert (scale, least) == (pytest.approx(np.log(2) / 65535), pytest.approx(np.log(0.25)))
    assert steps == [65535, 0, 0, 0]


def test_a_file_begins_as_llama_perplexity_s() -> None:
    content = made()
    assert struct.unpack_from("<8s3i", content) == (b"_logits_", 16, 5, 2)
    assert struct.unpack_from("<32i", content, 20) == tuple(range(32))


@given(arrays(np.float32, (3, 7), elements=st.floats(-60, 60, width=32)))
def test_log_probabilities_survive_within_half_a_step_down_to_16_below_the_likeliest(logits: Logits) -> None:
    exact = np.maximum(logits, logits.max(1, keepdims=True) - 16) - log_sums(logits)[:, None]
    assert np.abs(decoded(encoded(logits), 7) - exact).max() < 0.5 * 16 / 65535 + 2e-5


@pytest.mark.parametrize("apart", [0, 1e-36, 1e-44])
def test_logits_that_are_equal_or_all_but_equal_are_equally_likely(apart: float) -> None:
    logits = np.zeros((1, 8), np.float32)
    logits[0, 3] = apart
    assert decoded(encoded(logits), 8) == pytest.approx(-np.log(8))


def test_rows_come_back_in_order_with_the_name_of_their_maker() -> None:
    file = opened(made())
    assert file.maker == MAKER
    rows = np.concatenate([file.rows(3), file.rows(4), file.rows(7)])
    assert len(rows) == CHUNKS.n_chunks * CHUNKS.n_scored
    assert decoded(rows, 5)[9, 4] - decoded(rows, 5)[9, 3] == pytest.approx(10, abs=1e-3)


def test_a_file_of_more_chunks_serves_fewer() -> None:
    fewer = cut(range(40), ScoringSettings(16, 1))
    file = opened(made(), fewer)
    assert file.maker == MAKER
    assert file.rows(7).tolist() == opened(made()).rows(7).tolist()


def test_a_file_of_llama_perplexity_s_names_no_maker() -> None:
    assert opened(made(maker=None)).maker is None
    assert opened(made(maker=None) + b"[1, 2]").maker is None


@pytest.mark.parametrize(
    ("content", "chunks", "n_vocab", "says"),
    [
        (b"", CHUNKS, 5, "holds no log-probabilities"),
        (b"GGUF" + bytes(100), CHUNKS, 5, "holds no log-probabilities"),
        (made()[:15], CHUNKS, 5, "holds no log-probabilities"),
        (made(), cut(range(40), ScoringSettings(17)), 5, "chunks of 16 tokens, not 17"),
        (made(), CHUNKS, 6, "vocabulary of 5 tokens, and the base has 6"),
        (made(), cut(range(60), ScoringSettings(16)), 5, "holds 2 chunks, and 3 are wanted"),
        (made(), cut(range(1, 41), ScoringSettings(16)), 5, "made of another text"),
        (made()[:200], CHUNKS, 5, "is cut short: 200 of 428 bytes"),
        (made()[:60], CHUNKS, 5, "made of another text"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(content: bytes, chunks: Chunks, n_vocab: int, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        opened(content, chunks, n_vocab)
    assert "base.logits" in str(caught.value)
    assert caught.value.hint
