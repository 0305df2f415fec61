"""Speculation on the built-in model: the tokens are those that come without it, drawn greedily or by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from qwq_local.engine import Drawn, Engine, EngineSettings, Finished, Request, Usage
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.settings import Sampling
from tests.backends import RECORDED

PROMPTS = [tuple(case["prompt"]) for case in RECORDED]
N_CTX = 512


def open_shared() -> LlamaBackend:
    """The built-in model with room for several answers."""
    file = find("demo")
    shape = replace(context_shape(file), n_sequences=4, n_cells=4 * N_CTX, n_outputs=16)
    return LlamaBackend(file.path, shape, "native", 0)


class SteadyClock:
    """By it a step takes as long with many tokens as with one, so that all guesses are worth reading."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1
        return self._now


def answers(engine: Engine, prompts: Sequence[tuple[int, ...]], sampling: Sampling) -> tuple[list[list[int]], list[Usage]]:
    """What is drawn after each prompt, several at once, each with a seed of its own."""
    ids = [engine.submit(Request(prompt, N_CTX, sampling=sampling, seed=seed, max_tokens=80)) for seed, prompt in enumerate(prompts)]
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


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("n_parallel", [1, 3])
def test_the_tokens_are_those_of_plain_decoding(temperature: float, n_parallel: int) -> None:
    sampling = Sampling(temperature=temperature, n_logprobs=0)
    found = []
    for speculates in (False, True):
        backend = open_shared()
        engine = Engine(backend, EngineSettings(n_parallel, speculates=speculates), SteadyClock())
        found.append(answers(engine, PROMPTS, sampling))
        backend.close()
    (plain, _), (guessed, usages) = found
    assert guessed == plain
    assert sum(usage.accepted_tokens for usage in usages) > 100, "the prompts' beginnings are alike, and so are the answers"
    assert all(0 <= usage.accepted_tokens <= min(usage.drafted_tokens, usage.completion_tokens) for usage in usages)
