"""llama.cpp behind our boundary: the numbers are transformers' own, and a decode ends when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwq_convert.pipeline import convert
from qwq_local.backend import BatchToken, InterruptedDecodeError, Rope
from qwq_local.errors import DecodeError, LoadError
from qwq_local.llama import LlamaBackend
from qwq_local.models.store import find
from qwq_local.settings import Sampling
from tests.backends import RECORDED, open_backend, read
from tests.checkpoints import NANO


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaBackend]:
    folder = tmp_path_factory.mktemp("f32")
    report = convert(NANO, folder, ["F32"])
    backend = open_backend(str(report.files[0].path), kv_type="f32")
    yield backend
    backend.close()


@pytest.fixture
def backend() -> Iterator[LlamaBackend]:
    backend = open_backend("demo", n_ctx=2048)
    yield backend
    backend.close()


@pytest.mark.parametrize("case", RECORDED)
def test_f32_weights_give_transformers_logits_and_greedy_tokens(exact: LlamaBackend, case: dict[str, Any]) -> None:
    exact.truncate(0, 0)
    read(exact, case["prompt"])
    logits = exact.logits(len(case["prompt"]) - 1)
    assert max(abs(a - b) for a, b in zip(logits, case["logits"], strict=True)) < 1e-3

    sampler = exact.new_sampler(Sampling(temperature=0), seed=0)
    reply = [sampler.sample(len(case["prompt"]) - 1).token]
    while reply[-1] not in exact.vocabulary.end_tokens and len(reply) < len(case["reply"]):
        read(exact, [reply[-1]], start=len(case["prompt"]) + len(reply) - 1)
        reply.append(sampler.sample(0).token)
    sampler.close()
    assert reply == case["reply"]


def test_an_interrupted_decode_ends_and_the_sequence_can_be_read_again(backend: LlamaBackend) -> None:
    prompt = RECORDED[0]["prompt"]
    read(backend, prompt)
    expected = backend.logits(len(prompt) - 1)

    backend.interrupt()
    with pytest.raises(InterruptedDecodeError):
        read(backend, prompt, start=len(prompt))
    backend.rearm()
    backend.truncate(0, 0)
    read(backend, prompt)
    assert backend.logits(len(prompt) - 1) == expected


def test_an_interrupt_from_another_thread_ends_a_decode_that_runs(backend: LlamaBackend) -> None:
    def read_until_interrupted() -> None:
        while True:
            backend.truncate(0, 0)
            read(backend, RECORDED[0]["prompt"])

    timer = threading.Timer(0.1, backend.interrupt)
    timer.start()
    with pytest.raises(InterruptedDecodeError):
        read_until_interrupted()


def test_yarn_changes_the_logits_and_native_brings_them_back(backend: LlamaBackend) -> None:
    prompt = RECORDED[0]["prompt"]
    logits: dict[Rope, list[float]] = {}
    ropes: list[Rope] = ["native", "yarn", "native"]
    for rope in ropes:
        backend.use_rope(rope)
        read(backend, prompt)
        row = backend.logits(len(prompt) - 1)
        assert logits.setdefault(rope, row) == row
    assert logits["native"] != logits["yarn"]


def test_a_batch_out_of_order_is_a_decode_error_that_says_what_llama_cpp_said(backend: LlamaBackend) -> None:
    with pytest.raises(DecodeError, match="batch of 2 tokens"):
        backend.decode([BatchToken(1, 0, 0, wants_logits=False), BatchToken(1, 7, 0, wants_logits=True)])


def test_what_llama_cpp_cannot_load_is_a_load_error(tmp_path: Path) -> None:
    data = find("demo").path.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_XX.weight")
    (tmp_path / "odd.gguf").write_bytes(data)
    with pytest.raises(LoadError, match="could not load"):
        open_backend(str(tmp_path / "odd.gguf"))


def test_the_demo_ends_answers_at_both_end_tokens(backend: LlamaBackend) -> None:
    markers = backend.vocabulary.markers
    assert {markers["<|im_end|>"], markers["<|endoftext|>"]} <= backend.vocabulary.end_tokens
    assert len(markers) == 9
