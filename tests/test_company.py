"""Many requests on llama.cpp itself: what a fake cannot tell of its cache."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from qwq_convert.pipeline import Choices, convert
from qwq_local.engine import Engine, EngineSettings, Event, Finished, Request, Thinking
from qwq_local.engine.request import Answering
from qwq_local.llama import ContextShape, LlamaBackend
from qwq_local.runtime import QwQ
from tests.nano.tasks import addition, letters

N_CTX = 512
CHECKPOINT = Path(__file__).parent / "nano" / "checkpoint"


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model's weights in F32, whose products do not depend on what else is in a batch."""
    return convert(CHECKPOINT, tmp_path_factory.mktemp("exact"), ["F32"], Choices(name="nano")).files[0].path


@pytest.fixture(scope="module")
def prompts(exact: Path) -> list[tuple[int, ...]]:
    rng = random.Random(29)
    with QwQ.load(str(exact), n_ctx=N_CTX) as qwq:
        return [qwq.tokenize(qwq.render(problem(rng).messages)) for problem in [letters, addition] * 6]


def backend_of(path: Path, n_cells: int, n_sequences: int) -> Iterator[LlamaBackend]:
    with closing(LlamaBackend(path, ContextShape(N_CTX, 128, n_sequences, 1, "f32", 4.0, N_CTX, n_cells), "native", 0)) as backend:
        yield backend


def answers(backend: LlamaBackend, prompts: Sequence[tuple[int, ...]], settings: EngineSettings) -> tuple[list[str], Engine]:
    """What each request was answered, thought and all."""
    engine = Engine(backend, settings)
    events: dict[int, list[Event]] = {engine.submit(Request(prompt, N_CTX, seed=i, max_tokens=250)): [] for i, prompt in enumerate(prompts)}
    while not engine.is_idle:
        for job_id, event in engine.step():
            events[job_id].append(event)
    assert all(isinstance(found[-1], Finished) for found in events.values())
    return ["".join(event.text for event in found if isinstance(event, Thinking | Answering)) for found in events.values()], engine


@pytest.mark.parametrize("spill_bytes", [0, 2**26])
def test_a_cache_too_small_for_all_changes_no_answer(exact: Path, prompts: list[tuple[int, ...]], spill_bytes: int) -> None:
    for backend in backend_of(exact, N_CTX * len(prompts), len(prompts)):
        alone, _ = answers(backend, prompts, EngineSettings(n_parallel=1))
    for backend in backend_of(exact, N_CTX, 8):
        together, engine = answers(backend, prompts, EngineSettings(spill_bytes=spill_bytes))
    assert together == alone
    assert engine.snapshot().set_aside > 0


def test_a_saved_state_goes_on_as_if_it_had_never_left(exact: Path, prompts: list[tuple[int, ...]]) -> None:
    first = prompts[:1]
    for backend in backend_of(exact, N_CTX, 2):
        whole, engine = answers(backend, first, EngineSettings(spill_bytes=2**26))
        engine._cache.use_rope("yarn")
        engine._cache.use_rope("native")
        again, _ = answers(backend, first, EngineSettings())
        assert engine._cache.open(first[0])[1] == len(first[0]) - 1
    assert again == whole
