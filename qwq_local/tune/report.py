"""What a tuning found: the best, beside the defaults, and all that was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from qwq_local.configuration import find_folders
from qwq_local.loading import LoadPlan
from qwq_local.machine import tuned
from qwq_local.machine.tuned import Kept, TunedFor
from qwq_local.settings import KvType
from qwq_local.tune.search import Aspect, Comparison, Tried
from qwq_local.tune.trials import Sizes
from qwq_local.tuning import UNTUNED, Tuning


@dataclass(frozen=True)
class TuneReport:
    """All that was found.

    `tried` holds what was passed over too. `rates` are the tokens a second untuned, `cache_types` those with the best tuning and each
    number format of the KV cache, as far as there was time. `why_not_kept` says why the tuning must not be stored, or nothing; `notes` are
    things that whoever reads the figures should know.
    """

    plan: LoadPlan
    key: TunedFor
    best: Tuning
    tried: tuple[Tried, ...]
    last: Comparison | None
    rates: Mapping[Aspect, float]
    cache_types: Mapping[KvType, Mapping[Aspect, float]]
    sizes: Sizes
    seconds: float
    is_small: bool
    why_not_kept: str
    notes: tuple[str, ...]

    def keep(self) -> bool:
        """Let every later load use it, also where it is the defaults; False where the folder cannot be written."""
        assert not self.why_not_kept, "asked only where it may be kept"
        gains = {str(aspect): gain for aspect, gain in self.last.gains.items()} if self.last and self.best != UNTUNED else {}
        try:
            tuned.keep(find_folders().cache, Kept(self.key, self.best, gains, f"{datetime.now(UTC):%Y-%m-%d}"))
        except OSError:
            return False
        return True
