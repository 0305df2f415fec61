"""Several samples of one answer at once: the first to end is handed on, or the first with the result of the most."""

from __future__ import annotations

from qwq_local.race.results import result_of
from qwq_local.race.room import check_room
from qwq_local.race.stream import RaceStream

__all__ = ["RaceStream", "check_room", "result_of"]
