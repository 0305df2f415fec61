"""Where programs cannot be confined, what needs it is skipped, and says why."""

from __future__ import annotations

import pytest

from qwq_local.sandbox import refusal


@pytest.fixture
def confinement() -> None:
    if reason := refusal():
        pytest.skip(f"programs cannot be confined here: {reason}")
