"""How fast a model runs here, beside what the memory could give and what the plan predicted."""

from __future__ import annotations

from qwq_local.bench.bench import BenchListener, run_bench
from qwq_local.bench.report import BenchReport, Decoding
from qwq_local.bench.rounds import BenchSettings, Speeds

__all__ = ["BenchListener", "BenchReport", "BenchSettings", "Decoding", "Speeds", "run_bench"]
