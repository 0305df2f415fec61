"""How a text is cut into chunks, and read, whatever a batch can hold."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qwq_local.backend import BatchToken
from qwq_local.errors import DecodeError, PromptError, SettingsError
from qwq_local.likelihood.chunks import Chunks, ScoringSettings, batches, cut
from qwq_local.likelihood.estimates import mean_of
from qwq_local.likelihood.perplexity import surprises_of
from qwq_local.likelihood.reading import ScoringListener, scored_rows

N_VOCAB = 40


class Parrot:
    """A backend whose logits after each token are `rows[token]`, whatever stood before; it knows where it was read."""

    def __init__(self, rows: NDArray[np.float32], n_batch: int = 512, n_outputs: int = 512) -> None:
        self.rows, self.n_batch, self.n_outputs = rows, n_batch, n_outputs
        self.read: list[list[int]] = []
        self._wanted: list[int] = []

    def decode(self, batch: Sequence[BatchToken]) -> None:
        assert 0 < len(batch) <= self.n_batch
        assert [entry.position for entry in batch] == [*range(len(self.read[-1]), len(self.read[-1]) + len(batch))]
        self.read[-1] += [entry.token for entry in batch]
        self._wanted = [entry.token for entry in batch if entry.wants_logits]
        assert len(self._wanted) <= self.n_outputs

    def wanted_logits(self, n_rows: int) -> NDArray[np.float32]:
        assert n_rows == len(self._wanted)
        return self.rows[self._wanted]

    def truncate(self, sequence: int, n_tokens: int) -> None:
        assert (sequence, n_tokens) == (0, 0)
        self.read.append([])


def uniform() -> NDArray[np.float32]:
    return np.full((N_VOCAB, N_VOCAB), 3.0, np.float32)


def chunks_of(n_tokens: int, n_ctx: int, start: int | None = None) -> Chunks:
    return cut([token % N_VOCAB for token in range(n_tokens)], ScoringSettings(n_ctx), start)


def test_a_text_is_cut_into_whole_chunks_of_which_the_second_half_is_scored() -> None:
    chunks = chunks_of(1000, 64)
    assert (chunks.n_chunks, chunks.n_ctx, chunks.first_wanted, chunks.n_scored) == (15, 64, 32, 31)
    assert chunks.tokens[1].tolist() == [token % N_VOCAB for token in range(64, 128)]
    odd = chunks_of(100, 33)
    assert (odd.n_chunks, odd.first_wanted, odd.n_scored) == (3, 16, 16)


def test_only_the_first_chunks_are_read_where_that_is_asked() -> None:
    assert cut(range(1000), ScoringSettings(100, 3)).n_chunks == 3
    assert cut(range(1000), ScoringSettings(100, 30)).n_chunks == 10


def test_a_text_of_less_than_two_chunks_is_refused_with_what_is_needed() -> None:
    with pytest.raises(PromptError, match=r"is 1,023 tokens long, and chunks of 512 need 1,024\.") as caught:
        cut(range(1023), ScoringSettings())
    assert caught.value.hint.endswith("--ctx 511")
    assert cut(range(1023), ScoringSettings(511)).n_chunks == 2
    with pytest.raises(PromptError, match="is 20 tokens long") as caught:
        cut(range(20), ScoringSettings())
    assert "--ctx" not in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"n_ctx": 15}, "ctx is 15"), ({"max_chunks": 0}, "chunks is 0"), ({"n_gpu_layers": -1}, "gpu-layers is -1")],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        ScoringSettings(**settings)


def test_the_vocabulary_s_token_for_beginnings_is_read_instead_of_each_chunk_s_first() -> None:
    chunks, backend = chunks_of(90, 30, start=7), Parrot(uniform())
    list(scored_rows(backend, chunks, lambda _: None))
    assert [read[0] for read in backend.read] == [7, 7, 7]
    assert [read[1:] for read in backend.read] == chunks.tokens[:, 1:].tolist()


@given(st.integers(1, 70), st.integers(0, 69), st.integers(1, 80), st.integers(1, 80))
def test_batches_hold_what_they_may_and_every_place_once(n_tokens: int, first: int, n_batch: int, n_outputs: int) -> None:
    found = list(batches(n_tokens, first, n_batch, n_outputs))
    assert [place for places in found for place in places] == [*range(n_tokens)]
    for places in found:
        assert len(places) <= n_batch
        assert sum(place >= first for place in places) <= n_outputs


@given(st.integers(16, 50), st.integers(1, 60), st.integers(1, 60))
def test_every_scored_token_meets_the_logits_before_it_whatever_the_batches(n_ctx: int, n_batch: int, n_outputs: int) -> None:
    rows = np.random.default_rng(0).normal(size=(N_VOCAB, N_VOCAB)).astype(np.float32)
    chunks = chunks_of(3 * n_ctx, n_ctx)
    told: list[int] = []
    found = [(logits.copy(), targets) for logits, targets in scored_rows(Parrot(rows, n_batch, n_outputs), chunks, told.append)]
    before = chunks.tokens[:, chunks.first_wanted : -1].ravel()
    assert np.array_equal(np.concatenate([logits for logits, _ in found]), rows[before])
    assert np.array_equal(np.concatenate([targets for _, targets in found]), chunks.tokens[:, chunks.first_wanted + 1 :].ravel())
    assert told == [0, 1, 2]
    assert len(before) == chunks.n_chunks * chunks.n_scored


def test_the_perplexity_of_a_model_that_knows_nothing_is_the_size_of_its_vocabulary() -> None:
    chunks = chunks_of(200, 20)
    with ThreadPoolExecutor(2) as threads:
        found = mean_of(surprises_of(Parrot(uniform()), chunks, threads, ScoringListener())).exponential()
    assert found.value == pytest.approx(N_VOCAB)
    assert found.uncertainty == pytest.approx(0, abs=1e-6)


def test_what_is_no_number_is_an_error_and_not_a_figure() -> None:
    rows = uniform()
    rows[13, 5] = np.nan
    with ThreadPoolExecutor(2) as threads, pytest.raises(DecodeError, match="NaN or infinite"):
        surprises_of(Parrot(rows), chunks_of(200, 20), threads, ScoringListener())
