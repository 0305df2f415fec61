"""The ways in which the engine can guess what it will write, as the benchmarks set them beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local import QwQ
from qwq_local.backend import Constraint
from qwq_local.engine import Answering, Engine, EngineSettings, Event, Failed, Finished, Request
from qwq_local.llama import ContextShape, FileVocabulary, LlamaBackend
from qwq_local.machine.hardware import usable_cores
from qwq_local.models.inventory import demo_model
from qwq_local.settings import N_IDLE, N_PARALLEL, Sampling
from qwq_local.worker import Worker
from tests.checkpoints import NANO
from tests.nano.tasks import Problem

N_SEQUENCES: Final = N_PARALLEL + N_IDLE


@dataclass(frozen=True)
class Guesses:
    """Tokens written, guessed and guessed rightly, and the seconds between the first token and the last."""

    n_written: int
    n_drafted: int
    n_accepted: int
    seconds: float

    def __add__(self, other: Guesses) -> Guesses:
        return Guesses(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.n_written / self.seconds

    @property
    def acceptance(self) -> float:
        """The share of the guesses that were right; 0 where nothing was guessed."""
        return self.n_accepted / max(1, self.n_drafted)

    @property
    def width(self) -> float:
        """Tokens that a step read, on average."""
        n_steps = self.n_written - self.n_accepted
        return (n_steps + self.n_drafted) / n_steps


def guesses_of(end: Finished) -> Guesses:
    """Of one answer, without its first token, which is drawn when the prompt is read."""
    usage = end.usage
    return Guesses(usage.completion_tokens - 1, usage.drafted_tokens, usage.accepted_tokens, end.timings.decode_seconds)


def open_worker(path: Path, n_ctx: int, draft: Path | None = None, *, speculates: bool, n_parallel: int = N_PARALLEL) -> Worker:
    """An engine in a thread of its own, with a draft model where one is given; closed with the worker."""
    shape = ContextShape(n_ctx, 512, N_SEQUENCES, usable_cores(), "f16", 4.0, n_ctx, n_cells=n_ctx * n_parallel, n_outputs=N_SEQUENCES)
    backend = LlamaBackend(path, shape, "native", 0)
    if draft:
        backend.take_draft(LlamaBackend(draft, shape, "native", 0))
    return Worker(backend, partial(Engine, settings=EngineSettings(n_parallel, speculates=speculates)))


def write_nano(folder: Path, quantization: str) -> Path:
    """Nano in another quantization: where it loses much, a draft model that is often wrong."""
    return convert(NANO, folder, [quantization], ConversionChoices(name="nano")).files[0].path


def tokens_of(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Texts as any nano reads them."""
    with closing(FileVocabulary(demo_model().path)) as vocabulary:
        return [tuple(vocabulary.tokenize(text)) for text in texts]


def prompts_of(problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    """The prompts that problems become, as any nano reads them."""
    with QwQ.load("demo") as qwq:
        return [qwq.tokenize(qwq.render(problem.messages, problem.tools)) for problem in problems]


def raw_request(
    prompt: Sequence[int], n_ctx: int, n_tokens: int, seed: int, sampling: Sampling, constraint: Constraint | None = None
) -> Request:
    """Go on with a text as it is, however it repeats itself."""
    return Request(
        tuple(prompt),
        n_ctx,
        opens_thinking=False,
        sampling=sampling,
        seed=seed,
        max_tokens=n_tokens,
        constraint=constraint,
        stops_repetition=False,
        is_raw=True,
    )


def written(stream: Iterable[Event]) -> tuple[str, Guesses]:
    """The text of an answer to a `raw_request`, and what was guessed of it. Raises the error that ended it."""
    *events, end = stream
    if isinstance(end, Failed):
        raise end.error
    assert isinstance(end, Finished), "it ends in no other way"
    return "".join(event.text for event in events if isinstance(event, Answering)), guesses_of(end)
