"""What is worth changing, by what there is."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from qwq_local.tune.knobs import Surroundings, knobs_for, passed_over
from qwq_local.tuning import UNTUNED

SERVER = Surroundings("cpu", "f16", n_cores=8, n_cpus=16, n_prefill=1024, layouts=("plain", "repacked"), can_copy=False)


def settings(here: Surroundings) -> dict[str, tuple[object, ...]]:
    return {knob.setting: knob.values for knob in knobs_for(here)}


def test_on_a_cpu_threads_kernels_micro_batches_and_layouts_are_tried_and_loads_come_last() -> None:
    assert settings(SERVER) == {
        "n_threads": (7, 16, 6, 4),
        "n_threads_batch": (7, 16, 6, 4),
        "flash_attention": (False,),
        "n_ubatch": (256, 128, 1024),
        "layout": ("plain", "repacked"),
    }
    assert list(settings(SERVER))[-1] == "layout"
    assert settings(replace(SERVER, can_copy=True))["is_mapped"] == (False,)


def test_with_every_layer_on_a_gpu_threads_and_layouts_do_not_matter() -> None:
    here = replace(SERVER, kind="gpu", n_prefill=2048, can_copy=True)
    assert settings(here) == {"flash_attention": (False,), "n_ubatch": (1024, 2048, 256)}
    assert {tried.setting for tried in passed_over(here)} == {"n_threads", "layout"}


def test_a_gpu_that_holds_some_layers_may_leave_the_others_work_to_the_cpu() -> None:
    assert settings(replace(SERVER, kind="both"))["offloads_batches"] == (False,)


def test_attention_is_timed_behind_many_tokens_or_not_at_all() -> None:
    here = replace(SERVER, n_prefill=960)
    assert "flash_attention" not in settings(here)
    assert [tried.setting for tried in passed_over(here)] == ["flash_attention"]
    assert passed_over(SERVER) == ()


def test_what_cannot_be_tried_is_told() -> None:
    here = replace(SERVER, n_cores=1, n_cpus=1, kv_type="q8_0", n_prefill=64, layouts=())
    assert settings(here) == {}
    assert {tried.setting: tried.verdict for tried in passed_over(here)} == dict.fromkeys(
        ("n_threads", "flash_attention", "n_ubatch", "layout"), "refused"
    )
    assert all(tried.why for tried in passed_over(here))


@given(
    n_cores=st.integers(1, 300), n_more=st.integers(0, 300), n_prefill=st.integers(1, 4096), kind=st.sampled_from(["cpu", "gpu", "both"])
)
def test_every_value_differs_from_the_default_and_can_be(n_cores: int, n_more: int, n_prefill: int, kind: str) -> None:
    for knob in knobs_for(Surroundings(kind, "f16", n_cores, min(512, n_cores + n_more), n_prefill)):
        assert len(set(knob.values)) == len(knob.values) > 0
        for value in knob.values:
            changed = UNTUNED.changed(knob.setting, value)
            assert changed.changes == {knob.setting: value}
            assert value != (n_cores if "threads" in knob.setting else None)
