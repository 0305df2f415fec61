"""What makes a model faster here without changing its answers, found by measuring."""

from __future__ import annotations

from qwq_local.tune.report import TuneReport
from qwq_local.tune.search import ASPECTS, Aspect, Comparison, Tried
from qwq_local.tune.trials import MOST_PREFILL, N_TOGETHER, Sizes
from qwq_local.tune.tune import TuneListener, run_tune

__all__ = ["ASPECTS", "MOST_PREFILL", "N_TOGETHER", "Aspect", "Comparison", "Sizes", "Tried", "TuneListener", "TuneReport", "run_tune"]
