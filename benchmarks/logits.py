"""The logits after every token of a text, as they come through our boundary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qwq_local.backend import BatchToken
from qwq_local.llama import LlamaBackend


def logits_of(backend: LlamaBackend, tokens: Sequence[int]) -> NDArray[np.float32]:
    """One row for each of `tokens`, (tokens, vocabulary), read from the beginning, a batch at a time."""
    backend.truncate(0, 0)
    rows = []
    for start in range(0, len(tokens), backend.n_batch):
        piece = tokens[start : start + backend.n_batch]
        backend.decode([BatchToken(token, start + i, 0, wants_logits=True) for i, token in enumerate(piece)])
        rows += [backend.logits(i) for i in range(len(piece))]
    return np.array(rows, dtype=np.float32)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logarithm of the probability of each next token, in nats, by rows."""
    rows = logits.astype(np.float64)
    rows -= rows.max(1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    return rows
