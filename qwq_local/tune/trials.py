"""A model timed under one tuning after the other: contexts are made as they are asked for, and weights loaded again where they must be."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qwq_local.backend import BatchToken
from qwq_local.llama import ContextShape, InterruptSwitch, LlamaContext, LlamaModel
from qwq_local.quants import CACHE_TYPES
from qwq_local.settings import KvType
from qwq_local.tune.search import ASPECTS, Aspect
from qwq_local.tuning import UNTUNED, Tuning

N_TOGETHER: Final = 4
"""Answers written at once: as many as a server's usual slots, a race or a draft would make of one."""
MEASURED_CACHES: Final[tuple[KvType, ...]] = ("f16", "q8_0", "q4_0")
CACHE_ROUNDS: Final = 3
MOST_CONTEXTS: Final = 2
"""Those that are compared."""
LEAST_DECODE, MOST_DECODE = 4, 64
LEAST_PREFILL, MOST_PREFILL = 64, 2048
WRITING_SHARE, READING_SHARE = 1 / 300, 1 / 100
"""Of all the seconds, those that one trial may write, in each of two ways, and read: then some 30 pairs fit into them, of all three."""


@dataclass(frozen=True)
class Sizes:
    """Tokens of a trial: so many are read, and behind them so many written, one by one or `N_TOGETHER` at a time."""

    n_prefill: int = LEAST_PREFILL
    n_decode: int = LEAST_DECODE

    @property
    def n_cells(self) -> int:
        """What the context must hold."""
        return self.n_prefill + N_TOGETHER * self.n_decode


