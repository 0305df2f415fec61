"""Speculation on the built-in model: the tokens are those that come without it, drawn greedily or by a seed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local.engine import Drawn, Engine, EngineSettings, Finished, Request, Usage
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.settings import Sampling
from qwq_local.speculation.ngrams import NgramIndex
from tests.backends import RECORDED

PROMPTS = [tuple(case["prompt"]) for case in RECORDED[:4]]
N_CTX = 512


class SteadyClock:
    """By it a step takes as long with many tokens as with one, so that all guesses are worth reading."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1
        return self._now


def opened(path: Path, draft: Path | None = None) -> LlamaBackend:
    """A model with room for several answers, and its draft model."""
    file = find(str(path))
    shape = replace(context_shape(file), n_sequences=4, n_cells=4 * N_CTX, n_outputs=16)
    backend = LlamaBackend(file.path, shape, "native", 0)
    if draft:
        backend.take_draft(LlamaBackend(draft, shape, "native", 0))
    return backend


def answers(backend: LlamaBackend, settings: EngineSettings, sampling: Sampling) -> tuple[list[list[int]], list[Usage]]:
    """What is drawn after each prompt, several at once, each with a seed of its own."""
    engine = Engine(backend, settings, SteadyClock())
    ids = [engine.submit(Request(prompt, N_CTX, sampling=sampling, seed=seed, max_tokens=60)) for seed, prompt in enumerate(PROMPTS)]
    drawn: dict[int, list[int]] = {job: [] for job in ids}
    ends: dict[int, Usage] = {}
    while not engine.is_idle:
        for job, event in engine.step():
            if isinstance(event, Drawn):
                drawn[job].append(event.draw.token)
            if isinstance(event, Finished):
                ends[job] = event.usage
    engine.audit()
    return list(drawn.values()), [ends[job] for job in ids]


@pytest.fixture(scope="module", params=[0.0, 0.6, 1.0])
def plain(request: pytest.FixtureRequest, nano_f32: Path) -> tuple[Sampling, list[list[int]]]:
    """The tokens of plain decoding, and how they were drawn."""
    sampling = Sampling(temperature=request.param, n_logprobs=0)
    with closing(opened(nano_f32)) as backend:
        return sampling, answers(backend, EngineSettings(1, speculates=False), sampling)[0]


@pytest.mark.parametrize("n_parallel", [1, 3])
@pytest.mark.parametrize("has_draft", [False, True], ids=["n-grams", "draft"])
def test_the_tokens_are_those_of_plain_decoding(
    plain: tuple[Sampling, list[list[int]]], n_parallel: int, has_draft: bool, nano_f32: Path, nano_draft: Path
) -> None:
    sampling, expected = plain
    with closing(opened(nano_f32, nano_draft if has_draft else None)) as backend:
        tokens, usages = answers(backend, EngineSettings(n_parallel), sampling)
    assert tokens == expected
    assert sum(usage.accepted_tokens for usage in usages) > 20
    assert all(0 <= usage.accepted_tokens <= min(usage.drafted_tokens, usage.completion_tokens) for usage in usages)


def test_a_draft_that_is_the_model_guesses_right_at_any_temperature(nano_f32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NgramIndex, "find", lambda *_: None)
    sampling = Sampling(temperature=1.5, top_k=0, top_p=1, n_logprobs=0)
    with closing(opened(nano_f32, nano_f32)) as backend:
        _, usages = answers(backend, EngineSettings(1), sampling)
    drafted, accepted = sum(usage.drafted_tokens for usage in usages), sum(usage.accepted_tokens for usage in usages)
    assert accepted > 0.9 * drafted > 100, "it throws the same dice"
