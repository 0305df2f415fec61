"""llama.cpp as the engine sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwq_local.backend import BatchToken, Constraint, Rope, Sampler
from qwq_local.llama._constraint import ConstraintCompiler
from qwq_local.llama._context import ContextShape, LlamaContext
from qwq_local.llama._interrupt import InterruptSwitch
from qwq_local.llama._model import LlamaModel, LoadListener
from qwq_local.llama._sampler import Guesser, LlamaSampler
from qwq_local.llama._vocabulary import LlamaVocabulary
from qwq_local.settings import Sampling


class LlamaBackend:
    """Implements `qwq_local.backend.Backend`.

    `n_gpu_layers` None offloads all that a GPU can take; `gpu_shares` says how they are divided. Raises LoadError.
    """

    def __init__(
        self,
        path: Path,
        shape: ContextShape,
        rope: Rope,
        n_gpu_layers: int | None = None,
        on_progress: LoadListener | None = None,
        gpu_shares: Sequence[float] = (),
    ) -> None:
        self._model = LlamaModel(path, n_gpu_layers, on_progress, gpu_shares, tuning=shape.tuning)
        try:
            self.vocabulary = LlamaVocabulary(self._model)
            self._constraints = ConstraintCompiler(self.vocabulary)
            self._switch = InterruptSwitch()
            self._context = LlamaContext(self._model, shape, rope, self._switch)
        except BaseException:
            self._model.close()
            raise
        self._shape = shape
        self._draft: LlamaBackend | None = None

    @property
    def n_ctx(self) -> int:
        """Tokens one sequence can hold."""
        return self._shape.n_ctx

    @property
    def n_cells(self) -> int:
        """Tokens that all sequences can hold together."""
        return self._shape.n_cells

    @property
    def n_batch(self) -> int:
        """Tokens one decode can read."""
        return self._shape.n_batch

    @property
    def n_outputs(self) -> int:
        """Tokens of one decode that can want logits."""
        return self._shape.n_outputs or self._shape.n_batch

    @property
    def n_sequences(self) -> int:
        """Sequences that can live at once."""
        return self._shape.n_sequences

    @property
    def draft(self) -> LlamaBackend | None:
        """A smaller model that guesses for this one."""
        return self._draft

    @property
    def rope(self) -> Rope:
        """The position scaling of the live context."""
        return self._context.rope

    @property
    def chat_template(self) -> str | None:
        """The template in the model's file."""
        return self._model.chat_template

    def take_draft(self, draft: LlamaBackend) -> None:
        """Let another guess for this one; from now on it is switched, interrupted and closed with it."""
        self._draft = draft

    def use_rope(self, rope: Rope) -> None:
        """Switch the position scaling; the old context is freed first, so that both never need memory at once."""
        if rope != self.rope:
            self._context.close()
            self._context = LlamaContext(self._model, self._shape, rope, self._switch)
        if self._draft:
            self._draft.use_rope(rope)

    def decode(self, batch: Sequence[BatchToken]) -> None:
        """Read a batch; raises DecodeError or InterruptedDecodeError."""
        self._context.decode(batch)

    def wait(self) -> None:
        """Wait until what was read last is really done: GPUs go on working after `decode`."""
        self._context.wait()

    def logits(self, batch_index: int) -> list[float]:
        """The logits after a token of the last batch that wanted them, one for each token of the vocabulary."""
        return self._context.logits(batch_index, self.vocabulary.n_tokens)

    def wanted_logits(self, n_rows: int) -> NDArray[np.float32]:
        """The logits after all `n_rows` tokens of the last batch that wanted them, (n_rows, vocabulary), until the next decode."""
        return self._context.wanted_logits(n_rows, self.vocabulary.n_tokens)

    def new_sampler(self, sampling: Sampling, seed: int, constraint: Constraint | None = None) -> LlamaSampler:
        """A sampler for one request. Raises ConstraintError, and SettingsError where `sampling` names an unknown token."""
        matcher = self._constraints.compile(constraint) if constraint else None
        return LlamaSampler(lambda: self._context.handle, self.vocabulary, sampling, seed, self.n_ctx, matcher)

    def sampler_like(self, sampler: Sampler) -> Guesser:
        """One that draws here as another would draw from now on. Raises TypeError for a sampler that is not llama.cpp's."""
        if not isinstance(sampler, LlamaSampler):
            raise TypeError(f"{sampler!r} is no sampler of llama.cpp's")
        return sampler.cloned_for(lambda: self._context.handle)

    def truncate(self, sequence: int, n_tokens: int) -> None:
        """Forget all but the first `n_tokens` of a sequence."""
        self._context.truncate(sequence, n_tokens)

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        """Let an empty sequence begin as another does."""
        self._context.copy(source, target, n_tokens)

    def state_bytes(self, sequence: int) -> int:
        """How many bytes `save` would give."""
        return self._context.state_bytes(sequence)

    def save(self, sequence: int) -> bytes:
        """What the cache holds of a sequence."""
        return self._context.save(sequence)

    def restore(self, sequence: int, state: bytes) -> None:
        """Fill an empty sequence with what was saved. Raises DecodeError."""
        self._context.restore(sequence, state)

    def interrupt(self) -> None:
        """End the running decode as soon as possible; callable from any thread."""
        self._switch.turn(on=True)
        if self._draft:
            self._draft.interrupt()

    def rearm(self) -> None:
        """Take back an interrupt."""
        self._switch.turn(on=False)
        if self._draft:
            self._draft.rearm()

    def close(self) -> None:
        """Free the context and the model, and the draft model's."""
        self._context.close()
        self._model.close()
        if self._draft:
            self._draft.close()
