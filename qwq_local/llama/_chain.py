"""The samplers of a request, in QwQ's order (include/llama.h has what each does)."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Final

from qwq_local.errors import SettingsError
from qwq_local.llama._library import library
from qwq_local.llama._vocabulary import LlamaVocabulary
from qwq_local.settings import Sampling

MIN_KEEP: Final = 1
"""Tokens that a truncating sampler leaves at least."""
MIROSTAT_M: Final = 100
"""Tokens that mirostat 1 estimates from; the paper's value (arXiv 2007.14966)."""


def new_chain(sampling: Sampling, seed: int, vocabulary: LlamaVocabulary, n_ctx: int) -> Any:  # noqa: ANN401 - an opaque pointer
    """A llama_sampler that is a chain of the samplers that do anything; to be freed by llama_sampler_free.

    Penalties that are to look back without limit look back `n_ctx` tokens. Raises SettingsError where hesitation is penalised and the
    vocabulary has no token for it.
    """
    lib = library()
    biases = [_hesitation(sampling, vocabulary), dict(sampling.logit_bias)]  # of several for one token, the last counts
    before = [_bias(lib, by_token, vocabulary) for by_token in biases if by_token] + _penalties(lib, sampling, vocabulary, n_ctx)
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for link in [*before, *_choice(lib, sampling, seed, vocabulary.n_tokens)]:
        lib.llama_sampler_chain_add(chain, link)
    return chain


def end_hesitation(chain: Any) -> None:  # noqa: ANN401 - as above
    """Take the penalty on hesitation, which comes first, out of a chain that was made with one."""
    lib = library()
    lib.llama_sampler_free(lib.llama_sampler_chain_remove(chain, 0))


def _hesitation(sampling: Sampling, vocabulary: LlamaVocabulary) -> dict[int, float]:
    if not sampling.hesitation_penalty:
        return {}
    if not vocabulary.hesitation_tokens:
        raise SettingsError(
            f"hesitation_penalty is {sampling.hesitation_penalty:g}, but this model has no token for any word of hesitation.",
            hint="Leave it out for this model.",
        )
    return dict.fromkeys(vocabulary.hesitation_tokens, -sampling.hesitation_penalty)


def _bias(lib: Any, by_token: Mapping[int, float], vocabulary: LlamaVocabulary) -> Any:  # noqa: ANN401 - as above
    biases = (lib.llama_logit_bias * len(by_token))(*by_token.items())
    return lib.llama_sampler_init_logit_bias(vocabulary.n_tokens, len(biases), biases)


def _penalties(lib: Any, sampling: Sampling, vocabulary: LlamaVocabulary, n_ctx: int) -> list[Any]:  # noqa: ANN401 - as above
    links = []
    if sampling.presence_penalty or sampling.frequency_penalty or sampling.repeat_penalty != 1:
        links.append(
            lib.llama_sampler_init_penalties(
                vocabulary.n_tokens,
                _last_n(sampling.penalty_last_n, n_ctx),
                sampling.repeat_penalty,
                sampling.frequency_penalty,
                sampling.presence_penalty,
            )
        )
    if sampling.dry_multiplier:
        texts = [text.encode("utf-8", "surrogatepass") for text in sampling.dry_sequence_breakers]
        links.append(
            lib.llama_sampler_init_dry(
                vocabulary.handle,
                sampling.dry_multiplier,
                sampling.dry_base,
                sampling.dry_allowed_length,
                _last_n(sampling.dry_penalty_last_n, n_ctx),
                (ctypes.c_char_p * len(texts))(*texts),
                len(texts),
            )
        )
    return links


def _last_n(wished: int, n_ctx: int) -> int:
    """How far to look back: llama.cpp takes memory for all of it at once, and there is never more than the context."""
    return n_ctx if wished < 0 else min(wished, n_ctx)


def _choice(lib: Any, sampling: Sampling, seed: int, n_vocab: int) -> list[Any]:  # noqa: ANN401 - as above
    if sampling.temperature == 0:
        return [lib.llama_sampler_init_greedy()]
    temperature = (
        lib.llama_sampler_init_temp_ext(sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent)
        if sampling.dynatemp_range
        else lib.llama_sampler_init_temp(sampling.temperature)
    )
    if sampling.mirostat == 1:
        return [temperature, lib.llama_sampler_init_mirostat(n_vocab, seed, sampling.mirostat_tau, sampling.mirostat_eta, MIROSTAT_M)]
    if sampling.mirostat == 2:
        return [temperature, lib.llama_sampler_init_mirostat_v2(seed, sampling.mirostat_tau, sampling.mirostat_eta)]
    return [*_truncations(lib, sampling, seed), temperature, lib.llama_sampler_init_dist(seed)]


def _truncations(lib: Any, sampling: Sampling, seed: int) -> list[Any]:  # noqa: ANN401 - as above
    links = []
    if sampling.top_n_sigma:
        links.append(lib.llama_sampler_init_top_n_sigma(sampling.top_n_sigma))
    if sampling.top_k:
        links.append(lib.llama_sampler_init_top_k(sampling.top_k))
    if sampling.typical_p < 1:
        links.append(lib.llama_sampler_init_typical(sampling.typical_p, MIN_KEEP))
    if sampling.top_p < 1:
        links.append(lib.llama_sampler_init_top_p(sampling.top_p, MIN_KEEP))
    if sampling.min_p:
        links.append(lib.llama_sampler_init_min_p(sampling.min_p, MIN_KEEP))
    if sampling.xtc_probability:
        links.append(lib.llama_sampler_init_xtc(sampling.xtc_probability, sampling.xtc_threshold, MIN_KEEP, seed))
    return links