class Trials:
    """Implements `search.SpeedMeter`; all of it is to be used by one thread, so that OpenMP keeps one set of threads.

    `load` gives the weights as a tuning wants them, and `shape` is that of contexts but for what `Sizes` say. Raises LoadError and
    DecodeError.
    """

    def __init__(self, load: Callable[[Tuning], LlamaModel], shape: ContextShape, switch: InterruptSwitch, n_vocab: int) -> None:
        self._load, self._shape, self._switch = load, shape, switch
        rng = random.Random(0)  # noqa: S311 - any tokens will do
        self._tokens = [rng.randrange(n_vocab) for _ in range(Sizes(MOST_PREFILL, MOST_DECODE).n_cells)]
        self._model: LlamaModel | None = None
        self._loaded = UNTUNED
        self._contexts: dict[tuple[Tuning, KvType], LlamaContext] = {}
        self._usual: dict[Aspect, list[float]] = {aspect: [] for aspect in ASPECTS}
        self._seconds: dict[Aspect, float] = dict.fromkeys(ASPECTS, 0.0)
        self._load_seconds = self._context_seconds = 0.0
        self.sizes = Sizes()

    def fit_into(self, seconds: float) -> None:
        """Choose the sizes by the model's speed, so that the search gets to much in so much time."""
        self.sizes = Sizes()
        rates = {aspect: self.measure(UNTUNED, aspect) for aspect in ASPECTS}
        n_prefill = int(seconds * READING_SHARE * rates["prefill"]) // LEAST_PREFILL * LEAST_PREFILL
        n_decode = int(seconds * WRITING_SHARE * min(rates["decode"], rates["together"] / N_TOGETHER))
        self.sizes = Sizes(min(max(n_prefill, LEAST_PREFILL), MOST_PREFILL), min(max(n_decode, LEAST_DECODE), MOST_DECODE))
        self._drop_contexts()
        for aspect in ASPECTS:
            self._usual[aspect].clear()
            self.measure(UNTUNED, aspect)

    @property
    def usual_rates(self) -> dict[Aspect, float]:
        """Tokens a second untuned: the median of all trials."""
        return {aspect: statistics.median(rates) for aspect, rates in self._usual.items()}

    def cache_types(self, tuning: Tuning, head_size: int, end: float) -> dict[KvType, dict[Aspect, float]]:
        """Tokens a second with each cache that heads of this size can have, by the median of some; `end` is a `time.monotonic`."""
        found: dict[KvType, dict[Aspect, float]] = {}
        for kv_type in MEASURED_CACHES:
            if head_size % CACHE_TYPES[kv_type].block_size:
                continue
            if time.monotonic() + CACHE_ROUNDS * sum(self._seconds.values()) + self._context_seconds > end:
                break
            rounds = [{aspect: self.measure(tuning, aspect, kv_type) for aspect in ASPECTS} for _ in range(CACHE_ROUNDS)]
            found[kv_type] = {aspect: statistics.median(each[aspect] for each in rounds) for aspect in ASPECTS}
        return found

    def measure(self, tuning: Tuning, aspect: Aspect, kv_type: KvType | None = None) -> float:
        """Tokens a second under a tuning, with another cache than the usual one where `kv_type` is given."""
        context = self._context(tuning, kv_type or self._shape.kv_type)
        n_prefill, n_decode = self.sizes.n_prefill, self.sizes.n_decode
        started_at = time.perf_counter()
        if aspect == "prefill":
            self._read(context, tuning.n_batch)
            n_tokens = n_prefill
        else:
            n_together = N_TOGETHER if aspect == "together" else 1
            self._write(context, n_together)
            n_tokens = n_decode * n_together
        seconds = time.perf_counter() - started_at
        if tuning == UNTUNED and kv_type is None:
            self._seconds[aspect] = seconds
            self._usual[aspect].append(n_tokens / seconds)
        for sequence in range(N_TOGETHER):
            context.truncate(sequence, 0 if sequence else n_prefill)
        return n_tokens / seconds

    def pair_seconds(self, before: Tuning, after: Tuning, aspects: Sequence[Aspect]) -> float:
        """As long as trials took under the defaults, with a load for each of the two where they cannot share the weights."""
        seconds = 2 * sum(self._seconds[aspect] for aspect in aspects)
        if before.as_loaded != after.as_loaded:
            return seconds + 1.5 * (self._load_seconds + self._context_seconds)
        missing = sum((tuning, self._shape.kv_type) not in self._contexts for tuning in (before, after))
        return seconds + missing * self._context_seconds + (self._load_seconds if before.as_loaded != self._loaded else 0)

    def close(self) -> None:
        """Free everything."""
        self._drop_contexts()
        if self._model:
            self._model.close()
            self._model = None

    def _drop_contexts(self) -> None:
        while self._contexts:
            self._contexts.popitem()[1].close()

    def _context(self, tuning: Tuning, kv_type: KvType) -> LlamaContext:
        key = (tuning, kv_type)
        if key not in self._contexts:
            model = self._weights(tuning)
            while len(self._contexts) >= MOST_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts))).close()
            started_at = time.perf_counter()
            self._contexts[key] = self._open(model, tuning, kv_type)
            self._context_seconds = time.perf_counter() - started_at
        self._contexts[key] = self._contexts.pop(key)  # the last one used
        return self._contexts[key]

    def _weights(self, tuning: Tuning) -> LlamaModel:
        """The model as this tuning loads it; never are two of them in memory."""
        if self._model is None or self._loaded != tuning.as_loaded:
            self.close()
            started_at = time.perf_counter()
            self._model, self._loaded = self._load(tuning), tuning.as_loaded
            self._load_seconds = time.perf_counter() - started_at
        return self._model

    def _open(self, model: LlamaModel, tuning: Tuning, kv_type: KvType) -> LlamaContext:
        """A context that has read its prompt once: memory is touched, kernels are chosen, clocks rise."""
        shape = replace(self._shape, kv_type=kv_type, tuning=tuning, n_batch=tuning.n_batch, n_ctx=self.sizes.n_cells)
        shape = replace(shape, n_cells=shape.n_ctx, n_sequences=N_TOGETHER, n_outputs=N_TOGETHER)
        context = LlamaContext(model, shape, "native", self._switch)
        self._read(context, tuning.n_batch)
        return context

    def _read(self, context: LlamaContext, n_batch: int) -> None:
        context.truncate(0, 0)
        n_prefill = self.sizes.n_prefill
        for start in range(0, n_prefill, n_batch):
            places = range(start, min(start + n_batch, n_prefill))
            self._decode(context, [(place, 0) for place in places], n_wanted=1)

    def _write(self, context: LlamaContext, n_together: int) -> None:
        for sequence in range(1, n_together):
            context.copy(0, sequence, self.sizes.n_prefill)
        for place in range(self.sizes.n_prefill, self.sizes.n_prefill + self.sizes.n_decode):
            self._decode(context, [(place, sequence) for sequence in range(n_together)], n_wanted=n_together)

    def _decode(self, context: LlamaContext, entries: Sequence[tuple[int, int]], n_wanted: int) -> None:
        """Read any tokens at these positions of these sequences; the last ones' logits are wanted."""
        first_wanted = len(entries) - n_wanted
        batch = [
            BatchToken(self._tokens[place + sequence], place, sequence, wants_logits=i >= first_wanted)
            for i, (place, sequence) in enumerate(entries)
        ]
        context.decode(batch)
        context.wait()
