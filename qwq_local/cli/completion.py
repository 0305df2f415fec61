"""`qwq completion`: TAB in the shell."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Final

import click

from qwq_local.errors import SettingsError

SHELLS: Final = ("bash", "zsh", "fish", "powershell")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--install", "installs", is_flag=True, help="Put the script where the shell looks for it, and say where.")
@click.option("--remove", "removes", is_flag=True, help="Take it away again.")
def command(shell: str | None, *, installs: bool, removes: bool) -> None:
    """Print the script that lets SHELL complete qwq's commands, options, models, quantizations and chats.

    Without SHELL it is the one that $SHELL names.

    \b
    Examples:
        qwq completion bash --install
        qwq completion zsh > ~/.zfunc/_qwq
    """
    if installs and removes:
        raise SettingsError("--install and --remove are both given.", hint="Give one of them.")
    shell = shell or _own_shell()
    if installs:
        _install(shell)
    elif removes:
        _remove(shell)
    else:
        from qwq_local.cli.completing.shells import script

        click.echo(script(shell), nl=False)


def _install(shell: str) -> None:
    from qwq_local.cli.completing.installing import install

    path, then = install(shell)
    click.echo(str(path))
    click.echo(then or "A new shell completes qwq.", err=True)


def _remove(shell: str) -> None:
    from qwq_local.cli.completing.installing import place, remove, zsh_line

    path = remove(shell)
    if path is None:
        click.echo(f"{place(shell)} is not there, or not from qwq completion: nothing was removed.", err=True)
        return
    click.echo(str(path))
    if shell == "zsh":
        click.echo(f"If ~/.zshrc has this line for nothing else, take it out: {zsh_line(path)}", err=True)


def _own_shell() -> str:
    name = PurePath(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise SettingsError(f"The shell {name!r} cannot be completed in.", hint=f"Name one: qwq completion {SHELLS[0]}")
    return name
