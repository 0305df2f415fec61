"""`qwq service`: the REST endpoint as a service of this user."""

from __future__ import annotations

from typing import Any, Final

import click

from qwq_local.cli.serve import command as serve_command

NOT_FOR_SERVICES: Final = frozenset({"keys", "opens_page"})
"""Options of `qwq serve`: a key would stand in a file and in ps, and nobody looks on."""


@click.group("service")
@click.pass_context
def command(context: click.Context) -> None:
    """Have `qwq serve` started at login, and started again when it dies: a service of this user, who need be no administrator.

    \b
    Examples:
        qwq service install
        qwq service status
        qwq service remove
    """
    if context.invoked_subcommand == "install":  # the others work whatever the settings file says
        from qwq_local.configuration import read_configuration

        context.default_map = {"install": dict(read_configuration().arguments)}


@click.command("install", short_help="Install and start the service.")
@click.option("--replace", "replaces", is_flag=True, help="Replace the service that is there.")
@click.pass_context
def install_command(context: click.Context, /, *, replaces: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Install the service, start it, and wait until it answers; where it does not, nothing of it stays.

    All but --replace are options of qwq serve. What is not given here comes from the settings file, at every start.

    \b
    Examples:
        qwq service install
        qwq service install -m demo --port 9000
        qwq service install --api-key-file ~/.config/qwq/keys --host 0.0.0.0
        qwq service install --parallel 8 --idle-unload 600 --replace
    """
    from qwq_local.cli.servicing import install

    install(context, options, replaces=replaces)


install_command.params = [*(option for option in serve_command.params if option.name not in NOT_FOR_SERVICES), *install_command.params]
command.add_command(install_command)


@command.command("status", short_help="Say how the service is.")
@click.option("-n", "--lines", "n_lines", type=click.IntRange(min=0), default=5, show_default=True, metavar="N", help="Lines of its log.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status_command(n_lines: int, *, as_json: bool) -> int:
    """Say whether the service runs, since when, where and with which model, and what it told last.

    The exit code is 1 where it does not answer.

    \b
    Example:
        qwq service status -n 20
    """
    from qwq_local.cli.service_status import show_status

    return show_status(n_lines, as_json=as_json)


@command.command("remove", short_help="Stop and remove the service.")
def remove_command() -> None:
    """Stop the service and remove it; chats, models and settings stay.

    \b
    Example:
        qwq service remove
    """
    from qwq_local.cli.service_status import remove_service

    remove_service()
