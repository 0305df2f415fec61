"""The endpoint's description is true: whatever is sent, the answer is what /openapi.json says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.schema_run import run_schemathesis
from tests.serving import Endpoint


def test_the_description_needs_nothing_from_elsewhere(endpoint: Endpoint) -> None:
    page = endpoint.get("/docs").text
    assert "cdn" not in page
    assert endpoint.get("/swagger/swagger-ui-bundle.js").status_code == 200


@pytest.mark.slow
def test_random_requests_are_answered_as_described(endpoint: Endpoint, tmp_path: Path) -> None:
    """Of all fields' borders thousands more are sent by `python -m benchmarks.endpoint_schema`."""
    run = run_schemathesis(endpoint.url, 20, tmp_path, "examples,fuzzing")
    assert run.n_cases > 400, run.output
    assert run.n_failures == 0, run.output
