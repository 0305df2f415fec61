"""`qwq rm`: away with a model."""

from __future__ import annotations

import sys

import click

from qwq_local.cli.completing import values
from qwq_local.errors import ModelNotFoundError, SettingsError


@click.command("rm")
@click.argument("name", shell_complete=values.own_model_names)
@click.option("--yes", "is_sure", is_flag=True, help="Don't ask.")
def command(name: str, *, is_sure: bool) -> None:
    """Delete the model NAME, or what an unfinished pull of it left, from the folder of models.

    Files of other programs are never deleted.

    \b
    Example:
        qwq rm QwQ-32B:Q4_K_M
    """
    from qwq_local.cli.list import size
    from qwq_local.models.store import find_local, find_unfinished, remove, remove_unfinished, require_owned

    pulls = find_unfinished(name)
    try:
        model = find_local(name)
    except ModelNotFoundError:
        if not pulls:
            raise
        model = None
    paths = [*(model.paths if model else ()), *(pull.path for pull in pulls)]
    if model:
        require_owned(model)
    confirm(f"Delete {', '.join(map(str, paths))}?", is_sure=is_sure)
    freed_bytes = (remove(model) if model else 0) + sum(remove_unfinished(pull) for pull in pulls)
    click.echo(f"{size(freed_bytes)} are free again.", err=True)


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask on a terminal; raises click.Abort for a no, and otherwise as `agrees`."""
    if not agrees(question, is_sure=is_sure):
        raise click.Abort


def agrees(question: str, *, is_sure: bool) -> bool:
    """Ask on a terminal; whether the answer is yes.

    Raises click.Abort for Ctrl-C and the end of input, SettingsError where nobody can be asked.
    """
    if is_sure:
        return True
    if not sys.stdin.isatty():
        raise SettingsError(f"{question} Nobody is here to answer.", hint="Say yes beforehand: --yes")
    return click.confirm(question, err=True)
