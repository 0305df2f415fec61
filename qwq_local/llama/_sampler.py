"""One request's sampler chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qwq_local.backend import Draw
from qwq_local.llama._library import library
from qwq_local.settings import Sampling


class LlamaSampler:
    """Implements `qwq_local.backend.Sampler`: presence penalty, top_k, top_p, min_p, temperature, in QwQ's order.

    `context` gives the llama_context of the last batch, which a switch of the scaling replaces; `history_tokens` is how far the penalty
    looks back; `n_vocab` counts tokens.
    """

    def __init__(self, context: Callable[[], Any], sampling: Sampling, seed: int, *, n_vocab: int, history_tokens: int) -> None:
        lib = library()
        self._context = context
        self._chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for link in _links(lib, sampling, seed, n_vocab, history_tokens):
            lib.llama_sampler_chain_add(self._chain, link)

    def sample(self, batch_index: int) -> Draw:
        """Draw the next token; the chain remembers it (llama_sampler_sample accepts what it draws, src/llama-sampler.cpp)."""
        return Draw(int(library().llama_sampler_sample(self._chain, self._context(), batch_index)))

    def accept(self, token: int) -> None:
        """Let the penalties know of a token that was put there."""
        library().llama_sampler_accept(self._chain, token)

    def constrain(self) -> None:
        """Nothing changes: there is no constraint."""

    def close(self) -> None:
        """Free the chain and its links."""
        if self._chain:
            library().llama_sampler_free(self._chain)
            self._chain = None


def _links(lib: Any, sampling: Sampling, seed: int, n_vocab: int, history_tokens: int) -> list[Any]:  # noqa: ANN401
    links = []
    if sampling.presence_penalty:
        links.append(lib.llama_sampler_init_penalties(n_vocab, history_tokens, 1.0, 0.0, sampling.presence_penalty))
    if sampling.temperature == 0:
        return [*links, lib.llama_sampler_init_greedy()]
    if sampling.top_k:
        links.append(lib.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1:
        links.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p:
        links.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
    return [*links, lib.llama_sampler_init_temp(sampling.temperature), lib.llama_sampler_init_dist(seed)]
