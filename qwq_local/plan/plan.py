"""Which quantization, and how it is loaded (pure).

The rules, the first that some candidate meets decides. "Whole" is every layer on the GPUs; loss is the mean divergence of
quants.quality.

1. Whole, at most IQ4_XS's loss, the context wanted.      The least loss first; the f16 cache before q8_0.
2. Whole, at most IQ4_XS's loss, half the context at least. The longest context first, then the least loss.
3. Whole, at most IQ3_M's loss, the context wanted.       As 1: three bits lose accuracy and lengthen the thinking.
4. Whole, at most IQ3_M's loss, the least context at least. As 2.
5. At least half of the layers on the GPUs, at most IQ3_M's loss, the least context in a q8_0 cache. The smallest file first, then the
   most layers on the GPUs: a layer in RAM costs ten times one on a GPU.
6. Any layers in RAM, Q4_K_M's loss to IQ3_M's, the least context at least. The least loss first, then the longest context: what is read
   from RAM takes minutes whatever it loses, and Q4_K_M is where more bits stop telling.
7. Larger than need be: more than Q4_K_M read from RAM, or more than Q8_0 anywhere. Whole first, then the smallest.
8. Smaller than should be: more than IQ3_M's loss. Whole first, then the least loss.

Where the user says a context, a cache or a number of layers, there is no other. Nothing is chosen that leaves a GPU or the RAM less than
its reserve (`machine`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from qwq_local import card
from qwq_local.machine.machine import Machine
from qwq_local.plan.draft import DraftPlace
from qwq_local.plan.memory import DeviceBytes
from qwq_local.plan.placement import Placement, Placer, Shortage, last_true
from qwq_local.plan.shape import ModelShape
from qwq_local.plan.speed import tokens_per_second
from qwq_local.quants import TensorType
from qwq_local.quants.quality import MEAN_KLD
from qwq_local.settings import N_IDLE, N_PARALLEL, KvType
from qwq_local.tuning import UNTUNED, Tuning

WANTED_CTX: Final = card.ORIGINAL_CONTEXT
LEAST_CTX: Final = 8_192
"""A reasoning model thinks for thousands of tokens before it answers; with less it is often cut short."""
CTX_STEP: Final = 1_024
KV_TYPES: Final[tuple[KvType, ...]] = ("f16", "q8_0")

FOUR_BITS_LOSS: Final = MEAN_KLD["IQ4_XS"]
MOST_LOSS: Final = MEAN_KLD["IQ3_M"]
RAM_LOSS: Final = MEAN_KLD["Q4_K_M"]
LEAST_LOSS: Final = MEAN_KLD["Q8_0"]
UNKNOWN_LOSS: Final = float("inf")

WHOLE, WHOLE_SHORTER, WHOLE_3_BITS, WHOLE_3_BITS_SHORTER, SPILLED, FROM_RAM, TOO_LARGE, TOO_SMALL = range(1, 9)

Maker: TypeAlias = Callable[[int, KvType], Placement]
"""A placement for so many tokens of context in such a cache."""

Rank: TypeAlias = tuple[float, ...]
"""The rule's number, then what decides within it; the least is the best."""


@dataclass(frozen=True)
class Offer:
    """A file that could be run: here already, or to be pulled.

    `tensors` are bytes and `types` the types by GGUF name; `name` is what `-m` takes, `native_ctx` counts tokens without YaRN.
    """

    quant: str
    shape: ModelShape
    tensors: Mapping[str, int]
    types: Mapping[str, TensorType]
    file_bytes: int
    name: str = ""
    is_here: bool = False
    native_ctx: int = card.ORIGINAL_CONTEXT

    @property
    def loss(self) -> float:
        """Mean divergence, infinite where it is unknown."""
        return MEAN_KLD.get(self.quant, UNKNOWN_LOSS)


@dataclass(frozen=True)
class PlanWish:
    """What the user says; None leaves it to the plan. `n_ctx` counts the tokens that `n_sequences` conversations share.

    `tuning` is how a model will be computed.
    """

    n_ctx: int | None = None
    kv_type: KvType | None = None
    n_gpu_layers: int | None = None
    n_sequences: int = N_PARALLEL + N_IDLE
    tuning: Tuning = UNTUNED

    @property
    def kv_types(self) -> tuple[KvType, ...]:
        """The caches that may be taken, the best first."""
        return (self.kv_type,) if self.kv_type else KV_TYPES


@dataclass(frozen=True)
class Candidate:
    """An offer at its best on this machine. Where it does not fit, the figures are those of its smallest form, and `shortage` says why."""

    offer: Offer
    rank: Rank
    placement: Placement
    tokens_per_second: float | None
    shortage: Shortage | None = None

    @property
    def fits(self) -> bool:
        """Whether every device holds its part."""
        return self.shortage is None

    @property
    def rule(self) -> int:
        """The number of the rule that it meets."""
        return int(self.rank[0])

    @property
    def memory(self) -> tuple[DeviceBytes, ...]:
        """The bytes on each device, the host's first."""
        return self.placement.memory


@dataclass(frozen=True)
class Plan:
    """All candidates, those that fit first and the best of them first; each is placed beside the draft model, where there is one."""

    machine: Machine
    wish: PlanWish
    candidates: tuple[Candidate, ...]
    draft: DraftPlace | None = None

    @property
    def left(self) -> Machine:
        """What the candidates have of the machine."""
        return self.draft.left if self.draft else self.machine

    @property
    def chosen(self) -> Candidate | None:
        """The best that fits."""
        return self.candidates[0] if self.candidates and self.candidates[0].fits else None


