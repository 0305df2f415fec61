"""A build whose AMX kernels end the process is found out by another process, once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qwq_local.llama import _amx
from qwq_local.llama._library import library


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A build with AMX, whose library can be replaced; the cache is a folder of its own."""
    library = tmp_path / "lib" / "libggml-cpu.so"
    library.parent.mkdir()
    library.write_bytes(b"one build")
    said = SimpleNamespace(llama_print_system_info=lambda: b"CPU : AVX2 = 1 | AMX_INT8 = 1 | ")
    monkeypatch.setattr(_amx, "library", lambda: said)
    monkeypatch.setattr(_amx, "library_folder", lambda: library.parent)
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    _amx.extra_buffers_work.cache_clear()
    yield library
    _amx.extra_buffers_work.cache_clear()


def ending(code: int, calls: list[list[str]]) -> Any:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(command)
        return subprocess.CompletedProcess(command, code)

    return run


@pytest.mark.parametrize(("code", "works"), [(0, True), (-11, False), (1, False)])
def test_a_trial_decides_once_for_a_build(build: Path, monkeypatch: pytest.MonkeyPatch, code: int, works: bool) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", ending(code, calls))
    assert _amx.extra_buffers_work() is works
    _amx.extra_buffers_work.cache_clear()
    assert _amx.extra_buffers_work() is works
    assert len(calls) == 1

    build.write_bytes(b"another build")
    _amx.extra_buffers_work.cache_clear()
    assert _amx.extra_buffers_work() is works
    assert len(calls) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b'{"build": [], "works": true}', b'"works"'])
def test_a_damaged_memory_of_it_is_no_memory(build: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: bytes) -> None:
    assert build.exists()
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", ending(-11, calls))
    kept = tmp_path / "data" / "cache" / _amx.FILE_NAME
    kept.parent.mkdir(parents=True)
    kept.write_bytes(damage)
    assert not _amx.extra_buffers_work()
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_only_costs_another_trial(build: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert build.exists()
    (tmp_path / "data").write_text("no folder")
    monkeypatch.setattr(subprocess, "run", ending(0, []))
    assert _amx.extra_buffers_work()


def test_a_trial_that_cannot_be_had_is_a_no_for_now_only(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.exists()

    def run(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert not _amx.extra_buffers_work()
    _amx.extra_buffers_work.cache_clear()
    monkeypatch.setattr(subprocess, "run", ending(0, []))
    assert _amx.extra_buffers_work()


def test_a_build_without_amx_is_not_tried(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.exists()
    said = SimpleNamespace(llama_print_system_info=lambda: b"CPU : AVX2 = 1 | ")
    monkeypatch.setattr(_amx, "library", lambda: said)
    monkeypatch.setattr(subprocess, "run", ending(-11, []))
    assert _amx.extra_buffers_work()


def test_the_trial_itself_runs_to_its_end_where_this_build_is_sound() -> None:
    _amx.extra_buffers_work.cache_clear()
    assert _amx._try() is _amx.extra_buffers_work() or b"AMX_INT8 = 1" not in library().llama_print_system_info()
