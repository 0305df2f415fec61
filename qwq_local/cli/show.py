"""`qwq show`: what is in a model file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import click

from qwq_local.cli.completing import values

if TYPE_CHECKING:
    from qwq_local.gguf import GgufHeader, Value
    from qwq_local.models.inventory import LocalModel

_SHOWN_CHARACTERS = 100


@click.command("show")
@click.argument("name", shell_complete=values.models)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all the metadata.")
def command(name: str, *, as_json: bool) -> None:
    """Show what the model NAME says of itself, what it takes on this machine, and where it came from.

    \b
    Examples:
        qwq show QwQ-32B:Q4_K_M
        qwq show demo --json
    """
    from qwq_local.gguf import read_header
    from qwq_local.models.store import find_local

    model = find_local(name)
    facts = facts_of(model, [read_header(path) for path in model.paths])
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else "\n".join(to_lines(facts)))


def facts_of(model: LocalModel, headers: list[GgufHeader]) -> dict[str, Any]:
    """The object that `--json` prints; of the metadata, that of the first file, with arrays as their counts."""
    from dataclasses import asdict

    from qwq_local.models.record import read_record

    record = read_record(model.path)
    return {
        "name": model.name,
        "owner": model.owner,
        "files": [str(path) for path in model.paths],
        "file_bytes": model.file_bytes,
        "record": asdict(record) if record else None,
        "parameters": sum(prod(tensor.shape) for header in headers for tensor in header.tensors),
        "tensors": _by_type(headers),
        "here": on_this_machine(model),
        "metadata": {key: _plain(value) for key, value in headers[0].metadata.items()},
    }


def on_this_machine(model: LocalModel) -> dict[str, Any] | None:
    """The model's row of `qwq plan --json`; None for one that QwQ's engine does not run."""
    from qwq_local.cli.planning import candidate_json
    from qwq_local.errors import WrongArchitectureError
    from qwq_local.offers import offer_of_file
    from qwq_local.plan.plan import PlanWish
    from qwq_local.survey import plan_here

    try:
        offer = offer_of_file(model.paths, model.quantization, model.name)
    except WrongArchitectureError:
        return None
    plan = plan_here([offer], PlanWish())
    return candidate_json(plan.candidates[0], plan)


def to_lines(facts: Mapping[str, Any]) -> list[str]:
    """The same for people: long texts cut short."""
    from qwq_local.cli.list import size

    lines = [f"{facts['name']}  {size(facts['file_bytes'])}, {facts['parameters'] / 1e9:.3g} B parameters", *facts["files"]]
    if facts["record"]:
        lines.append(f"from {facts['record']['repository']} at {facts['record']['revision']}, SHA-256 {facts['record']['sha256']}")
    lines.extend(
        ["", *(f"{type_name:8} {row['tensors']:5} tensors  {size(row['bytes']):>9}" for type_name, row in facts["tensors"].items()), ""]
    )
    if here := facts["here"]:
        total_bytes = sum(part["total_bytes"] for part in here["memory"])
        verdict = f"about {here['tokens_per_second']:.3g} tokens/s" if here["fits"] else f"does not fit: {here['why']}"
        lines.extend([f"here: {size(total_bytes)} of memory with {here['n_ctx']:,} tokens of context, {verdict}", ""])
    for key, value in facts["metadata"].items():
        text = str(value).replace("\n", "\\n")
        lines.append(f"{key} = {text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'}")
    return lines


def _by_type(headers: list[GgufHeader]) -> dict[str, dict[str, int]]:
    rows: dict[str, dict[str, int]] = {}
    for tensor in (tensor for header in headers for tensor in header.tensors):
        row = rows.setdefault(tensor.type.name, {"tensors": 0, "bytes": 0})
        row["tensors"] += 1
        row["bytes"] += tensor.size_bytes
    return dict(sorted(rows.items(), key=lambda item: -item[1]["bytes"]))


def _plain(value: Value) -> object:
    from qwq_local.gguf import GgufArray

    return f"{value.count:,} items of {value.item_type.name}" if isinstance(value, GgufArray) else value
