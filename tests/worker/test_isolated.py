"""The built-in model in a process of its own: the same answers, and what ends that process ends no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from qwq_local.errors import ModelNotFoundError, QwqError, SettingsError, WorkerDiedError
from qwq_local.models.store import find
from qwq_local.runtime import Finished, QwQ
from qwq_local.worker import Supervisor, call_apart
from tests import children
from tests.programs import posix
from tests.waiting import soon

pytestmark = pytest.mark.slow

SUM = "What is 47 + 85?"
LONG = "word " * 600
"""More than the 512 tokens that the demo reads without YaRN."""


@pytest.fixture(scope="module")
def isolated() -> Iterator[QwQ]:
    with QwQ.load("demo", n_ctx=2048, isolated=True) as qwq:
        yield qwq


def supervisor_of(qwq: QwQ) -> Supervisor:
    assert isinstance(qwq._engine, Supervisor)
    return qwq._engine


def process_of(qwq: QwQ) -> psutil.Process:
    return psutil.Process(supervisor_of(qwq).status.pid)


@pytest.mark.parametrize("seed", range(3))
def test_it_answers_as_in_this_process(isolated: QwQ, demo: QwQ, seed: int) -> None:
    apart, here = isolated.chat(SUM, seed=seed), demo.chat(SUM, seed=seed)
    assert (apart.reasoning, apart.content, apart.finish_reason) == (here.reasoning, here.content, here.finish_reason)
    assert (apart.model, apart.rope, apart.usage.completion_tokens) == (here.model, here.rope, here.usage.completion_tokens)
    assert isolated.tokenize(isolated.render(SUM)) == demo.tokenize(demo.render(SUM))


def test_streams_can_be_left(isolated: QwQ) -> None:
    for _ in range(3):
        for _ in isolated.stream(SUM, seed=1):
            break
    *_, end = isolated.stream(SUM, seed=1)
    assert isinstance(end, Finished)
    assert end.reason == "stop"


def test_yarn_comes_on_demand(isolated: QwQ) -> None:
    assert isolated.chat(LONG, seed=1, max_tokens=3).rope == "yarn"
    assert isolated.chat(SUM, seed=1, max_tokens=3).rope == "native"


@posix
def test_killed_in_mid_answer_it_says_so_once_and_the_next_answer_is_right() -> None:
    with QwQ.load("demo", isolated=True) as qwq:
        right = qwq.chat(SUM, seed=1).content
        stream = qwq.stream(SUM, seed=1)
        next(stream)
        process_of(qwq).kill()
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            soon(partial(list, stream))
        assert list(stream) == []
        assert soon(lambda: qwq.chat(SUM, seed=1)).content == right
        assert supervisor_of(qwq).status.deaths == 1


def test_closing_ends_the_process() -> None:
    with QwQ.load("demo", isolated=True) as qwq:
        process = process_of(qwq)
        assert process.is_running()
    assert not process.is_running()


def test_idle_it_is_unloaded_and_loaded_again_from_wherever_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "nano.gguf"
    model.write_bytes(find("demo").path.read_bytes())
    monkeypatch.chdir(tmp_path)
    with QwQ.load("./nano.gguf", isolated=True, idle_seconds=0.0) as qwq:
        monkeypatch.chdir("/")
        for _ in range(2):
            assert r"\boxed{132}" in soon(lambda: qwq.chat(SUM, seed=1)).content
        assert supervisor_of(qwq).status.deaths == 0


def test_loading_tells_its_progress() -> None:
    shares: list[float] = []
    QwQ.load("demo", isolated=True, on_progress=shares.append).close()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@posix
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_ends_the_loading_leaves_no_process(error: type[BaseException]) -> None:
    before = psutil.Process().children()

    def fail(_: float) -> None:
        if error is KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            raise error

    with pytest.raises(error):
        QwQ.load("demo", isolated=True, on_progress=fail)
    assert psutil.Process().children() == before


@pytest.mark.parametrize(("model", "n_ctx", "error"), [("no/such/model.gguf", None, ModelNotFoundError), ("demo", 100_000, SettingsError)])
def test_errors_of_the_plan_are_the_same(model: str, n_ctx: int | None, error: type[QwqError]) -> None:
    told = []
    for isolated in (False, True):
        with pytest.raises(error) as caught:
            QwQ.load(model, n_ctx=n_ctx, isolated=isolated)
        told.append((str(caught.value), caught.value.hint))
    assert told[0] == told[1]


def test_only_an_isolated_model_is_unloaded() -> None:
    with pytest.raises(SettingsError, match="isolated"):
        QwQ.load("demo", idle_seconds=60)


@posix
def test_a_failed_assertion_of_ggml_is_told_in_its_own_words() -> None:
    with pytest.raises(WorkerDiedError) as caught:
        call_apart(children.fail_an_assertion)
    assert "SIGABRT" in str(caught.value)
    assert str(caught.value).endswith("It said: ggml.c:123: GGML_ASSERT(n_dims >= 1) failed")


@posix
def test_a_wild_pointer_is_a_death_like_any_other() -> None:
    with pytest.raises(WorkerDiedError, match="SIGSEGV"):
        call_apart(children.read_nothing)