def make_plan(machine: Machine, offers: Sequence[Offer], wish: PlanWish, draft: DraftPlace | None = None) -> Plan:
    """Rank the offers by the rules, on what a draft model leaves of the machine."""
    left = draft.left if draft else machine
    candidates = [consider(left, offer, wish) for offer in offers]
    return Plan(machine, wish, tuple(sorted(candidates, key=lambda candidate: (not candidate.fits, candidate.rank))), draft)


def consider(machine: Machine, offer: Offer, wish: PlanWish) -> Candidate:
    """One offer at its best on this machine."""
    placer = Placer(offer.shape, offer.tensors, machine, wish.n_sequences, wish.tuning)
    placement, shortage = _first_that_fits(placer, _placements(placer, offer, machine, wish))
    where = rank(offer, placement, contexts(offer, wish)[0])
    correction = machine.corrections.get(placement.kind, 1.0)
    speed = None if shortage else correction * tokens_per_second(placement, offer.tensors, offer.types, machine)
    return Candidate(offer, where, placement, speed, shortage)


def contexts(offer: Offer, wish: PlanWish) -> tuple[int, int]:
    """The context wanted of an offer, and the least that will do; tokens."""
    wanted = wish.n_ctx or min(WANTED_CTX, offer.native_ctx)
    return wanted, wish.n_ctx or min(LEAST_CTX, wanted)


def rank(offer: Offer, placement: Placement, wanted_ctx: int) -> Rank:
    """Where a placement stands by the rules."""
    cache = 0.0 if placement.kv_type == "f16" else 1.0
    is_whole = placement.kind == "gpu"
    by_loss, by_context = (offer.loss, -placement.n_ctx, cache), (-placement.n_ctx, offer.loss, cache)
    if offer.loss > MOST_LOSS:
        return (TOO_SMALL, not is_whole, *by_loss)
    if offer.loss < LEAST_LOSS:
        return (TOO_LARGE, not is_whole, offer.file_bytes, *by_loss)
    if is_whole:
        return _rank_whole(offer, placement, wanted_ctx, by_loss, by_context)
    if 2 * placement.gpu_layers >= placement.all_layers:
        return (SPILLED, offer.file_bytes, placement.n_ctx, -placement.gpu_layers)
    return (FROM_RAM, *by_loss) if offer.loss >= RAM_LOSS else (TOO_LARGE, 1.0, offer.file_bytes, *by_loss)


def _rank_whole(offer: Offer, placement: Placement, wanted_ctx: int, by_loss: Rank, by_context: Rank) -> Rank:
    has_four_bits = offer.loss <= FOUR_BITS_LOSS
    if placement.n_ctx >= wanted_ctx:
        return (WHOLE if has_four_bits else WHOLE_3_BITS, *by_loss)
    is_half = 2 * placement.n_ctx >= wanted_ctx
    return (WHOLE_SHORTER if has_four_bits and is_half else WHOLE_3_BITS_SHORTER, *by_context)


def _placements(placer: Placer, offer: Offer, machine: Machine, wish: PlanWish) -> Iterator[Placement]:
    """Every placement worth a look, the better first; the last is the smallest."""
    wanted, least = contexts(offer, wish)
    kv_types = wish.kv_types
    if wish.n_gpu_layers is not None:
        n_layers = min(wish.n_gpu_layers, placer.all_layers) if machine.gpus else 0
        yield from _shrinking(placer, partial(placer.place, gpu_layers=n_layers), kv_types, (wanted, least))
        return
    smallest = _smallest(placer, placer.most_layers, kv_types, least)
    if smallest is None:
        yield placer.most_layers(least, kv_types[-1])
        return
    whole = partial(placer.place, gpu_layers=placer.all_layers)
    if machine.gpus and _smallest(placer, whole, kv_types, least):
        yield from _shrinking(placer, whole, kv_types, (wanted, least))
    if machine.gpus and 2 * smallest.gpu_layers >= placer.all_layers and LEAST_LOSS <= offer.loss <= MOST_LOSS:
        yield smallest
    yield from _shrinking(placer, placer.most_layers, kv_types, (wanted, least))


def _smallest(placer: Placer, make: Maker, kv_types: Sequence[KvType], n_ctx: int) -> Placement | None:
    """With the smallest cache that fits; None where none does. A smaller cache may need a little more beside it."""
    placements = (make(n_ctx, kv_type) for kv_type in reversed(kv_types))
    return next((placement for placement in placements if placer.shortage(placement) is None), None)


def _shrinking(placer: Placer, make: Maker, kv_types: Sequence[KvType], ctx: tuple[int, int]) -> Iterator[Placement]:
    """The context wanted with each cache, then the longest that fits with each, or else the least."""
    wanted, least = ctx
    yield from (make(wanted, kv_type) for kv_type in kv_types)
    n_steps = max(0, -(-(wanted - least) // CTX_STEP) - 1)
    n_fitting = last_true(0, n_steps, lambda n: _smallest(placer, make, kv_types, least + n * CTX_STEP) is not None)
    yield from (make(least + n_fitting * CTX_STEP, kv_type) for kv_type in kv_types)


def _first_that_fits(placer: Placer, placements: Iterable[Placement]) -> tuple[Placement, Shortage | None]:
    """The first placement without a shortage, or else the last with its."""
    found: tuple[Placement, Shortage | None] | None = None
    for placement in placements:
        found = placement, placer.shortage(placement)
        if found[1] is None:
            break
    assert found is not None, "there is always one to try"
    return found
