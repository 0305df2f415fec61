"""One request's sampler: its chain, its constraint, and the probabilities of what it draws."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwq_local.backend import Draw
from qwq_local.errors import DecodeError, SettingsError
from qwq_local.llama._chain import end_hesitation, new_chain
from qwq_local.llama._constraint import AnswerMatcher
from qwq_local.llama._library import library
from qwq_local.llama._vocabulary import LlamaVocabulary
from qwq_local.settings import Sampling

TOKEN_DATA: Final = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`llama_token_data` (include/llama.h)."""

Logits = NDArray[np.float32]


class LlamaSampler:
    """Implements `qwq_local.backend.Sampler`.

    `context` gives the llama_context of the last batch, which a switch of the scaling replaces; `n_ctx` is how many tokens penalties look
    back that have no limit. Raises SettingsError where `sampling` biases a token that the vocabulary does not have, or curbs hesitation and
    the vocabulary has no token for it.
    """

    def __init__(
        self,
        context: Callable[[], Any],
        vocabulary: LlamaVocabulary,
        sampling: Sampling,
        seed: int,
        n_ctx: int,
        matcher: AnswerMatcher | None = None,
    ) -> None:
        self._context = context
        self._n_vocab = vocabulary.n_tokens
        self._n_logprobs = sampling.n_logprobs
        self._matcher = matcher
        self._is_constrained = False
        self._curbs_hesitation = sampling.hesitation_penalty > 0
        _refuse_unknown(sampling.logit_bias, self._n_vocab)
        self._chain: Any = new_chain(sampling, seed, vocabulary, n_ctx)

    def cloned_for(self, context: Callable[[], Any]) -> Guesser:
        """A copy of the chain as it stands, which draws from another context."""
        return Guesser(context, library().llama_sampler_clone(self._chain))

    def sample(self, batch_index: int) -> Draw:
        """Draw the next token, and remember it. Raises DecodeError where the constraint lets nothing come next."""
        if self._matcher and self._is_constrained:
            token = self._draw_among(self._matcher.allowed(), self._logits(batch_index))
        else:
            # It accepts what it draws (llama_sampler_sample, src/llama-sampler.cpp).
            token = int(library().llama_sampler_sample(self._chain, self._context(), batch_index))
        return Draw(token) if self._n_logprobs is None else with_logprobs(token, self._logits(batch_index), self._n_logprobs)

    def accept(self, token: int) -> None:
        """Remember a token that was put there. Raises DecodeError where the constraint, once it holds, does not allow it."""
        library().llama_sampler_accept(self._chain, token)
        if self._matcher and self._is_constrained:
            self._matcher.take(token)

    def begin_answer(self) -> None:
        """From here on the constraint holds, if there is one, and hesitation is no longer curbed."""
        self._is_constrained = self._matcher is not None
        if self._curbs_hesitation:
            self._curbs_hesitation = False
            end_hesitation(self._chain)

    def close(self) -> None:
        """Free the chain and its links."""
        if self._chain:
            library().llama_sampler_free(self._chain)
            self._chain = None

    def _logits(self, batch_index: int) -> Logits:
        """The model's own logits, not to be written to: they are llama.cpp's memory, valid until the next decode."""
        row = library().llama_get_logits_ith(self._context(), batch_index)
        return np.ctypeslib.as_array(row, (self._n_vocab,))

    @cached_property
    def _candidates(self) -> NDArray[np.void]:
        return np.zeros(self._n_vocab, TOKEN_DATA)

    def _draw_among(self, allowed: NDArray[np.integer[Any]], logits: Logits) -> int:
        """Hand the chain only what may come next: samplers that met -inf instead would reckon with NaN (typical, mirostat)."""
        lib = library()
        token = int(allowed[0])
        if len(allowed) > 1:
            self._candidates["id"][: len(allowed)] = allowed
            self._candidates["logit"][: len(allowed)] = logits[allowed]
            first = self._candidates.ctypes.data_as(lib.llama_token_data_p)
            array = lib.llama_token_data_array(first, len(allowed), -1, False)
            lib.llama_sampler_apply(self._chain, ctypes.byref(array))
            if array.selected < 0:
                raise DecodeError(f"llama.cpp's samplers chose none of {len(allowed):,} tokens.")
            token = int(array.data[array.selected].id)
        self.accept(token)
        return token


class Guesser:
    """Implements `qwq_local.backend.Sampler` for guesses: it owns a chain, follows no constraint, and tells no probabilities."""

    def __init__(self, context: Callable[[], Any], chain: Any) -> None:  # noqa: ANN401 - an opaque pointer
        self._context = context
        self._chain = chain

    def sample(self, batch_index: int) -> Draw:
        """Draw the next token, and remember it."""
        return Draw(int(library().llama_sampler_sample(self._chain, self._context(), batch_index)))

    def accept(self, token: int) -> None:
        """Remember a token that was put there."""
        library().llama_sampler_accept(self._chain, token)

    def begin_answer(self) -> None:
        """Nothing changes: there is no constraint."""

    def close(self) -> None:
        """Free the chain and its links."""
        if self._chain:
            library().llama_sampler_free(self._chain)
            self._chain = None


def with_logprobs(token: int, logits: Logits, n_top: int) -> Draw:
    """A draw with the natural logarithms of its probability and of the `n_top` likeliest tokens', before any sampler."""
    peak = logits.max()
    log_sum = float(peak) + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    top = np.argpartition(logits, -n_top)[-n_top:] if n_top else np.empty(0, np.intp)
    ranked = sorted(top.tolist(), key=lambda candidate: (-logits[candidate], candidate))
    return Draw(token, float(logits[token]) - log_sum, tuple((candidate, float(logits[candidate]) - log_sum) for candidate in ranked))


def _refuse_unknown(bias: Iterable[tuple[int, float]], n_vocab: int) -> None:
    for token, _ in bias:
        if not 0 <= token < n_vocab:
            raise SettingsError(f"logit_bias has the token {token}.", hint=f"This model's tokens are 0 to {n_vocab - 1}.")
