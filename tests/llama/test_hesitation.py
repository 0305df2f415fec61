"""The penalty on hesitation in llama.cpp's chain: how much it takes, from which logits, and until when."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from qwq_local.errors import SettingsError
from qwq_local.llama import LlamaBackend
from qwq_local.llama._library import library
from qwq_local.llama._sampler import Guesser, LlamaSampler
from qwq_local.settings import Sampling
from tests.backends import RECORDED, open_backend, read

WORDS = (3, 17, 443)
"""Tokens that stand for words of hesitation here."""
CURBED = dict.fromkeys(WORDS, -2.5)
BIASED = Sampling(temperature=0, hesitation_penalty=2.5, logit_bias=((17, 1.0), (18, 4.0)))


@pytest.fixture
def backend() -> Iterator[LlamaBackend]:
    backend = open_backend("demo", n_ctx=512)
    read(backend, RECORDED[0]["prompt"][:40])
    backend.vocabulary.hesitation_tokens = WORDS
    yield backend
    backend.close()


def added(sampler: LlamaSampler | Guesser) -> dict[int, float]:
    """What the chain adds to each logit, where they are all 0."""
    lib = library()
    data = (lib.llama_token_data * 512)(*((token, 0.0, 0.0) for token in range(512)))
    array = lib.llama_token_data_array(ctypes.cast(data, lib.llama_token_data_p), 512, -1, False)
    lib.llama_sampler_apply(sampler._chain, ctypes.byref(array))
    return {each.id: each.logit for each in data if each.logit}


def test_it_is_taken_from_the_logits_of_these_tokens_until_the_answer_begins(backend: LlamaBackend) -> None:
    sampler = backend.new_sampler(Sampling(temperature=0, hesitation_penalty=2.5), 0)
    assert added(sampler) == CURBED
    sampler.begin_answer()
    assert added(sampler) == {}
    sampler.close()


def test_a_bias_on_the_same_token_adds_up_and_stays(backend: LlamaBackend) -> None:
    sampler = backend.new_sampler(BIASED, 0)
    assert added(sampler) == CURBED | {17: -1.5, 18: 4.0}
    sampler.begin_answer()
    assert added(sampler) == {17: 1.0, 18: 4.0}
    sampler.close()


def test_without_it_the_answer_begins_with_the_chain_as_it_was(backend: LlamaBackend) -> None:
    sampler = backend.new_sampler(Sampling(temperature=0, logit_bias=((18, 4.0),)), 0)
    sampler.begin_answer()
    assert added(sampler) == {18: 4.0}
    sampler.close()


def test_a_guess_is_drawn_with_it_while_the_answer_has_not_begun(backend: LlamaBackend) -> None:
    sampler = backend.new_sampler(BIASED, 0)
    early = backend.sampler_like(sampler)
    sampler.begin_answer()
    late = backend.sampler_like(sampler)
    assert added(early) == CURBED | {17: -1.5, 18: 4.0}
    assert added(late) == added(sampler) == {17: 1.0, 18: 4.0}
    for each in (sampler, early, late):
        each.close()


def test_a_drawn_token_is_another_one_where_the_likeliest_hesitates(backend: LlamaBackend) -> None:
    free = backend.new_sampler(Sampling(temperature=0), 0)
    likeliest = free.sample(39).token
    backend.vocabulary.hesitation_tokens = (likeliest,)
    sampler = backend.new_sampler(Sampling(temperature=0, hesitation_penalty=100), 0)
    assert sampler.sample(39).token != likeliest
    sampler.begin_answer()
    assert sampler.sample(39).token == likeliest
    for each in (free, sampler):
        each.close()


def test_a_vocabulary_without_such_tokens_refuses_it_with_the_value(backend: LlamaBackend) -> None:
    backend.vocabulary.hesitation_tokens = ()
    with pytest.raises(SettingsError, match=r"hesitation_penalty is 1\.5, but this model has no token") as caught:
        backend.new_sampler(Sampling(hesitation_penalty=1.5), 0)
    assert caught.value.hint
    backend.new_sampler(Sampling(), 0).close()
