"""Every attack of tests/server_attacks.py against a server with keys: what it was answered with, and whether the next request is answered.

python -m benchmarks.endpoint_attacks [--json FILE]
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from tests.server_attacks import ATTACKS, SECURED, chat, status
from tests.serving import running


@click.command()
@json_option
def main(json_path: Path | None) -> None:
    """Carry them out, one after the other; status 0 is a connection that was cut."""
    table = Table("attacks on the endpoint", ["attack", "status due", "seen", "the next request"])
    with running(SECURED) as endpoint:
        for attack in ATTACKS:
            table.add(attack.name, attack.expected, attack.carry_out(endpoint), status(endpoint, chat()))
    table.show(json_path)


if __name__ == "__main__":
    main()
