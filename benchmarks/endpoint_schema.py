"""The whole OpenAPI under fire: does any request get a 500, or an answer that is not what is described?

python -m benchmarks.endpoint_schema [--examples 60] [--json FILE]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from benchmarks.endpoint import serve
from benchmarks.options import json_option
from benchmarks.report import Table
from tests.schema_run import run_schemathesis


@click.command()
@click.option("--examples", default=60, show_default=True, help="Random requests to each route, beside those that cover its fields.")
@json_option
def main(examples: int, json_path: Path | None) -> None:
    """Run it on the demo model."""
    with serve("-m", "demo") as server, tempfile.TemporaryDirectory() as folder:
        run = run_schemathesis(server.url, examples, Path(folder))
        is_alive = server.get("/health")[0] == 200
    print(run.output[-4000:])
    table = Table("schemathesis over the whole OpenAPI", ["requests", "broken checks", "alive afterwards"])
    table.add(run.n_cases, run.n_failures, "yes" if is_alive else "no")
    table.show(json_path)


if __name__ == "__main__":
    main()
