"""`qwq pull`: model files from the hub."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qwq_local import card
from qwq_local.cli.completing import values
from qwq_local.errors import SettingsError

if TYPE_CHECKING:
    from qwq_local.models.hub import Hub
    from qwq_local.models.record import Record


@click.command("pull")
@click.argument("quantization", required=False, metavar="[QUANT]", shell_complete=values.published_quantizations)
@click.option("--repo", "repository", metavar="OWNER/NAME", help="Take it from this repository. [default: the first known one that has it]")
@click.option("--revision", default="main", show_default=True, metavar="NAME", help="Branch, tag or commit of the repository.")
@click.option("--offline", "is_offline", is_flag=True, help="Don't use the network; HF_HUB_OFFLINE=1 says so for all programs.")
@click.option("--json", "as_json", is_flag=True, help="Print what was pulled as one JSON object.")
def command(quantization: str | None, repository: str | None, revision: str, *, is_offline: bool, as_json: bool) -> None:
    """Download QwQ-32B as GGUF, in the quantization QUANT or the one that suits this machine.

    A download that was cut goes on where it was when the same command is given again. A file gets its name only when its content has the
    hash that the hub announced. The folder is QWQ_MODELS.

    \b
    Examples:
        qwq pull
        qwq pull Q4_K_M
        qwq pull IQ3_M --repo bartowski/Qwen_QwQ-32B-GGUF
    """
    from qwq_local.models.inventory import local_models

    wanted = (quantization or choose()).upper().removeprefix(f"{card.NAME.upper()}:")
    name = f"{card.NAME}:{wanted}"
    here = [model for model in local_models() if model.name == name and not model.problem] if repository is None else []
    if here:
        click.echo(f"{name} is here already: {here[0].path}", err=True)
        path = here[0].path
    else:
        path = fetch(wanted, [repository] if repository else list(card.GGUF_REPOSITORIES), revision, is_offline=is_offline)
    tell(path, as_json=as_json)


def choose() -> str:
    """The quantization that suits this machine. Raises SettingsError where none does."""
    from qwq_local.cli.activity import Activity
    from qwq_local.offers import offers_here
    from qwq_local.plan.plan import PlanWish
    from qwq_local.survey import plan_here

    with Activity("looking at this machine and its CPU's speed"):
        chosen = plan_here(offers_here(), PlanWish()).chosen
    if chosen is None:
        raise SettingsError(
            f"No quantization of {card.NAME} fits this machine.", hint="qwq plan says why. To pull one nevertheless, name it."
        )
    click.echo(f"{chosen.offer.quant} suits this machine (qwq plan says why).", err=True)
    return chosen.offer.quant


def fetch(quantization: str, repositories: list[str], revision: str, *, is_offline: bool) -> Path:
    """Find the files and pull them. Raises HubError, StoreError or SettingsError."""
    from qwq_local.cli.activity import Activity
    from qwq_local.models.hub import Hub

    hub = Hub(is_offline=is_offline)
    with Activity("asking the hub"):
        files = hub.find(quantization, repositories, revision)
    return bring(hub, files)


def bring(hub: Hub, files: Sequence[Record]) -> Path:
    """Pull files of the hub, showing how far it is; the path of the first. Raises HubError, StoreError or SettingsError."""
    from qwq_local.cli.terminal import notice
    from qwq_local.cli.transfer import TransferBar
    from qwq_local.configuration import find_folders
    from qwq_local.models.download import Listener, PullProgress, pull

    notice(f"{files[0].repository} at {files[0].revision[:7]}: {sum(file.size_bytes for file in files) / 1e9:.1f} GB")
    bar = TransferBar(time.monotonic())

    def show(progress: PullProgress) -> None:
        bar.update(progress.stage, progress.done_bytes, progress.total_bytes, time.monotonic())

    with bar.resumable():
        return pull(hub, files, find_folders().models, Listener(show, bar.say))


def tell(path: Path, *, as_json: bool) -> None:
    """Print what is here now."""
    from qwq_local.models.inventory import local_models

    (model,) = (model for model in local_models() if model.path == path)
    if as_json:
        facts = {"name": model.name, "files": [str(file) for file in model.paths], "file_bytes": model.file_bytes}
        click.echo(json.dumps(facts, ensure_ascii=False))
    else:
        click.echo(str(path))
