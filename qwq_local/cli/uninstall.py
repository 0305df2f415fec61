"""`qwq uninstall`: away with all that this program has left here, but for what its user may miss."""

from __future__ import annotations

import click

_KEPT = {
    "chats": "Remove the chats too.",
    "evaluations": "Remove the runs of qwq eval too.",
    "models": "Remove the models that were pulled too.",
    "settings": "Remove the settings file too.",
}


@click.command("uninstall")
@click.option("--chats", is_flag=True, help=_KEPT["chats"])
@click.option("--evaluations", is_flag=True, help=_KEPT["evaluations"])
@click.option("--models", is_flag=True, help=_KEPT["models"])
@click.option("--settings", is_flag=True, help=_KEPT["settings"])
@click.option("--all", "takes_all", is_flag=True, help="Remove all of these too.")
@click.option("--keep-program", "keeps_program", is_flag=True, help="Leave the program itself: only what it has made here goes.")
@click.option("--dry-run", "tries", is_flag=True, help="Say what would go and what would stay, and change nothing.")
@click.option("--yes", "is_sure", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, takes_all: bool, keeps_program: bool, tries: bool, is_sure: bool, as_json: bool, **named: bool) -> int:
    """Remove qwq: its service, completions, caches, and the program itself, by whatever brought it.

    Chats, evaluations, models and settings stay unless they are named. First it is shown what goes and what stays, with sizes. Files of
    other programs are never touched. The exit code is 1 where something could not be removed; the same command then goes on.

    \b
    Examples:
        qwq uninstall --dry-run
        qwq uninstall --chats --models
    """
    from qwq_local.cli.leaving.leave import leave, look

    wanted = [kept for kept, is_named in named.items() if is_named or takes_all]
    found = look(wanted, keeps_program=keeps_program)  # type: ignore[arg-type] # the flags' names are those of Kept
    return leave(found, is_sure=is_sure, tries=tries, as_json=as_json)
