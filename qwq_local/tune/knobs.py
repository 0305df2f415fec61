"""What is worth changing on a machine (pure): which fields of `Tuning`, and to which values.

Left out is what was tried and made no difference, or never a better one, and what the plan does not reckon with. `python -m
benchmarks.tuning` measures the first two.

- Huge pages make no difference: with weights copied into them a model writes 0.95 times as fast as with the mapped file, and 0.96 times
  with a copy in usual pages. Copies are tried all the same, since elsewhere the file's pages may be the slower ones.
- Threads bound to cores, and how often they spin while they wait: that is settled for all models when the library is loaded
  (`llama/_library.py`). ggml's own polling does nothing where OpenMP runs the threads, as in the usual builds.
- Locked memory (mlock) keeps a model from being swapped out, which the plan's reserve does as well.
- A KV cache in RAM beside layers on a GPU takes other memory than the plan says.
- Number formats of the KV cache change what is computed: they are measured and told, and the user's to choose (--kv-type).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from qwq_local.settings import KvType
from qwq_local.tune.search import Knob, Tried
from qwq_local.tuning import UNTUNED, Layout

LEAST_DEPTH: Final = 1024
"""Tokens behind which attention must be timed: what it costs grows with them, and QwQ thinks for thousands."""
UBATCHES_ON_CPU: Final = (256, 128, 1024)
UBATCHES_ON_GPU: Final = (1024, 2048, 256)


@dataclass(frozen=True)
class Surroundings:
    """What there is to tune: a model whose layers are on the CPU, on GPUs or on `both`, with a cache of `kv_type`.

    `n_cores` threads compute by default, `n_cpus` are the most this process may run at once; a trial reads `n_prefill` tokens. `layouts`
    are those that differ from llama.cpp's own choice, and `can_copy` says whether weights that are mapped could be copied.
    """

    kind: str
    kv_type: KvType
    n_cores: int
    n_cpus: int
    n_prefill: int
    layouts: tuple[Layout, ...] = ()
    can_copy: bool = True


def knobs_for(here: Surroundings) -> tuple[Knob, ...]:
    """Those that may make a difference, the cheapest to try first: a change of the last two loads the weights again."""
    on_cpu, on_gpu = here.kind in {"cpu", "both"}, here.kind in {"gpu", "both"}
    knobs = [
        Knob("n_threads", _thread_counts(here) if on_cpu else (), ("decode",)),
        Knob("n_threads_batch", _thread_counts(here) if on_cpu else (), ("together", "prefill")),
        Knob("flash_attention", (False,) if here.kv_type == "f16" and here.n_prefill >= LEAST_DEPTH else ()),
        Knob("n_ubatch", tuple(n for n in (UBATCHES_ON_GPU if on_gpu else UBATCHES_ON_CPU) if n <= here.n_prefill), ("prefill",)),
        Knob("offloads_batches", (False,) if here.kind == "both" else (), ("prefill",)),
        Knob("layout", here.layouts if here.kind == "cpu" else ()),
        Knob("is_mapped", (False,) if on_cpu and here.can_copy else ()),
    ]
    return tuple(knob for knob in knobs if knob.values)


def passed_over(here: Surroundings) -> tuple[Tried, ...]:
    """What cannot be tried here, and why."""
    told: list[tuple[str, Any, str]] = []
    if here.kind == "gpu":
        told.append(("n_threads", None, "every layer is on a GPU"))
    elif not _thread_counts(here):
        told.append(("n_threads", None, "there is one core"))
    if here.kv_type != "f16":
        told.append(("flash_attention", False, f"a cache of {here.kv_type} leaves no choice"))
    elif here.n_prefill < LEAST_DEPTH:
        told.append(("flash_attention", False, f"{here.n_prefill} tokens, for which there is time, say little of thousands"))
    if here.n_prefill < UNTUNED.n_ubatch:
        told.append(("n_ubatch", None, f"a prompt of {here.n_prefill} tokens is all there is time for"))
    if not here.layouts and here.kind == "cpu":
        told.append(("layout", None, "llama.cpp has no other for these weights on this processor"))
    elif here.kind != "cpu":
        told.append(("layout", None, "the plan reckons with it for the CPU alone"))
    return tuple(Tried(setting, value, "refused", why=why) for setting, value, why in told)


def _thread_counts(here: Surroundings) -> tuple[int, ...]:
    """One core left to others, three quarters and half of the cores, and one thread for each that the system offers."""
    cores = here.n_cores
    counts = dict.fromkeys((cores - 1, here.n_cpus, cores * 3 // 4, cores // 2))
    return tuple(count for count in counts if 1 <= count != cores)
