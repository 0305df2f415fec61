"""Schemathesis over the endpoint's own description: random requests, right and wrong, whose answers must be what is described."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance")
MORE_CHECKS = ("response_schema_conformance", "unsupported_method", "negative_data_rejection", "missing_required_header")


@dataclass(frozen=True)
class SchemaRun:
    """What came of a run: how many requests were sent, how many broke a check, and all that was printed."""

    n_cases: int
    n_failures: int
    output: str


def run_schemathesis(url: str, max_examples: int, folder: Path, phases: str = "examples,coverage,fuzzing") -> SchemaRun:
    """Send up to `max_examples` random requests to each route, and those that cover each field's borders."""
    checks = ",".join((*CHECKS, *MORE_CHECKS))
    options = ["--checks", checks, "--max-examples", str(max_examples), "--phases", phases, "--seed", "1", "--no-color"]
    options += ["--request-timeout", "60"]  # an answer of a busy machine is late, not wrong
    program = str(Path(sys.executable).with_name("schemathesis"))
    done = subprocess.run([program, "run", f"{url}/openapi.json", *options], cwd=folder, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    cases = re.search(r"([\d,]+) generated", output)
    failures = re.search(r"(\d+) unique failure", output)
    n_failures = int(failures[1]) if failures else int(done.returncode != 0)
    return SchemaRun(int(cases[1].replace(",", "")) if cases else 0, n_failures, output)
