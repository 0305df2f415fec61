"""Draft models, which guess for others: found, held against those before any weights are read, and given a place beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from qwq_local.errors import LoadError, ModelFileError, UnfitDraftError
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import Machine
from qwq_local.models.store import ModelFile, find_local, model_file
from qwq_local.models.tokens import difference, read_tokens
from qwq_local.offers import offer_of_file
from qwq_local.plan.draft import DraftPlace, DraftPlacer
from qwq_local.plan.fit import fit_draft, shares_by_device
from qwq_local.plan.placement import Placement
from qwq_local.plan.plan import WANTED_CTX, Candidate, Offer, PlanWish
from qwq_local.plan.reasons import gib
from qwq_local.settings import LoadSettings

OR_NONE: Final = 'or none: --draft-model ""'


@dataclass(frozen=True)
class DraftLoad:
    """How a draft model is loaded: `gpu_shares` says how many of its layers each of llama.cpp's GPUs takes."""

    file: ModelFile
    placement: Placement
    gpu_shares: tuple[int, ...]

    def notice(self, n_ctx: int) -> str:
        """What there is to say of it beside a context of `n_ctx` tokens."""
        reached = self.placement.n_ctx
        return f"The draft model {self.file.name} guesses within the first {reached:,} tokens only." if reached < n_ctx else ""


@dataclass(frozen=True)
class WishedDraft:
    """A file that is to guess, on this machine, for a model that `settings` and `wish` are about.

    Its positions are scaled when the model's are, each by what its own file says, and beyond what it reads then it does not guess.
    """

    file: ModelFile
    offer: Offer
    settings: LoadSettings
    wish: PlanWish
    machine: Machine

    def place(self) -> DraftPlace:
        """Its place, with as much context as the model may come to have. Raises DoesNotFitError."""
        may_scale = self.settings.rope == "yarn" or (self.settings.rope == "auto" and self.settings.n_ctx is not None)
        n_ctx = self._reach(self.settings.n_ctx or WANTED_CTX, scales=may_scale)
        return fit_draft(self._placer, n_ctx, self.wish, force=self.settings.force)

    def settle(self, place: DraftPlace, n_ctx: int, native_ctx: int) -> DraftPlace:
        """The same place once the model has its own, with `n_ctx` tokens of which it reads `native_ctx` without YaRN."""
        return self._placer.shorten(place, self._reach(n_ctx, scales=self.settings.rope == "yarn" or n_ctx > native_ctx))

    def load_beside(self, file: ModelFile, candidate: Candidate, place: DraftPlace, devices: Sequence[DeviceMemory]) -> DraftLoad:
        """How it is loaded beside that model, in the place that it was given before. Raises UnfitDraftError."""
        self.require_fit(file, candidate.offer)
        placement = self.settle(place, candidate.placement.n_ctx, file.native_ctx).placement
        return DraftLoad(self.file, placement, shares_by_device(self.machine, placement, devices))

    def require_fit(self, file: ModelFile, offer: Offer) -> None:
        """Raise UnfitDraftError where it is no smaller than the model, or has other tokens."""
        name = self.file.name
        if self.file.path.samefile(file.path):
            raise UnfitDraftError(f"The draft model {name} is the model itself.", hint=f"Give a much smaller one, {OR_NONE}")
        own_bytes, model_bytes = sum(self.offer.tensors.values()), sum(offer.tensors.values())
        if own_bytes >= model_bytes:
            raise UnfitDraftError(
                f"The draft model {name} has {gib(own_bytes)} of weights, and {file.name} itself has {gib(model_bytes)}.",
                hint=f"Only a much smaller one makes it faster: give such a one, {OR_NONE}",
            )
        if differs := difference(read_tokens(file.path), read_tokens(self.file.path)):
            raise UnfitDraftError(
                f"The draft model {name} cannot guess for {file.name}. {differs}",
                hint=f"Give one that was converted with the tokenizer of {file.name}, {OR_NONE}",
            )

    def _reach(self, n_ctx: int, *, scales: bool) -> int:
        return min(n_ctx, self.file.longest_ctx if scales else self.file.native_ctx)

    @property
    def _placer(self) -> DraftPlacer:
        return DraftPlacer(self.file.name, self.offer.shape, self.offer.tensors, self.machine, self.wish.n_sequences)


def find_draft(settings: LoadSettings, wish: PlanWish, machine: Machine) -> WishedDraft | None:
    """The draft model that is wanted, if one is. Raises ModelFileError, as `store.find` does."""
    if not (settings.draft_model and settings.speculates):
        return None
    with speaking_of_the_draft():
        model = find_local(settings.draft_model)
        return WishedDraft(model_file(model), offer_of_file(model.paths, model.quantization, model.name), settings, wish, machine)


@contextmanager
def speaking_of_the_draft() -> Iterator[None]:
    """Let errors about a file and its loading say that it is the draft model's."""
    try:
        yield
    except (ModelFileError, LoadError) as error:
        raise type(error)(f"The draft model cannot be used: {error}", hint=error.hint) from error
