"""Several streams that look like one: those of the samples of one answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal, TypeAlias

from qwq_local.engine import Answering, Event, Failed, Finished, RaceReport, Racing, Request, Thinking
from qwq_local.race.rules import Ended, Rule, first_to_end, majority, votes
from qwq_local.settings import RaceSettings, nth_seed
from qwq_local.worker import EngineClient, Stream

Kind: TypeAlias = Literal["race", "vote"]
_RULES: Final[dict[Kind, Rule]] = {"race": first_to_end, "vote": majority}


@dataclass(eq=False)
class _Sample:
    place: int
    stream: Stream
    events: list[Event] = field(default_factory=list)
    content: str = ""
    n_pieces: int = 0

    def add(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Answering):
            self.content += event.text
        self.n_pieces += isinstance(event, Thinking | Answering)


class RaceStream(Stream):
    """The samples of one request, each with a seed of its own, and the events of that which wins, once it is known; until then Racing.

    The others are cancelled in that moment. The end is told when all of them have ended, so that the report's tokens are those of all and
    nothing of them runs any more. A sample that fails is out; where all do, the first error is told.
    """

    def __init__(self, client: EngineClient, request: Request, settings: RaceSettings) -> None:
        """Hand in the samples. Raises what `EngineClient.submit` does."""
        super().__init__(client)
        self._kind: Kind = settings.name
        self._hearing = threading.Lock()
        self._winner: _Sample | None = None
        self._votes: dict[str, int] = {}
        self._ended: list[Ended] = []
        self._n_pieces_told = 0
        self._samples = _submit_all(client, request, settings.n_samples)
        for sample in self._samples:
            sample.stream.listen(partial(self._hear, sample))
        for sample in self._samples:  # what came before anybody listened
            self._hear(sample)

    def answer_now(self) -> None:
        """Let all of them stop thinking and answer."""
        for sample in self._samples:
            sample.stream.answer_now()

    def close(self) -> None:
        """Cancel those that still run."""
        for sample in self._samples:
            sample.stream.close()

    def _hear(self, sample: _Sample) -> None:
        """Take what has come of a sample. Runs in the thread that brings it, so that the others are cancelled at once."""
        with self._hearing:
            for event in sample.stream.take():
                sample.add(event)
                if isinstance(event, Finished | Failed):
                    self._note_end(Ended(sample.place, event, sample.content))
            if self._winner is None:
                self._tell_progress()

    def _note_end(self, ended: Ended) -> None:
        self._ended.append(ended)
        if self._winner is None:
            self._judge()
        if len(self._ended) == len(self._samples):
            self._tell_end()

    def _judge(self) -> None:
        place = _RULES[self._kind](self._ended, len(self._samples) - len(self._ended))
        if place is None:
            return
        self._winner = self._samples[place]
        self._votes = votes(self._ended) if self._kind == "vote" else {}
        for event in self._winner.events[:-1]:
            self.put(event)
        self.close()

    def _tell_progress(self) -> None:
        """Once for about every token of each."""
        n_pieces = sum(sample.n_pieces for sample in self._samples)
        if len(self._ended) < len(self._samples) and n_pieces - self._n_pieces_told >= len(self._samples):
            self._n_pieces_told = n_pieces
            self.put(Racing(len(self._samples), len(self._ended), n_pieces))

    def _tell_end(self) -> None:
        ends = [each.end for each in self._ended]
        if self._winner is None:
            self.put(ends[0])
            return
        end = self._winner.events[-1]
        assert isinstance(end, Finished), "only those that have finished win"
        finished = [each for each in ends if isinstance(each, Finished)]
        report = RaceReport(
            kind=self._kind,
            n_samples=len(self._samples),
            winner=self._winner.place,
            completion_tokens=sum(each.usage.completion_tokens for each in finished),
            votes=self._votes,
            n_failed=len(ends) - len(finished),
        )
        self.put(replace(end, race=report))


def _submit_all(client: EngineClient, request: Request, n_samples: int) -> Sequence[_Sample]:
    """Hand them all in; should one be refused, those before it are cancelled."""
    with ExitStack() as undo:
        samples = []
        for place in range(n_samples):
            stream = undo.enter_context(closing(client.submit(replace(request, seed=nth_seed(request.seed, place)))))
            samples.append(_Sample(place, stream))
        undo.pop_all()
    return samples
