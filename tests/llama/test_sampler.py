"""A request's sampler: which of llama.cpp's samplers it chains, in which order, and what it tells of probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from qwq_local.backend import Draw
from qwq_local.errors import SettingsError
from qwq_local.llama import LlamaBackend
from qwq_local.llama._library import library
from qwq_local.settings import SAMPLING_RANGES, Sampling
from tests.backends import RECORDED, open_backend, read

PROMPT: list[int] = RECORDED[0]["prompt"]
OPEN: dict[str, Any] = {"temperature": 1, "top_k": 0, "top_p": 1}
"""What lets every token through with the probability that the model gives it."""


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = open_backend("demo", n_ctx=512)
    read(backend, PROMPT[:40])  # in the middle of a sentence, where the model is not sure of anything
    yield backend
    backend.close()


def draws(backend: LlamaBackend, n: int, seed: int = 0, **sampling: Any) -> list[Draw]:
    """Draw again and again at one place: the sampler remembers what it drew, the model does not."""
    sampler = backend.new_sampler(Sampling(**sampling), seed)
    drawn = [sampler.sample(39) for _ in range(n)]
    sampler.close()
    return drawn


def drawn_tokens(backend: LlamaBackend, n: int, **sampling: Any) -> list[int]:
    return [draw.token for draw in draws(backend, n, **sampling)]


def links(backend: LlamaBackend, **sampling: Any) -> list[str]:
    lib = library()
    sampler = backend.new_sampler(Sampling(**sampling), 1)
    chain = sampler._chain
    names = [lib.llama_sampler_name(lib.llama_sampler_chain_get(chain, i)).decode() for i in range(lib.llama_sampler_chain_n(chain))]
    sampler.close()
    return names


ALL = {
    "repeat_penalty": 1.1,
    "dry_multiplier": 0.8,
    "top_n_sigma": 1,
    "top_k": 40,
    "typical_p": 0.9,
    "top_p": 0.9,
    "min_p": 0.05,
    "xtc_probability": 0.5,
    "dynatemp_range": 0.2,
}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, "top-k top-p temp dist"),
        ({"top_k": 0, "top_p": 1}, "temp dist"),
        ({"logit_bias": ((17, 1.0),)}, "logit-bias top-k top-p temp dist"),
        ({"hesitation_penalty": 2}, "logit-bias top-k top-p temp dist"),
        ({"hesitation_penalty": 2, "logit_bias": ((17, 1.0),), "temperature": 0}, "logit-bias logit-bias greedy"),
        ({"presence_penalty": 1}, "penalties top-k top-p temp dist"),
        ({"frequency_penalty": 1}, "penalties top-k top-p temp dist"),
        (ALL, "penalties dry top-n-sigma top-k typical top-p min-p xtc temp-ext dist"),
        (ALL | {"mirostat": 1}, "penalties dry temp-ext mirostat"),
        (ALL | {"mirostat": 2}, "penalties dry temp-ext mirostat-v2"),
        ({"mirostat": 2}, "temp mirostat-v2"),
        (ALL | {"temperature": 0}, "penalties dry greedy"),
        ({"temperature": 0}, "greedy"),
    ],
)
def test_the_samplers_are_chained_in_qwqs_order(backend: LlamaBackend, sampling: dict[str, Any], expected: str) -> None:
    assert links(backend, **sampling) == expected.split()


AROUND: dict[str, dict[str, Any]] = {
    "penalty_last_n": {"temperature": 0, "presence_penalty": 2, "repeat_penalty": 10},
    "xtc_threshold": {"xtc_probability": 1, "xtc_threshold": 0.01},
    "dynatemp_exponent": {"dynatemp_range": 0.9},
    "dry_multiplier": {"temperature": 0, "dry_allowed_length": 1, "dry_sequence_breakers": ()},
    "mirostat_tau": {"mirostat": 2},
    "mirostat_eta": {"mirostat": 2, "mirostat_tau": 0.5},
}
"""What must be set for a number to matter; dry's others and hesitation are told by tests of their own."""
CHANGED = {
    "temperature": 0.1,
    "top_p": 0.3,
    "top_k": 2,
    "min_p": 0.5,
    "presence_penalty": 2,
    "repeat_penalty": 10,
    "frequency_penalty": 2,
    "penalty_last_n": 1,
    "typical_p": 0.1,
    "top_n_sigma": 0.5,
    "xtc_probability": 1,
    "xtc_threshold": 0.4,
    "dynatemp_range": 0.9,
    "dynatemp_exponent": 10,
    "dry_multiplier": 5,
    "mirostat": 2,
    "mirostat_tau": 0.1,
    "mirostat_eta": 1,
}
TOLD_ELSEWHERE = {"seed", "n_logprobs", "hesitation_penalty", "dry_base", "dry_allowed_length", "dry_penalty_last_n"}


@pytest.mark.parametrize("name", sorted(SAMPLING_RANGES.keys() - TOLD_ELSEWHERE))
def test_each_number_changes_what_is_drawn(backend: LlamaBackend, name: str) -> None:
    around = AROUND.get(name, OPEN)
    assert drawn_tokens(backend, 200, **around) != drawn_tokens(backend, 200, **around | {name: CHANGED[name]})


