"""One answer in the making: what is drawn, what is put there, when its thought is closed and when it ends (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from qwq_local.backend import Backend, Sampler, Vocabulary
from qwq_local.engine.repetition import RepetitionDetector
from qwq_local.engine.request import ClosingReason, Drawn, Event, FinishReason, Request, ThoughtClosed
from qwq_local.engine.thinking import ThinkMarkers, Transcript


class Answer:
    """Draws the tokens of one request's answer with its sampler, and tells them as events.

    `ended` says why it is over, once it is; `n_written` counts its tokens, at most `limit`: those drawn, and those put there to close its
    thought.
    """

    def __init__(self, request: Request, limit: int, sampler: Sampler, vocabulary: Vocabulary, markers: ThinkMarkers) -> None:
        self._request = request
        self._limit = limit
        self._sampler = sampler
        self._vocabulary = vocabulary
        self._markers = markers
        self._transcript = Transcript(
            markers,
            opens_thinking=request.opens_thinking,
            stop=request.stop,
            calls_tools=request.calls_tools,
            is_raw=request.is_raw,
        )
        self._repetition = RepetitionDetector(self._request.n_ctx)
        self._has_begun = False
        self._n_thought = 0
        self._events: list[Event] = []
        self._tokens: list[int] = []
        self.n_written = 0
        self.ended: FinishReason | None = None
        if not request.opens_thinking:
            self._begin_answer()
        elif request.think_tokens == 0:
            self.close_thought("budget")

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the thought, its closing marker among them."""
        return self._transcript.reasoning_tokens

    @property
    def n_left(self) -> int:
        """Tokens that it may still have."""
        return self._limit - self.n_written

    @property
    def stop_text(self) -> str:
        """The stop string that ended it, or nothing."""
        return self._transcript.stop_text

    def draw(self, batch_index: int) -> None:
        """Draw after the token at this index of the last batch. Raises DecodeError where nothing fits the request's constraint."""
        draw = self._sampler.sample(batch_index)
        if draw.logprob is not None:
            piece, *top_pieces = map(self._vocabulary.piece, (draw.token, *(token for token, _ in draw.top)))
            self._events.append(Drawn(draw, piece, tuple(top_pieces), self._transcript.is_thinking))
        if draw.token in self._vocabulary.end_tokens:
            self._end_at_token()
            return
        was_thinking = self._transcript.is_thinking
        self._write(draw.token)
        if self.ended is None:
            self._direct(was_thinking=was_thinking, repeats=self._repetition.push(draw.token))

    def sampler_for(self, draft: Backend) -> Sampler:
        """A sampler that draws from a draft model as this answer's own would here."""
        return draft.sampler_like(self._sampler)

    def _end_at_token(self) -> None:
        """An end token; in the thought of an answer that must have a certain form, it only ends the thought."""
        if self._transcript.is_thinking and self._request.constraint is not None and self._markers.end is not None:
            self.close_thought("ended")
        else:
            self.n_written += 1
            self.ended = "stop"

    def close_thought(self, why: ClosingReason) -> None:
        """End the thought with a sentence, or without where there has been none, and let the answer begin; nothing where it has begun."""
        if not self._transcript.is_thinking or self._markers.end is None or self.ended:
            return
        self._put(self._markers.closing if self.n_written else (self._markers.end, *self._markers.gap))
        self._events.append(ThoughtClosed(why))
        self._repetition = RepetitionDetector(self._request.n_ctx)
        self._begin_answer()

    def take_tokens(self) -> list[int]:
        """The tokens written since the last call."""
        tokens, self._tokens = self._tokens, []
        return tokens

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Tell what was still held back."""
        self._events.extend(self._transcript.close())

    def free(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _direct(self, *, was_thinking: bool, repeats: bool) -> None:
        """After a drawn token: does the answer begin, is the thought over its budget, does it go round in circles?"""
        is_thinking = self._transcript.is_thinking
        self._n_thought += was_thinking
        if was_thinking and not is_thinking:
            if self._request.constraint is not None and not self._has_begun:
                self._put(self._markers.gap)
            self._begin_answer()
        elif is_thinking and self._n_thought == self._request.think_tokens:
            self.close_thought("budget")
        elif repeats and self._request.stops_repetition:
            if is_thinking:
                self.close_thought("repetition")
            else:
                self.ended = "repetition"

    def _begin_answer(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._sampler.begin_answer()

    def _put(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            if self.ended is None:
                self._sampler.accept(token)
                self._write(token)

    def _write(self, token: int) -> None:
        self.n_written += 1
        self._tokens.append(token)
        self._events.extend(self._transcript.push(token, self._vocabulary.piece(token)))
        if self._transcript.stop_text:
            self.ended = "stop"
        elif self.n_written == self._limit:
            self.ended = "length"
