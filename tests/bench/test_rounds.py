"""Rounds of reading and writing tokens, on a fake that audits what is asked of it."""

from __future__ import annotations

import pytest

from qwq_local.bench import BenchSettings
from qwq_local.bench.rounds import Rounds
from qwq_local.errors import SettingsError
from tests.fakes import FakeBackend


class TimedFake(FakeBackend):
    """Counts what was waited for; logits that are wanted need not be drawn from."""

    n_waits = 0

    def wait(self) -> None:
        self.n_waits += 1
        self._logits.clear()


def rounds_of(settings: BenchSettings, backend: TimedFake, heard: list[tuple[str, int, int]] | None = None) -> Rounds:
    return Rounds(backend, settings, lambda *told: heard.append(told) if heard is not None else None)


def test_a_prompt_is_read_from_an_empty_sequence_in_each_round_and_wants_its_last_logits_only() -> None:
    backend = TimedFake(n_ctx=64, n_batch=8)
    speeds = rounds_of(BenchSettings(n_prefill=20, n_decode=4, n_rounds=3), backend).prefill()
    assert (speeds.n_tokens, speeds.depth, len(speeds.rounds)) == (20, 0, 3)
    assert [len(batch) for batch in backend.batches] == [8, 8, 4] * 3
    assert all([entry.wants_logits for entry in batch] == [False] * (len(batch) - 1) + [True] for batch in backend.batches)
    assert [batch[0].position for batch in backend.batches] == [0, 8, 16] * 3
    assert backend.n_waits == 9
    backend.audit_idle()


def test_tokens_are_written_one_by_one_behind_as_many_as_wanted() -> None:
    backend = TimedFake(n_ctx=64, n_batch=8)
    speeds = rounds_of(BenchSettings(n_prefill=2, n_decode=3, depth=10, n_rounds=2), backend).decode(10)
    assert (speeds.n_tokens, speeds.depth) == (3, 10)
    assert [[entry.position for entry in batch] for batch in backend.batches] == [[*range(8)], [8, 9], *([[10], [11], [12]] * 2)]
    backend.audit_idle()


def test_the_median_of_the_rounds_is_told_and_only_what_belongs_to_them_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 200.0, 300.0, 301.0, 400.0, 402.0, 500.0, 504.0])
    backend = TimedFake(n_ctx=64, n_batch=8)
    rounds = rounds_of(BenchSettings(n_prefill=2, n_decode=4, n_rounds=3), backend)
    monkeypatch.setattr("qwq_local.bench.rounds.Contention", lambda: type("Calm", (), {"is_disturbing": True}))
    monkeypatch.setattr("time.perf_counter", lambda: next(moments))
    next(moments), next(moments)
    speeds = rounds.decode(0)
    assert speeds.rounds == (4.0, 2.0, 1.0)
    assert speeds.median == 2.0
    assert speeds.is_disturbed


def test_every_stage_tells_how_far_it_is() -> None:
    heard: list[tuple[str, int, int]] = []
    rounds = rounds_of(BenchSettings(n_prefill=10, n_decode=2, depth=9, n_rounds=2), TimedFake(n_ctx=64, n_batch=8), heard)
    rounds.warm_up()
    rounds.prefill()
    rounds.decode(0)
    rounds.decode(9)
    assert list(dict.fromkeys(stage for stage, _, _ in heard)) == ["warming up", "prefill", "decode", "reading 9 tokens", "decode behind 9"]
    assert [told[1:] for told in heard if told[0] == "prefill"] == [(0, 20), (8, 20), (10, 20), (18, 20)]
    assert [told[1:] for told in heard if told[0] == "decode"] == [(0, 4), (1, 4), (2, 4), (3, 4)]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_prefill": 0}, "prefill is 0"),
        ({"n_decode": -1}, "decode is -1"),
        ({"depth": -1}, "depth is -1"),
        ({"n_rounds": 0}, "rounds is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(wrong: dict[str, int], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        BenchSettings(**wrong)


def test_the_context_holds_the_longest_of_what_is_measured() -> None:
    assert BenchSettings(n_prefill=512, n_decode=128).n_ctx == 512
    assert BenchSettings(n_prefill=512, n_decode=128, depth=4096).n_ctx == 4224
    assert BenchSettings().depths == (0,)
    assert BenchSettings(depth=5).depths == (0, 5)
