from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from qwq_local.errors import LoadError
from qwq_local.llama import _devices, _ggml, list_devices


def fake(monkeypatch: pytest.MonkeyPatch, kinds: list[int]) -> None:
    """A ggml with devices of these kinds, whose handles count from 100."""

    def memory(handle: int, free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = handle, 2 * handle

    functions = {
        "ggml_backend_dev_count": lambda: len(kinds),
        "ggml_backend_dev_get": lambda index: 100 + index,
        "ggml_backend_dev_name": lambda handle: f"CUDA{handle - 100}".encode(),
        "ggml_backend_dev_description": lambda handle: None if handle == 100 else b"NVIDIA \xff",
        "ggml_backend_dev_memory": memory,
        "ggml_backend_dev_type": lambda handle: kinds[handle - 100],
        "ggml_backend_dev_buffer_type": lambda handle: handle + 1000,
        "ggml_backend_buft_name": lambda handle: f"buffer {handle}".encode(),
    }
    monkeypatch.setattr(_devices, "ggml", lambda: SimpleNamespace(**functions))


def test_this_machine_has_a_cpu_with_all_of_its_memory() -> None:
    (cpu, *_) = [device for device in list_devices() if device.kind == "cpu"]
    assert cpu.name == "CPU"
    assert cpu.description
    assert abs(cpu.total_bytes - psutil.virtual_memory().total) < 2**30
    assert 0 < cpu.free_bytes <= cpu.total_bytes


def test_every_kind_of_device_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, [0, 1, 2, 3, 4])
    found = list_devices()
    assert [device.kind for device in found] == ["cpu", "gpu", "igpu", "accel", "accel"]
    assert [(device.free_bytes, device.total_bytes) for device in found[:2]] == [(100, 200), (101, 202)]
    assert [device.description for device in found[:2]] == ["", "NVIDIA \N{REPLACEMENT CHARACTER}"]


def test_no_device_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, [])
    with pytest.raises(LoadError, match="no device") as raised:
        list_devices()
    assert raised.value.hint


def test_a_library_without_these_functions_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_ggml._SIGNATURES, "ggml_backend_dev_lost", (None, []))
    with pytest.raises(LoadError, match="ggml_backend_dev_lost") as raised:
        _ggml.Ggml().ggml_backend_dev_lost()
    assert raised.value.hint


def test_a_library_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_ggml, "library_folder", lambda: tmp_path)
    with pytest.raises(LoadError, match="cannot be used") as raised:
        _ggml.load("ggml-lost")
    assert raised.value.hint
