"""Speculative decoding: guesses are read along with the token before them, and each that proves right saves a step.

Exact at any temperature: after each token that was read the request's own sampler draws, as it would without guesses, and the first guess
that differs from what was drawn ends the row (the sampling of Leviathan and others, arXiv 2211.17192, for guesses that are certain of
themselves). A request's seed gives the same answer with guesses and without, up to what the width of a batch changes in floats.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from qwq_local.backend import Backend, InterruptedDecodeError
from qwq_local.errors import DecodeError
from qwq_local.speculation.acceptance import Acceptance
from qwq_local.speculation.cost import StepCost
from qwq_local.speculation.draft_model import DraftModel
from qwq_local.speculation.guesses import MODEL_PRIOR, NGRAM_PRIOR, TextGuesses
from qwq_local.speculation.ngrams import NgramIndex
from qwq_local.speculation.widths import LEAST_GAIN, NO_GUESSES, Offer, best_rate, choose
from qwq_local.speculation.writer import Writer

SMOOTHING: Final = 0.2
MOST_WIDTH: Final = 64
"""Tokens of a step with guesses: with more, every machine is bound by arithmetic."""
TRIED: Final = 2
"""Guesses of a draft model that is tried though it did not pay."""
LEAST_PROMPT: Final = 64
"""Tokens; shorter pieces of prompts say more of the weights than of the tokens."""


@dataclass(frozen=True, slots=True)
class _Bid:
    """What is offered for a text, and by whom."""

    writer: Writer
    text: TextGuesses
    offer: Offer
    is_model: bool = False
    is_trial: bool = False


class Speculator:
    """Guesses for all texts that are written, no more than pays. `draft` is a draft model's backend; a step reads `most_width` tokens."""

    def __init__(self, draft: Backend | None, most_width: int, clock: Callable[[], float]) -> None:
        self._model = DraftModel(draft) if draft else None
        self._clock = clock
        self._index = NgramIndex()
        self._most_width = min(most_width, MOST_WIDTH)
        self._cost = StepCost(self._most_width)
        self._general, self._general_model = Acceptance(NGRAM_PRIOR), Acceptance(MODEL_PRIOR)
        self._texts: dict[int, TextGuesses] = {}
        self._bids: dict[int, _Bid] = {}
        self._guess_seconds = 0.0
        self.n_drafted = self.n_accepted = 0

    def guess(self, writers: Sequence[Writer], room: int) -> dict[int, list[int]]:
        """Guesses by the writers' ids; `room` is for all of them. Whoever is not named gets none."""
        self._bids = {}
        room = min(room, self._most_width - len(writers))
        if room <= 0:
            return {}
        bids = [bid for writer in writers if (bid := self._bid(writer, len(writers), room))]
        if not bids:
            return {}
        counts = choose(len(writers), [bid.offer for bid in bids], room, self._cost.seconds)
        free = room - sum(counts)
        for i, bid in enumerate(bids):
            if bid.is_trial and not counts[i]:
                counts[i] = min(free, TRIED, len(bid.offer.chances))
                free -= counts[i]
        wanted = {bid.writer.id: (bid, n) for bid, n in zip(bids, counts, strict=True) if n}
        self._bids = {writer_id: bid for writer_id, (bid, _) in wanted.items()}
        found = {i: bid.text.guesses(n) for i, (bid, n) in wanted.items() if not bid.is_model}
        return found | self._ask_model([(bid, n) for bid, n in wanted.values() if bid.is_model])

    def note_step(self, n_tokens: int, seconds: float, *, reads_prompts: bool) -> None:
        """A step that read so many tokens took so long."""
        if not reads_prompts:
            self._cost.note(n_tokens, seconds)
        elif n_tokens >= LEAST_PROMPT:
            self._cost.token_seconds = _smoothed(self._cost.token_seconds, seconds / n_tokens)

    def note_guesses(self, writer: Writer, n_guesses: int, n_right: int) -> None:
        """So many guesses were read, and the first so many were right."""
        self.n_drafted += n_guesses
        self.n_accepted += n_right
        bid = self._bids[writer.id]
        if bid.is_model:
            bid.text.note_model(n_guesses, n_right, is_trial=bid.is_trial)

    def end(self, writer: Writer) -> None:
        """A text is written to its end, or given up."""
        text = self._texts.pop(writer.id, None)
        if text is not None:
            text.end()

    def _bid(self, writer: Writer, n_texts: int, room: int) -> _Bid | None:
        """What is offered for a text: the better of what n-grams and a draft model can."""
        text = self._texts.get(writer.id)
        if text is None:
            text = self._texts[writer.id] = TextGuesses(writer.tokens, self._index, self._general, self._general_model)
        text.follow()
        n_most = min(room, writer.n_guessable)
        chances = text.chances(n_most)
        bid = _Bid(writer, text, Offer(chances)) if chances else None
        if self._model is None or not self._model.fits(writer, n_most):
            return bid
        by_model = Offer(text.model_chances(n_most), self._guess_seconds)
        pays = self._rate(n_texts, by_model) > max(self._rate(n_texts, bid.offer) if bid else 0.0, LEAST_GAIN * self._rate(n_texts))
        if not (pays or (bid is None and text.tries_model)) or not self._is_near(self._model, writer):
            return bid
        return _Bid(writer, text, by_model, is_model=True, is_trial=not pays)

    def _rate(self, n_texts: int, offer: Offer = NO_GUESSES) -> float:
        return best_rate(n_texts, offer, self._cost.seconds)

    def _is_near(self, model: DraftModel, writer: Writer) -> bool:
        """Whether the draft model has read nearly all of a text; else it reads a piece of it."""
        if model.is_near(writer):
            return True
        self._with_model(lambda model: model.catch_up(writer))
        return False

    def _ask_model(self, wanted: Sequence[tuple[_Bid, int]]) -> dict[int, list[int]]:
        if not wanted:
            return {}
        started_at = self._clock()
        found: list[list[int]] = []
        self._with_model(lambda model: found.extend(model.guess([bid.writer for bid, _ in wanted], [n for _, n in wanted])))
        if not found:
            return {}
        self._guess_seconds = _smoothed(self._guess_seconds, (self._clock() - started_at) / sum(n for _, n in wanted))
        return {bid.writer.id: guesses for (bid, _), guesses in zip(wanted, found, strict=True) if guesses}

    def _with_model(self, work: Callable[[DraftModel], object]) -> None:
        """Let the draft model do something. Its guesses are not needed: without it, answers come as they would have."""
        try:
            if self._model:
                work(self._model)
        except InterruptedDecodeError:  # whoever interrupts wants the step that follows to end too
            return
        except DecodeError as error:
            logging.getLogger(__name__).warning("The draft model is not asked any more: %s", error)
            self._model = None


def _smoothed(known: float, found: float) -> float:
    return known + SMOOTHING * (found - known) if known else found
