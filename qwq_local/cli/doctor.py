"""`qwq doctor`: what is wrong here, and the command that mends it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qwq_local.doctor.diagnosis import Trouble


@click.command("doctor")
@click.option("--fix", "fixes", is_flag=True, help="Run the commands that mend what is wrong, each after asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, fixes: bool, as_json: bool) -> int:
    """Look for what is wrong on this machine, and print the command that mends it.

    The exit code is 1 where something is wrong and was not mended.

    \b
    Examples:
        qwq doctor
        qwq doctor --fix
    """
    from qwq_local.doctor.diagnosis import diagnose
    from qwq_local.doctor.facts import gather

    found = diagnose(gather())
    troubles = [trouble for each in found.values() for trouble in each]
    if as_json:
        click.echo(json.dumps({"checks": {name: [asdict(trouble) for trouble in each] for name, each in found.items()}}))
        return 1 if troubles else 0
    for name, each in found.items():
        for trouble in each:
            click.echo(f"{name:10} {trouble.finding}\n{'':10} {trouble.command}")
        if not each:
            click.echo(f"{name:10} fine")
    mended = [trouble for trouble in troubles if fixes and mend(trouble)]
    return 1 if len(mended) < len(troubles) else 0


def mend(trouble: Trouble) -> bool:
    """Run a trouble's command after asking; whether it ran and succeeded."""
    from qwq_local.cli.rm import confirm

    if not trouble.can_run:
        click.echo(f"Run this yourself, in your own shell: {trouble.command}", err=True)
        return False
    try:
        confirm(f"{trouble.finding}\nRun {trouble.command}?", is_sure=False)
    except click.Abort:
        return False
    return subprocess.run(trouble.command, shell=True, check=False).returncode == 0  # noqa: S602 - shown and asked for
