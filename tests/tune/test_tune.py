"""A tuning from the model's name to the report, the trials behind it, and the loads that use what was found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic import write_model
from qwq_local.configuration import find_folders
from qwq_local.errors import LoadError, SettingsError
from qwq_local.llama import ContextShape, InterruptSwitch, LlamaBackend, LlamaModel, may_interleave
from qwq_local.loading import context_shape, open_backend, plan_load
from qwq_local.machine import tuned
from qwq_local.machine.machine import GIB, Gpu, Machine
from qwq_local.machine.tuned import Kept, TunedFor
from qwq_local.models.store import find
from qwq_local.offers import offer_to_pull
from qwq_local.plan.fit import with_tuning
from qwq_local.plan.plan import PlanWish, consider
from qwq_local.plan.shape import ModelShape
from qwq_local.runtime import QwQ
from qwq_local.settings import LoadSettings
from qwq_local.survey import what_computes
from qwq_local.tune import ASPECTS, Sizes, TuneListener, tune
from qwq_local.tune.trials import Trials
from qwq_local.tuning import UNTUNED, Tuning
from tests.backends import RECORDED, read

SMALL = ModelShape("small", n_layers=2, n_embd=1024, n_ff=2048, n_heads=16, n_kv_heads=4, head_size=64, n_vocab=4096, tied=False)
DEMO = find("demo")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def keep_for_demo(tuning: Tuning) -> None:
    machine = plan_load("demo", LoadSettings()).machine
    key = TunedFor(DEMO.path.name, DEMO.path.stat().st_size, "cpu", what_computes(machine))
    tuned.keep(find_folders().cache, Kept(key, tuning, {"decode": 1.1}, "2026-11-30"))


# What a tuning changes


@pytest.mark.parametrize(
    "tuning",
    [
        Tuning(n_threads=1, n_threads_batch=2),
        Tuning(n_ubatch=32),
        Tuning(flash_attention=False),
        Tuning(layout="plain"),
        Tuning(is_mapped=False),
        Tuning(offloads_batches=False),
    ],
    ids=str,
)
def test_no_tuning_changes_what_the_demo_answers(tuning: Tuning) -> None:
    prompt = RECORDED[0]["prompt"]
    rows = [_logits(DEMO.path, context_shape(DEMO, 512, tuning=each), prompt) for each in (UNTUNED, tuning)]
    assert max(abs(a - b) for a, b in zip(*rows, strict=True)) < 0.1
    assert rows[0].index(max(rows[0])) == rows[1].index(max(rows[1]))


def test_weights_with_interleaved_rows_multiply_as_the_others_do(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    write_model(path, SMALL, "Q4_K_M")
    if not may_interleave(path):
        pytest.skip("this build has no other layout for these weights, or takes it by itself")
    shapes = [
        ContextShape(128, 128, 1, 1, "f16", 1.0, 128, tuning=tuning) for tuning in (Tuning(layout="plain"), Tuning(layout="repacked"))
    ]
    plain, repacked = (_logits(path, shape, list(range(64))) for shape in shapes)
    assert plain != repacked, "other kernels add in another order"
    assert max(abs(a - b) for a, b in zip(plain, repacked, strict=True)) < 0.02 * max(map(abs, plain))


def test_weights_that_have_no_other_layout_are_loaded_as_they_are() -> None:
    assert not may_interleave(DEMO.path), "Q8_0 has none on x86-64"
    with closing(LlamaModel(DEMO.path, 0, tuning=Tuning(layout="repacked"))) as model:
        assert model.handle


def _logits(path: Path, shape: ContextShape, prompt: list[int]) -> list[float]:
    with closing(LlamaBackend(path, shape, "native", 0)) as backend:
        read(backend, prompt)
        return backend.logits(len(prompt) - 1)


# Trials


@pytest.fixture
def loads() -> list[Tuning]:
    return []


@pytest.fixture
def trials(loads: list[Tuning]) -> Iterator[Trials]:
    def load(tuning: Tuning) -> LlamaModel:
        loads.append(tuning)
        return LlamaModel(DEMO.path, 0, tuning=tuning)

    with closing(Trials(load, context_shape(DEMO, 512), InterruptSwitch(), 256)) as trials:
        yield trials


def test_contexts_share_the_weights_and_those_that_cannot_load_them_again(trials: Trials, loads: list[Tuning]) -> None:
    for tuning, aspect in itertools.product((UNTUNED, Tuning(n_threads=1), Tuning(flash_attention=False), UNTUNED), ASPECTS):
        assert trials.measure(tuning, aspect) > 0
    assert loads == [UNTUNED]
    trials.measure(Tuning(is_mapped=False), "decode")
    trials.measure(UNTUNED, "decode")
    assert [each.is_mapped for each in loads] == [True, False, True]


def test_a_pair_takes_longer_where_the_weights_are_loaded_again(trials: Trials) -> None:
    trials.fit_into(1)
    usual, one = UNTUNED, Tuning(n_threads=1)
    assert 0 < trials.pair_seconds(usual, one, ["decode"]) < trials.pair_seconds(usual, one, ASPECTS)
    assert trials.pair_seconds(usual, one, ASPECTS) < trials.pair_seconds(usual, Tuning(is_mapped=False), ASPECTS)


def test_the_sizes_follow_the_time_there_is(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trials, "measure", lambda _self, _tuning, aspect: {"decode": 30.0, "together": 80.0, "prefill": 500.0}[aspect])
    for seconds, n_prefill, n_decode in ((0.1, 64, 4), (120, 576, 8), (600, 2048, 40), (9999, 2048, 64)):
        trials.fit_into(seconds)
        assert trials.sizes == Sizes(n_prefill, n_decode)


def test_every_cache_that_the_heads_can_have_is_measured_while_there_is_time(trials: Trials) -> None:
    trials.measure(UNTUNED, "decode")
    found = trials.cache_types(UNTUNED, 32, float("inf"))
    assert list(found) == ["f16", "q8_0", "q4_0"]
    assert all(rates.keys() == set(ASPECTS) for rates in found.values())
    assert list(trials.cache_types(UNTUNED, 40, float("inf"))) == ["f16"]
    assert trials.cache_types(UNTUNED, 32, 0.0) == {}


# The whole


def test_the_demo_is_tuned_within_its_time_and_too_small_to_be_stored(data: Path) -> None:
    told: list[str] = []
    report = tune.run_tune("demo", LoadSettings(), 3, TuneListener(told.append))
    assert report.is_small
    assert "less than 1 GiB" in report.why_not_kept
    assert report.rates.keys() == set(ASPECTS)
    assert {tried.setting for tried in report.tried} >= {"n_threads", "n_threads_batch", "flash_attention"}
    assert told[0] == "looking at this machine"
    assert not (data / "cache" / tuned.FILE_NAME).exists()


def test_a_time_that_cannot_be_is_refused_before_anything_is_loaded() -> None:
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="seconds is"):
            tune.run_tune("demo", LoadSettings(), seconds, TuneListener())


@pytest.mark.parametrize(
    ("small", "shortage", "disturbed", "says"),
    [
        (True, False, False, "less than 1 GiB"),
        (False, True, False, "does not fit"),
        (False, False, True, "other programs"),
        (False,) * 3 + ("",),
    ],
)
def test_what_says_little_is_not_kept(*, small: bool, shortage: bool, disturbed: bool, says: str) -> None:
    candidate = consider(Machine((), 64 * GIB, (8 if shortage else 64) * GIB, 76.8e9), offer_to_pull("Q4_K_M"), PlanWish(n_ctx=8192))
    prepared = tune.Prepared(plan_load("demo", LoadSettings()), candidate, TunedFor("", 0, "", ""), (), can_copy=True, notes=())
    found = tune._why_not_kept(prepared, is_small=small, is_disturbed=disturbed)
    assert says in found
    assert bool(found) is bool(says)


# Loads that use it


def test_every_later_load_of_the_same_file_uses_what_was_found_and_says_so() -> None:
    keep_for_demo(Tuning(n_threads=1, n_ubatch=64))
    plan = plan_load("demo", LoadSettings())
    assert plan.tuning == Tuning(n_threads=1, n_ubatch=64)
    assert "threads 1, micro-batch 64" in " ".join(plan.notices)
    with QwQ.load("demo") as qwq:
        assert any("qwq tune" in text for text in qwq.notices)
        assert "132" in qwq.chat("What is 47 + 85?", temperature=0.0).content


def test_what_was_found_reaches_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_for_demo(Tuning(n_threads=1, n_threads_batch=2, n_ubatch=1024))
    seen: list[Any] = []
    monkeypatch.setattr("qwq_local.loading.backends.LlamaBackend", lambda _path, shape, *_: seen.append(shape))
    open_backend(plan_load("demo", LoadSettings()), "native")
    from qwq_local.llama._context import context_params

    params = context_params(replace(seen[0], n_batch=1024), "native")
    assert (params.n_threads, params.n_threads_batch, params.n_ubatch) == (1, 2, 1024)


def test_a_damaged_file_of_tunings_is_told_and_nothing_else(data: Path) -> None:
    (data / "cache").mkdir(parents=True)
    (data / "cache" / tuned.FILE_NAME).write_text("{")
    plan = plan_load("demo", LoadSettings())
    assert plan.tuning == UNTUNED
    assert tuned.FILE_NAME in " ".join(plan.notices)


def test_a_tuning_gives_up_what_would_cost_context_cache_or_layers() -> None:
    offer, wish = offer_to_pull("Q4_K_M"), PlanWish(n_ctx=8192)
    wanted = Tuning(n_threads=3, n_ubatch=4096, flash_attention=False)
    roomy = Machine((Gpu("CUDA0", "a card", 80 * GIB, 80 * GIB, 900e9),), 64 * GIB, 64 * GIB, 76.8e9)
    candidate = consider(roomy, offer, wish)
    tuned_candidate, tuning = with_tuning(roomy, candidate, wish, wanted)
    assert tuning == wanted
    assert tuned_candidate.memory[1].compute_bytes > 3 * candidate.memory[1].compute_bytes
    assert tuned_candidate.placement.n_ctx == candidate.placement.n_ctx
    tight = replace(roomy, gpus=(replace(roomy.gpus[0], free_bytes=candidate.memory[1].total_bytes + 2 * GIB),))
    candidate = consider(tight, offer, wish)
    assert with_tuning(tight, candidate, wish, wanted) == (candidate, Tuning(n_threads=3))
    assert with_tuning(tight, candidate, wish, Tuning(n_ubatch=64)) == (candidate, Tuning(n_ubatch=64))


def test_a_layout_that_the_build_lacks_is_a_load_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwq_local.llama._layouts._extra_layouts", list)
    with pytest.raises(LoadError, match="interleaved"):
        LlamaModel(DEMO.path, 0, tuning=Tuning(layout="repacked"))
