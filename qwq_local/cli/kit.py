"""`qwq kit`: all that QwQ needs on a machine without network."""

from __future__ import annotations

from pathlib import Path

import click

from qwq_local.cli.completing import values

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group("kit")
def command() -> None:
    """Gather all that QwQ needs on a machine without network into one folder, and check such a folder.

    \b
    Examples:
        qwq kit make /media/stick/qwq --quant Q4_K_M
        qwq kit check /media/stick/qwq
    Then, on the other machine, from that folder:
        ./install
    """


@command.command("make", short_help="Make a kit, or go on with one.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--quant",
    "quants",
    multiple=True,
    metavar="QUANT",
    shell_complete=values.published_quantizations,
    help="A quantization of QwQ-32B: that of this machine, or pulled. Repeatable.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    shell_complete=values.models,
    help="A model of qwq list, or a .gguf file. Repeatable.",
)
@click.option(
    "--platform",
    "platform_name",
    metavar="NAME",
    shell_complete=values.kit_platforms,
    help="linux-x86_64, linux-aarch64, macos-arm64 or windows-x86_64. [default: this one's]",
)
@click.option("--python", "pythons", metavar="VERSIONS", help="3.11,3.12,3.13 or some of them. [default: this one's]")
@click.option(
    "--build",
    metavar="NAME",
    shell_complete=values.builds,
    default="",
    help="llama.cpp's build: cpu, cu124, vulkan, metal… [default: cpu, on a Mac metal]",
)
@click.option("--with", "extras", metavar="EXTRAS", default="", help="Extras to put in: mcp, eval or both.")
@click.option("--native", "is_native", is_flag=True, help="Compile llama.cpp for this very processor: a bit faster, and only there.")
@_JSON
def make_command(  # noqa: PLR0913 - the options
    folder: Path,
    quants: tuple[str, ...],
    models: tuple[str, ...],
    platform_name: str | None,
    pythons: str | None,
    *,
    build: str,
    extras: str,
    is_native: bool,
    as_json: bool,
) -> None:
    """Gather this program, all that it needs, the models, checksums and an installer into the folder DIR.

    Interrupted, the same command goes on; on a finished kit it brings anew what is damaged. Without --quant and --model the kit has the
    demo model only.

    \b
    Examples:
        qwq kit make /media/stick/qwq --quant Q4_K_M
        qwq kit make kit --quant Q4_K_M --platform windows-x86_64 --python 3.11,3.12,3.13
        qwq kit make kit --model QwQ-32B:Q6_K --build cu124 --with mcp
    """
    from qwq_local.cli.kits import here_python, make, split
    from qwq_local.kit.installer.machine import this_platform
    from qwq_local.kit.platforms import find_platform
    from qwq_local.kit.wish import KitWish

    target = find_platform(platform_name or this_platform())
    versions = split(pythons or here_python())
    make(KitWish(target, versions, quants, models, build, split(extras), is_native), folder, as_json=as_json)


@command.command("check", short_help="Compare a kit's files with their hashes.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_JSON
def check_command(folder: Path, *, as_json: bool) -> int:
    """Read the kit in DIR through, and name every file that is damaged, missing or not the kit's.

    The exit code is 1 where there is one.

    \b
    Example:
        qwq kit check /media/stick/qwq
    """
    from qwq_local.cli.kits import check

    return check(folder, as_json=as_json)
