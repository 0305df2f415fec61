"""What stands for llama.CpuMeter: it answers by a script, and keeps the CPU cool."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from qwq_local.machine.machine import Shared, rate_name
from qwq_local.quants import TensorType
from qwq_local.settings import KvType


class FakeMeter:
    """Rates by `rate_name`, `others` for all else; after `n_undisturbed` of them it is disturbed. `asked` lists what was measured."""

    def __init__(self, rates: Mapping[str, float] | None = None, others: float = 1e10, n_undisturbed: int = 1000) -> None:
        self._rates = rates or {}
        self._others = others
        self._n_undisturbed = n_undisturbed
        self.asked: list[str] = []
        self.n_open = 0

    @property
    def is_disturbed(self) -> bool:
        return len(self.asked) > self._n_undisturbed

    def weights_rate(self, tensor_type: TensorType, n_streams: int = 1) -> float:
        return self._rate(rate_name(Shared(tensor_type, n_streams)))

    def cache_rate(self, kv_type: KvType) -> float:
        return self._rate(rate_name(kv_type))

    def _rate(self, name: str) -> float:
        self.asked.append(name)
        return self._rates.get(name, self._others)

    def __enter__(self) -> Self:
        self.n_open += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.n_open -= 1
