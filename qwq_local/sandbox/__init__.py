"""Programs that nobody has read, run where they can do no harm."""

from __future__ import annotations

from qwq_local.sandbox.capability import refusal
from qwq_local.sandbox.limits import End, Limits, Outcome
from qwq_local.sandbox.run import run_program

__all__ = ["End", "Limits", "Outcome", "refusal", "run_program"]
