"""`qwq doctor`: what is wrong here, and the command that mends it."""

from __future__ import annotations

import click

from qwq_local.cli.completing import values


@click.command("doctor")
@click.option("--fix", "fixes", is_flag=True, help="Mend what is wrong, each after asking: run the commands, exchange llama.cpp.")
@click.option("--dry-run", "is_dry", is_flag=True, help="With --fix or --undo: print what would be done, in order, and do nothing.")
@click.option("--yes", "is_sure", is_flag=True, help="With --fix: don't ask.")
@click.option(
    "--build",
    metavar="NAME",
    shell_complete=values.builds,
    help="With --fix: put this build of llama.cpp in place, and do nothing else: cpu, cu124, metal, vulkan ...",
)
@click.option(
    "--index-url", "index", metavar="URL", help="With --fix: a mirror of the builds, an address or a folder with a folder for each."
)
@click.option("--undo", "undoes", is_flag=True, help="Put back the llama.cpp that was before the last exchange; needs no network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0913 - one argument an option
    *, fixes: bool, is_dry: bool, is_sure: bool, build: str | None, index: str | None, undoes: bool, as_json: bool
) -> int:
    """Look for what is wrong on this machine, and print the command that mends it.

    With --fix, a llama.cpp that leaves the GPU idle or does not run is exchanged for the build that suits this machine: it is tried before
    anything is changed, and --undo puts the old one back.

    The exit code is 1 where something is wrong and was not mended.

    \b
    Examples:
        qwq doctor
        qwq doctor --fix --dry-run
        qwq doctor --fix
        qwq doctor --fix --build vulkan
        qwq doctor --undo
    """
    from qwq_local.cli import doctoring

    doctoring.check_options(
        fixes=fixes, undoes=undoes, only_with_fix={"--yes": is_sure, "--build": build, "--index-url": index}, is_dry=is_dry
    )
    if undoes:
        return doctoring.undo(is_dry=is_dry, as_json=as_json)
    if fixes:
        return doctoring.Fixing(doctoring.Manner(is_dry, is_sure, as_json), build, index).run()
    return doctoring.look(as_json=as_json)