def test_without_truncation_tokens_come_as_often_as_the_model_says(backend: LlamaBackend) -> None:
    n = 20_000
    logits = np.array(backend.logits(39), np.float64)
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    counts = Counter(drawn_tokens(backend, n, **OPEN))
    for token in np.argsort(-probabilities)[:5]:
        p = probabilities[token]
        assert abs(counts[int(token)] / n - p) < 6 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize(
    "narrow", [{"top_n_sigma": 0.5}, {"top_k": 2}, {"typical_p": 0.1, "top_k": 40}, {"top_p": 0.3}, {"min_p": 0.5}, {"temperature": 0.1}]
)
def test_what_truncates_leaves_fewer_tokens(backend: LlamaBackend, narrow: dict[str, Any]) -> None:
    assert len(set(drawn_tokens(backend, 300, **OPEN | narrow))) < len(set(drawn_tokens(backend, 300, **OPEN))) / 2


def test_xtc_drops_the_likeliest_of_those_above_its_threshold(backend: LlamaBackend) -> None:
    likeliest = drawn_tokens(backend, 1, temperature=0)[0]
    assert likeliest in drawn_tokens(backend, 300, **OPEN)
    assert likeliest not in drawn_tokens(backend, 300, **OPEN, xtc_probability=1, xtc_threshold=0.01)


@pytest.mark.parametrize(
    "against",
    [
        {"presence_penalty": 2},
        {"repeat_penalty": 10},
        {"frequency_penalty": 2},
        {"dry_multiplier": 5, "dry_allowed_length": 1, "dry_sequence_breakers": ()},
    ],
)
def test_what_works_against_repetition_changes_a_greedy_answer(backend: LlamaBackend, against: dict[str, Any]) -> None:
    assert len(set(drawn_tokens(backend, 30, temperature=0))) == 1
    assert len(set(drawn_tokens(backend, 30, temperature=0, **against))) > 1


def test_penalties_look_back_no_further_than_they_may(backend: LlamaBackend) -> None:
    far = drawn_tokens(backend, 12, temperature=0, presence_penalty=2, repeat_penalty=10)
    near = drawn_tokens(backend, 12, temperature=0, presence_penalty=2, repeat_penalty=10, penalty_last_n=1)
    assert len(set(far)) == 12
    assert len(set(near)) == 2
    assert len(set(drawn_tokens(backend, 12, temperature=0, presence_penalty=2, repeat_penalty=10, penalty_last_n=0))) == 1


def test_a_token_put_there_is_penalised_like_one_that_was_drawn(backend: LlamaBackend) -> None:
    sampler = backend.new_sampler(Sampling(temperature=0, repeat_penalty=10, presence_penalty=2), 0)
    likeliest = drawn_tokens(backend, 1, temperature=0)[0]
    sampler.accept(likeliest)
    assert sampler.sample(39).token != likeliest
    sampler.close()


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_draws_the_same_by_seed_and_less_surprising_tokens_for_a_small_tau(backend: LlamaBackend, version: int) -> None:
    wide = drawn_tokens(backend, 200, seed=3, **OPEN, mirostat=version, mirostat_tau=8)
    assert wide == drawn_tokens(backend, 200, seed=3, **OPEN, mirostat=version, mirostat_tau=8)
    assert wide != drawn_tokens(backend, 200, seed=4, **OPEN, mirostat=version, mirostat_tau=8)
    assert len(set(drawn_tokens(backend, 200, **OPEN, mirostat=version, mirostat_tau=0.1))) < len(set(wide))


def test_a_bias_forces_and_forbids_tokens_before_everything_else(backend: LlamaBackend) -> None:
    likeliest = drawn_tokens(backend, 1, temperature=0)[0]
    assert set(drawn_tokens(backend, 50, logit_bias=((17, 100.0),))) == {17}
    assert likeliest not in drawn_tokens(backend, 50, logit_bias=((likeliest, -100.0),))
    assert drawn_tokens(backend, 50, logit_bias=((17, 0.0),)) == drawn_tokens(backend, 50)
    assert drawn_tokens(backend, 1, temperature=0) == [likeliest], "the model's own logits were changed"


@pytest.mark.parametrize("token", [-1, 512, 10**6])
def test_a_bias_on_a_token_that_there_is_not_is_refused(backend: LlamaBackend, token: int) -> None:
    with pytest.raises(SettingsError, match=f"logit_bias has the token {token}"):
        backend.new_sampler(Sampling(logit_bias=((token, 1.0),)), 0)


@pytest.mark.parametrize("more", [{}, {"logit_bias": ((17, 5.0),)}, {"temperature": 0}, {"mirostat": 2}])
@pytest.mark.parametrize("n", [0, 1, 20])
def test_logprobs_are_the_models_own_whatever_the_samplers_do(backend: LlamaBackend, n: int, more: dict[str, Any]) -> None:
    logits = np.array(backend.logits(39), np.float64)
    expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    for draw in draws(backend, 5, n_logprobs=n, **more):
        assert draw.logprob == pytest.approx(expected[draw.token], abs=1e-5)
        assert [token for token, _ in draw.top] == np.argsort(-expected, kind="stable")[:n].tolist()
        assert [logprob for _, logprob in draw.top] == pytest.approx(np.sort(expected)[::-1][:n].tolist(), abs=1e-5)


def test_nothing_is_told_of_probabilities_unless_it_is_asked_for(backend: LlamaBackend) -> None:
    drawn = draws(backend, 20)
    assert {(draw.logprob, draw.top) for draw in drawn} == {(None, ())}
    assert [draw.token for draw in draws(backend, 20, n_logprobs=3)] == [draw.token for draw in drawn]
