"""What may be changed about how llama.cpp computes without changing what it computes: threads, micro-batches, kernels, layouts of weights.

The defaults are what a model runs with that was never tuned. Floats may be added in another order, so that logits differ by what rounding
makes of it, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from qwq_local.errors import SettingsError
from qwq_local.settings import KvType

Layout = Literal["auto", "plain", "repacked"]
"""How weights for the CPU are laid out: as llama.cpp chooses, as they stand in the file, or with rows interleaved."""

MOST_THREADS: Final = 512
"""GGML_MAX_N_THREADS (ggml/include/ggml.h)."""
LEAST_UBATCH: Final = 32
MOST_UBATCH: Final = 4096


def _check(name: str, count: object, least: int, most: int) -> None:
    if type(count) is not int or not least <= count <= most:
        raise SettingsError(f"{name} is {count!r}, but must lie between {least:,} and {most:,}.", hint="Tune again: qwq tune")


@dataclass(frozen=True)
class Tuning:
    """How a model is computed.

    `n_threads` compute single tokens and `n_threads_batch` all larger batches; None: one for each usable core. At most `n_ubatch` tokens
    are computed at once. `flash_attention` concerns a cache of f16: f32 never has it, and quantized ones always. `is_mapped`: weights that
    keep the file's layout are read from the file's pages, not from a copy. `offloads_batches`: a GPU computes large batches with weights
    that stand in RAM. Raises SettingsError for what cannot be.
    """

    n_threads: int | None = None
    n_threads_batch: int | None = None
    n_ubatch: int = 512
    flash_attention: bool = True
    layout: Layout = "auto"
    is_mapped: bool = True
    offloads_batches: bool = True

    def __post_init__(self) -> None:
        for name, value in (("n_threads", self.n_threads), ("n_threads_batch", self.n_threads_batch)):
            if value is not None:
                _check(name, value, 1, MOST_THREADS)
        _check("n_ubatch", self.n_ubatch, LEAST_UBATCH, MOST_UBATCH)
        if self.layout not in get_args(Layout):
            raise SettingsError(f"layout is {self.layout!r}, which is unknown.", hint=f"Choose one of {', '.join(get_args(Layout))}.")
        for name in ("flash_attention", "is_mapped", "offloads_batches"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} is {getattr(self, name)!r}, but must be true or false.", hint="Tune again: qwq tune")

    @property
    def n_batch(self) -> int:
        """Tokens of a batch that is handed over at once."""
        return max(self.n_ubatch, Tuning.n_ubatch)

    @property
    def as_loaded(self) -> Tuning:
        """What of it concerns the weights: two tunings that are alike in this can share them."""
        return Tuning(layout=self.layout, is_mapped=self.is_mapped)

    @property
    def without_memory(self) -> Tuning:
        """The same, but for what takes more memory than the defaults."""
        return replace(self, n_ubatch=min(self.n_ubatch, Tuning.n_ubatch), flash_attention=True, offloads_batches=True)

    def uses_flash_attention(self, kv_type: KvType) -> bool:
        """Whether attention to a cache of this type is computed in one go.

        It rounds keys and values to f16 whatever they are stored as (ggml/src/ggml-cpu/ops.cpp), so f32 goes without it; quantized values
        cannot be read otherwise (`llama_init_from_model` in src/llama-context.cpp).
        """
        return kv_type != "f32" and (self.flash_attention or kv_type != "f16")

    def changed(self, name: str, value: Any) -> Tuning:  # noqa: ANN401 - any field's
        """The same with another value of one field. Raises SettingsError."""
        return replace(self, **{name: value})

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the defaults."""
        return {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default}


UNTUNED: Final = Tuning()
"""What a model runs with that was never tuned."""

NAMES: Final = {
    "n_threads": "threads",
    "n_threads_batch": "threads for batches",
    "n_ubatch": "micro-batch",
    "flash_attention": "flash attention",
    "layout": "weights",
    "is_mapped": "file mapped",
    "offloads_batches": "GPU takes batches",
}
"""What each is called where people read it."""


def shown(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "all cores" if value is None else str(value)


def told(tuning: Tuning) -> str:
    """What is changed, in words: "threads 1, micro-batch 256"."""
    return ", ".join(f"{NAMES[name]} {shown(value)}" for name, value in tuning.changes.items())


def tuning_of(said: object) -> Tuning:
    """What was kept of one (`Tuning.changes`). Raises SettingsError for what is none."""
    if not isinstance(said, dict) or not said.keys() <= Tuning.__dataclass_fields__.keys():
        raise SettingsError(f"{said!r} is no tuning.", hint="Tune again: qwq tune")
    return Tuning(**said)
