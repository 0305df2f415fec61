"""Many requests on llama.cpp itself: what a fake cannot tell of its cache."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.engine import Engine, EngineSettings, Event, Finished, Request, Thinking
from qwq_local.engine.request import Answering
from qwq_local.llama import ContextShape, LlamaBackend
from qwq_local.runtime import QwQ
from tests.nano.tasks import addition, letters

N_CTX = 512
CHECKPOINT = Path(__file__).parents[1] / "nano" / "checkpoint"


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model's weights in F32, whose products do not depend on what else is in a batch."""
    return convert(CHECKPOINT, tmp_path_factory.mktemp("exact"), ["F32"], ConversionChoices(name="nano")).files[0].path


@pytest.fixture(scope="module")
def prompts(exact: Path) -> list[tuple[int, ...]]:
    rng = random.Random(29)
    with QwQ.load(str(exact), n_ctx=N_CTX) as qwq:
        return [qwq.tokenize(qwq.render(problem(rng).messages)) for problem in [letters, addition] * 6]


@contextmanager
def engine_on(path: Path, settings: EngineSettings, n_cells: int = N_CTX, n_sequences: int = 8) -> Iterator[Engine]:
    shape = ContextShape(N_CTX, 128, n_sequences, 1, "f32", 4.0, N_CTX, n_cells)
    with closing(LlamaBackend(path, shape, "native", 0)) as backend:
        yield Engine(backend, settings)


def answers(engine: Engine, prompts: Sequence[tuple[int, ...]]) -> list[str]:
    """What each request was answered, thought and all."""
    events: dict[int, list[Event]] = {engine.submit(Request(prompt, N_CTX, seed=i, max_tokens=250)): [] for i, prompt in enumerate(prompts)}
    while not engine.is_idle:
        for job_id, event in engine.step():
            events[job_id].append(event)
    assert all(isinstance(found[-1], Finished) for found in events.values())
    return ["".join(event.text for event in found if isinstance(event, Thinking | Answering)) for found in events.values()]


@pytest.mark.parametrize("spill_bytes", [0, 2**26])
def test_a_cache_too_small_for_all_changes_no_answer(exact: Path, prompts: list[tuple[int, ...]], spill_bytes: int) -> None:
    with engine_on(exact, EngineSettings(n_parallel=1), N_CTX * len(prompts), len(prompts)) as roomy:
        alone = answers(roomy, prompts)
    with engine_on(exact, EngineSettings(spill_bytes=spill_bytes)) as crowded:
        assert answers(crowded, prompts) == alone
        assert crowded.snapshot().set_aside > 0


def test_what_was_spilled_goes_on_as_if_it_had_never_left(exact: Path, prompts: list[tuple[int, ...]]) -> None:
    asked = [prompts[0] * 2]
    with engine_on(exact, EngineSettings(spill_bytes=2**26)) as engine:
        first = answers(engine, asked)
        engine._cache.use_rope("yarn")
        engine._cache.use_rope("native")
        n_before = engine.snapshot().reused_tokens
        assert answers(engine, asked) == first
        assert engine.snapshot().reused_tokens - n_before == len(asked[0]) - 1
