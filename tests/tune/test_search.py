"""The search on landscapes whose best is known, with noise and without, and a clock that only trials move."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import LoadError
from qwq_local.tune.search import ASPECTS, N_LAST_PAIRS, N_PAIRS, Aspect, Comparison, Findings, Knob, Search, is_better, is_worth_it
from qwq_local.tuning import UNTUNED, Tuning

KNOBS = (
    Knob("n_threads", (1, 3), ("decode",)),
    Knob("n_threads_batch", (1, 3), ("together", "prefill")),
    Knob("n_ubatch", (128, 256), ("prefill",)),
    Knob("layout", ("plain", "repacked")),
)
Factor = Mapping[tuple[str, Any], float]


@dataclass
class Landscape:
    """A machine whose speed is the product of what each setting makes of it, times a noise of so many per cent, and a drift."""

    factors: Mapping[Aspect, Factor]
    noise: float = 0.0
    seed: int = 0
    trial_seconds: float = 1.0
    drift: float = 0.0
    refuses: Callable[[Tuning], bool] = lambda _: False
    now: float = 0.0
    asked: list[tuple[Tuning, Aspect]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def clock(self) -> float:
        return self.now

    def speed(self, tuning: Tuning, aspect: Aspect) -> float:
        factor = self.factors.get(aspect, {})
        return math.prod(factor.get(setting, 1.0) for setting in tuning.changes.items())

    def measure(self, tuning: Tuning, aspect: Aspect) -> float:
        if self.refuses(tuning):
            raise LoadError("There is no such kernel.")
        self.asked.append((tuning, aspect))
        self.now += self.trial_seconds
        return 10 * self.speed(tuning, aspect) * math.exp(self._rng.gauss(0, self.noise) + self.drift * self.now)

    def pair_seconds(self, _before: Tuning, _after: Tuning, aspects: Sequence[Aspect]) -> float:
        return 2 * len(aspects) * self.trial_seconds

    def search(self, seconds: float = 1e6, knobs: Sequence[Knob] = KNOBS) -> Findings:
        return Search(self, seconds, self.clock).run(knobs)


def verdicts(findings: Findings) -> dict[tuple[str, Any], str]:
    return {(tried.setting, tried.value): tried.verdict for tried in findings.tried}


FACTORS = st.sampled_from([0.7, 0.9, 0.95, 1.0, 1.05, 1.1, 1.5])


@given(decode=FACTORS, together=FACTORS, prefill=FACTORS, ubatch=FACTORS, layout=FACTORS, drift=st.floats(-0.001, 0.001))
def test_the_best_of_a_separable_landscape_is_found(
    decode: float, together: float, prefill: float, ubatch: float, layout: float, drift: float
) -> None:
    land = Landscape(
        {
            "decode": {("n_threads", 3): decode, ("layout", "repacked"): layout},
            "together": {("n_threads_batch", 3): together},
            "prefill": {("n_threads_batch", 3): prefill, ("n_ubatch", 256): ubatch},
        },
        drift=drift,
    )
    found = land.search()
    assert found.best.n_threads == (3 if decode > 1 else None)
    assert found.best.n_ubatch == (256 if ubatch > 1 else UNTUNED.n_ubatch)
    assert found.best.layout == ("repacked" if layout > 1 else "auto")
    if abs(together * prefill - 1) > 0.01:  # nearer, the drift may decide
        assert found.best.n_threads_batch == (3 if max(together, prefill) > 1 and together * prefill > 1 else None)
    assert (found.last is None) is (found.best == UNTUNED)


def test_of_two_better_values_the_best_is_kept() -> None:
    land = Landscape({"decode": {("n_threads", 1): 1.2, ("n_threads", 3): 1.4}})
    found = land.search()
    assert found.best == Tuning(n_threads=3)
    assert verdicts(found)["n_threads", 1] == verdicts(found)["n_threads", 3] == "taken"
    assert found.last is not None
    assert found.last.gains == {"decode": pytest.approx(1.4), "together": 1.0, "prefill": 1.0}
    assert found.last.rates["decode"] == pytest.approx((10, 14))


def test_what_writes_slower_is_left_however_fast_it_reads() -> None:
    land = Landscape({"decode": {("layout", "repacked"): 0.95}, "prefill": {("layout", "repacked"): 2.0}})
    assert land.search().best == UNTUNED


def test_what_loses_more_than_it_gains_is_left() -> None:
    land = Landscape({"together": {("layout", "repacked"): 1.38}, "prefill": {("layout", "repacked"): 0.7}})
    assert land.search().best == UNTUNED
    land = Landscape({"together": {("layout", "repacked"): 1.38}, "prefill": {("layout", "repacked"): 0.8}})
    assert land.search().best == Tuning(layout="repacked")


def test_a_gain_within_two_per_cent_is_none() -> None:
    assert Landscape({"decode": {("n_threads", 1): 1.019}}).search().best == UNTUNED
    assert is_better([1.01, 1.03, 1.03])
    assert not is_better([1.0, 1.03, 1.03])
    assert not is_better([1.01, 1.01, 1.03])


def test_what_is_no_better_once_is_given_up_at_once() -> None:
    land = Landscape({})
    found = land.search()
    assert set(verdicts(found).values()) == {"left"}
    assert len(land.asked) == 2 * (2 * 1 + 2 * 2 + 2 * 1 + 2 * 3)


def test_before_and_after_are_measured_by_turns() -> None:
    land = Landscape({"decode": {("n_threads", 3): 1.5}})
    land.search(knobs=[Knob("n_threads", (3,), ("decode",))])
    a, b = UNTUNED, Tuning(n_threads=3)
    assert [tuning for tuning, _ in land.asked[: 2 * N_PAIRS]] == [a, b, b, a, a, b, b, a, a, b]


def test_what_does_not_run_is_refused_with_its_reason_and_the_search_goes_on() -> None:
    land = Landscape({"prefill": {("n_ubatch", 256): 1.3}}, refuses=lambda tuning: tuning.n_threads == 1)
    found = land.search()
    assert found.best == Tuning(n_ubatch=256)
    assert [tried.why for tried in found.tried if tried.verdict == "refused"] == ["There is no such kernel."]


def test_a_value_that_cannot_be_is_refused_too() -> None:
    assert verdicts(Landscape({}).search(knobs=[Knob("n_ubatch", (1,))])) == {("n_ubatch", 1): "refused"}


def test_a_model_that_does_not_run_at_all_is_an_error_of_each_trial() -> None:
    found = Landscape({}, refuses=lambda _: True).search()
    assert set(verdicts(found).values()) == {"refused"}
    assert found.best == UNTUNED


@given(seconds=st.floats(0, 200), gain=st.sampled_from([0.9, 1.0, 1.3]), trial_seconds=st.sampled_from([0.1, 1.0, 7.0]))
def test_it_ends_within_its_time_and_says_what_it_did_not_get_to(seconds: float, gain: float, trial_seconds: float) -> None:
    factors: Factor = {("n_threads", 1): gain, ("n_threads", 3): gain, ("layout", "plain"): gain}
    land = Landscape(dict.fromkeys(ASPECTS, factors), trial_seconds=trial_seconds)
    found = land.search(seconds)
    assert land.now <= seconds + 1e-6
    assert len(found.tried) == 8
    if seconds < N_LAST_PAIRS * 6 * trial_seconds:
        assert set(verdicts(found).values()) == {"not reached"}
    if gain > 1 and seconds > 199 and trial_seconds < 1:
        assert found.best != UNTUNED


def test_noise_alone_is_hardly_ever_stored_and_a_real_gain_nearly_always() -> None:
    """3 / 2**7 of 400 searches are 9.4; four standard deviations more are 22."""
    n_searches = 400
    of_nothing = [Landscape({}, noise=0.05, seed=seed).search().best for seed in range(n_searches)]
    assert sum(best != UNTUNED for best in of_nothing) <= 22
    better: dict[Aspect, Factor] = {"decode": {("n_threads", 1): 1.15}}
    of_something = [Landscape(better, noise=0.02, seed=seed).search().best for seed in range(100)]
    assert sum(best.n_threads == 1 for best in of_something) >= 95


def test_what_is_worse_by_more_than_the_noise_is_never_stored() -> None:
    worse: dict[Aspect, Factor] = {aspect: {(knob.setting, value): 0.8 for knob in KNOBS for value in knob.values} for aspect in ASPECTS}
    assert all(Landscape(worse, noise=0.03, seed=seed).search().best == UNTUNED for seed in range(200))


def test_a_last_comparison_that_disagrees_leaves_the_defaults() -> None:
    class Faded(Landscape):
        """Faster until it is looked at again."""

        def speed(self, tuning: Tuning, _aspect: Aspect) -> float:
            return 1.5 if tuning.n_threads == 1 and len(self.asked) <= 2 * N_PAIRS else 1.0

    found = Faded({}).search(knobs=[Knob("n_threads", (1,), ("decode",))])
    assert verdicts(found) == {("n_threads", 1): "taken"}
    assert found.best == UNTUNED
    assert found.last is not None


def test_worth_is_the_product_of_what_differs() -> None:
    def comparison(**gains: float) -> Comparison:
        return Comparison({aspect: (gain,) * 3 for aspect, gain in gains.items()}, {})  # type: ignore[misc]

    assert is_worth_it(comparison(decode=1.1))
    assert is_worth_it(comparison(decode=0.99, prefill=1.1))
    assert not is_worth_it(comparison(decode=0.97, prefill=1.1))
    assert not is_worth_it(comparison(decode=1.01))
    assert is_worth_it(comparison(decode=1.2, prefill=0.9))
    assert not is_worth_it(comparison(decode=1.2, prefill=0.8))
