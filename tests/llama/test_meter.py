"""The CPU's speed through ggml itself, and the layout of weights that llama.cpp would choose."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from qwq_local.errors import LoadError
from qwq_local.llama import CpuMeter, _layouts, _meter, cpu_build
from qwq_local.llama._ggml import ggml
from qwq_local.llama._tensor import Tensor
from qwq_local.quants import F32, WEIGHT_TYPES
from qwq_local.settings import KvType


@pytest.fixture(scope="module")
def meter() -> Iterator[CpuMeter]:
    with CpuMeter(1) as meter:
        yield meter


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meter, "MATRIX_BYTES", 2**21)
    monkeypatch.setattr(_meter, "MEASURE_SECONDS", 0.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", sorted(each.name for each in WEIGHT_TYPES))
def test_weights_of_every_type_are_multiplied(meter: CpuMeter, name: str) -> None:
    (tensor_type,) = (each for each in WEIGHT_TYPES if each.name == name)
    assert 1e6 < meter.weights_rate(tensor_type) < 1e13


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("n_streams", [2, 3, 5])
def test_weights_are_multiplied_by_several_vectors_at_once(meter: CpuMeter, monkeypatch: pytest.MonkeyPatch, n_streams: int) -> None:
    n_vectors: list[int] = []
    multiply = ggml().ggml_mul_mat

    def watch(context: int, matrix: int, vectors: int) -> int:
        n_vectors.append(Tensor.from_address(vectors).ne[1])
        product: int = multiply(context, matrix, vectors)
        return product

    monkeypatch.setattr(ggml(), "ggml_mul_mat", watch)
    assert 1e6 < meter.weights_rate(F32, n_streams) < 1e13
    assert n_vectors == [n_streams]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
def test_caches_are_attended_to(meter: CpuMeter, kv_type: KvType) -> None:
    assert 1e6 < meter.cache_rate(kv_type) < 1e13


def test_what_is_read_moves_through_the_whole_memory(meter: CpuMeter) -> None:
    n_bytes = _meter.MEMORY_BYTES // 3 - 5000
    meter._next(_meter.MEMORY_BYTES)
    starts = [meter._next(n_bytes) - int(meter._start) for _ in range(6)]
    assert starts[:3] == starts[3:]
    assert starts[0] == 0
    assert all(later - earlier >= n_bytes for earlier, later in itertools.pairwise([*starts[:3], _meter.MEMORY_BYTES]))


@pytest.mark.usefixtures("quick")
def test_threads_that_had_no_core_were_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuMeter, "_time", lambda *_: 1.0)
    for waited, disturbed in ((0.0, False), (0.1, False), (0.2, True), (30.0, True)):
        moments = iter([5.0, 5.0 + waited])
        monkeypatch.setattr(_meter, "waiting_seconds", lambda moments=moments: next(moments))
        with CpuMeter(1) as meter:
            meter.weights_rate(F32)
            assert meter.is_disturbed is disturbed


def test_too_little_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meter, "MEMORY_BYTES", 2**62)
    with pytest.raises(LoadError, match="too little memory"):
        CpuMeter(1)


@pytest.mark.usefixtures("quick")
def test_a_product_that_fails_is_an_error(meter: CpuMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggml(), "ggml_backend_graph_compute", lambda *_: -1)
    with pytest.raises(LoadError, match="status -1"):
        meter.weights_rate(F32)


# Layouts


class Ggml:
    """What stands for ggml: buffer types 1 (AMX), 2 (unknown), 3 (CPU_REPACK) and 4 (the CPU's own); GPUs may pin memory."""

    names: ClassVar = {1: b"AMX", 2: b"CPU_KLEIDIAI", 3: b"CPU_REPACK", 4: b"CPU"}

    def __init__(self, *, pins: bool = False, supports: tuple[int, ...] = (4,)) -> None:
        self._pins, self._supports = pins, supports
        self.chosen = 0
        self.open: list[int] = []

    def ggml_backend_buft_name(self, layout: int) -> bytes:
        return self.names[layout]

    def ggml_backend_dev_host_buffer_type(self, _: int) -> int | None:
        return 9 if self._pins else None

    def ggml_backend_dev_buffer_type(self, _: int) -> int:
        return 4

    def ggml_backend_buft_alloc_buffer(self, layout: int, _: int) -> int:
        self.chosen = layout
        self.open.append(layout)
        return layout

    def ggml_backend_buffer_free(self, buffer: int) -> None:
        self.open.remove(buffer)

    def ggml_backend_dev_supports_op(self, _device: int, _product: int) -> bool:
        return self.chosen in self._supports


def install(monkeypatch: pytest.MonkeyPatch, fake: Ggml, *, gpus: tuple[int, ...] = (), extra_work: bool = True) -> None:
    monkeypatch.setattr(_layouts, "ggml", lambda: fake)
    monkeypatch.setattr(_layouts, "handles_of", lambda *kinds: (7,) if "cpu" in kinds else gpus)
    monkeypatch.setattr(_layouts, "extra_buffers_work", lambda: extra_work)
    monkeypatch.setattr(_layouts, "_extra_layouts", lambda: [1, 2, 3])
    monkeypatch.setattr(_layouts, "_layouts", _layouts._layouts.__wrapped__)


def test_the_layouts_are_llama_cpps_less_those_that_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for fake, gpus, extra_work, layouts in (
        (Ggml(), (), True, (1, 3, 4)),
        (Ggml(), (), False, (4,)),
        (Ggml(), (8,), True, (1, 3, 4)),
        (Ggml(pins=True), (8,), True, (4,)),
        (Ggml(pins=True), (), True, (1, 3, 4)),
    ):
        with monkeypatch.context() as patch:
            install(patch, fake, gpus=gpus, extra_work=extra_work)
            assert _layouts._layouts() == layouts


@pytest.mark.parametrize(("supports", "layout"), [((1, 3, 4), 1), ((3, 4), 3), ((4,), 4)])
def test_the_first_layout_that_has_a_kernel_is_chosen(monkeypatch: pytest.MonkeyPatch, supports: tuple[int, ...], layout: int) -> None:
    matrix = SimpleNamespace(buffer=None)
    fake = Ggml(supports=supports)
    install(monkeypatch, fake)
    monkeypatch.setattr(_layouts, "Tensor", SimpleNamespace(from_address=lambda _: matrix))
    assert _layouts.choose_layout(1, 2) == (layout, layout)
    assert matrix.buffer == layout
    assert fake.open == [layout]


def test_weights_that_no_layout_has_a_kernel_for_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Ggml(supports=())
    install(monkeypatch, fake)
    monkeypatch.setattr(_layouts, "Tensor", SimpleNamespace(from_address=lambda _: SimpleNamespace()))
    with pytest.raises(LoadError):
        _layouts.choose_layout(1, 2)
    assert fake.open == []


def test_the_extra_layouts_of_this_build_have_names() -> None:
    names = [ggml().ggml_backend_buft_name(layout) for layout in _layouts._extra_layouts()]
    assert all(names)
    assert b"CPU" not in names


def test_a_build_is_told_by_version_features_and_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cpu_build()
    assert "llama-cpp-python" in before
    assert before.endswith("CPU")
    install(monkeypatch, Ggml())
    assert cpu_build() != before


def test_a_function_that_the_backend_lacks_is_an_error() -> None:
    with pytest.raises(LoadError, match="no ggml_backend_lost"):
        _layouts.cpu_function(b"ggml_backend_lost", None)


def test_a_build_that_does_not_load_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise LoadError("no library", hint="none")

    monkeypatch.setattr(_layouts, "handles_of", fail)
    monkeypatch.setattr(_layouts, "_layouts", _layouts._layouts.__wrapped__)
    with pytest.raises(LoadError, match="no library"):
        cpu_build()
