"""`qwq list`: the models on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from qwq_local.models.inventory import LocalModel, UnfinishedPull


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, as_json: bool) -> None:
    """List the models on this machine, those of Hugging Face's cache, LM Studio and Ollama among them.

    Each NAME can be given to -m.

    \b
    Example:
        qwq list
    """
    from qwq_local.models.inventory import demo_model, local_models, unfinished_pulls

    models, pulls = [*local_models(), demo_model()], unfinished_pulls()
    if as_json:
        rows, halves = [model_json(model) for model in models], [pull_json(pull) for pull in pulls]
        click.echo(json.dumps({"models": rows, "unfinished": halves}, ensure_ascii=False))
        return
    click.echo("\n".join(table(models)))
    for pull in pulls:
        total = f" of {size(pull.total_bytes)}" if pull.total_bytes else ""
        click.echo(f"unfinished: {pull.file_name}, {size(pull.done_bytes)}{total} (qwq pull goes on with it, qwq rm drops it)", err=True)
    if len(models) == 1:
        click.echo("No QwQ-32B here yet: qwq pull", err=True)


def model_json(model: LocalModel) -> dict[str, Any]:
    """A model as `--json` prints it."""
    return {
        "name": model.name,
        "quantization": model.quantization,
        "file_bytes": model.file_bytes,
        "owner": model.owner,
        "files": [str(path) for path in model.paths],
        "problem": model.problem or None,
    }


def pull_json(pull: UnfinishedPull) -> dict[str, Any]:
    """An unfinished pull as `--json` prints it; `total_bytes` is null where it is not known any more."""
    return {"file": pull.file_name, "path": str(pull.path), "done_bytes": pull.done_bytes, "total_bytes": pull.total_bytes}


def table(models: Sequence[LocalModel]) -> Iterator[str]:
    """The lines for people; there is at least one model, the built-in one."""
    width = max(len(model.name) for model in models)
    yield f"{'NAME':{width}}  {'SIZE':>8}  WHERE"
    for model in models:
        yield f"{model.name:{width}}  {size(model.file_bytes):>8}  {model.owner}{f'  ({model.problem})' if model.problem else ''}"


def size(n_bytes: int) -> str:
    """A count of bytes as one would say it: 19.9 GB, 3.1 MB, 0.7 kB."""
    if n_bytes < 1e5:
        return f"{n_bytes / 1e3:.1f} kB"
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
