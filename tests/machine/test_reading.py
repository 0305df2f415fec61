"""How fast the RAM can be read."""

from __future__ import annotations

import pytest

from qwq_local.machine import hardware, reading
from qwq_local.machine.reading import read_bandwidth


def test_the_ram_is_read_at_a_speed_that_some_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE_BYTES", 2**16)
    assert 1e8 < read_bandwidth(2, 2**20, 0.001) < 1e13


def test_of_all_rounds_the_best_is_taken_of_all_threads_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([1.0, 2.0, 30.0, 40.0] + [5.0] * 100)
    monkeypatch.setattr(reading, "PIECE_BYTES", 64)
    monkeypatch.setattr(reading, "_rate", lambda *_: next(rates))
    assert read_bandwidth(2, 1024, 0.0) == 70


def test_no_more_than_a_quarter_of_the_free_ram_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(hardware, "ram_bytes", lambda: (2**30, 2**28))
    monkeypatch.setattr(reading, "_write", written.append)
    monkeypatch.setattr(reading, "_rate", lambda *_: 1.0)
    read_bandwidth(2)
    assert sum(written) * reading.PIECE_BYTES == 2**28 // 4
