"""`qwq verify`: is the content of a model file what it should be?"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from qwq_local.cli.completing import values

if TYPE_CHECKING:
    from qwq_local.models.inventory import LocalModel
    from qwq_local.models.verify import Finding


@click.command("verify")
@click.argument("name", required=False, shell_complete=values.models)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str | None, *, as_json: bool) -> int:
    """Read the model NAME, or all models, through, and compare the content with the hash that is on record.

    The exit code is 1 where a file is damaged.

    \b
    Examples:
        qwq verify QwQ-32B:Q4_K_M
        qwq verify
    """
    from qwq_local.models.inventory import demo_model, local_models
    from qwq_local.models.store import find_local

    models = [find_local(name)] if name else [*local_models(), demo_model()]
    found = [(model, finding) for model in models for finding in check(model)]
    if as_json:
        rows = [
            {"name": model.name, "path": str(finding.path), "verdict": finding.verdict, "detail": finding.detail}
            for model, finding in found
        ]
        click.echo(json.dumps({"files": rows}, ensure_ascii=False))
    else:
        for model, finding in found:
            click.echo(f"{finding.verdict:10}  {model.name}  {finding.path.name}: {finding.detail}")
    damaged = [model.name for model, finding in found if finding.verdict == "damaged"]
    if damaged:
        click.echo(f"hint: Get it anew: qwq rm {damaged[0]} && qwq pull", err=True)
    return 1 if damaged else 0


def check(model: LocalModel) -> list[Finding]:
    """Verify one model, showing how far it is. Raises StoreError where a file cannot be read."""
    from qwq_local.cli.transfer import TransferBar
    from qwq_local.errors import StoreError
    from qwq_local.models.verify import verify

    bar = TransferBar(time.monotonic())
    try:
        return verify(model, lambda n_bytes: bar.update(f"reading {model.name}", n_bytes, model.file_bytes, time.monotonic()))
    except OSError as error:
        raise StoreError(f"{model.path} cannot be read: {error.strerror}.", hint="Check the disk.") from error
    finally:
        bar.clear()
