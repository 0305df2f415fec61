"""The type of each tensor and the size of each quantization against llama-quantize's dry run, for whole models without their weights.

    python -m benchmarks.oracle_types --tools TOOLS [--facts tests/data/oracle_types.json] [--json FILE]

TOOLS is the folder of llama.cpp's programs. `--facts` writes what the dry runs said, for the tests. Exits with 1 where a type differs.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import click
import numpy as np

from benchmarks.options import json_option, tools_option
from benchmarks.oracle import chosen_types, write_without_weights
from benchmarks.report import Table
from qwq_convert.config import ModelConfig
from qwq_convert.imatrix import Dataset, write_importance
from qwq_local.quants import QUANTIZATIONS, Override, TensorType, choose_types, tensor_bytes
from tests.shapes import CONFIGS, OVERRIDES, shapes_of, summarize, traits_of

MIB = 2**20
ROUNDING_MIB = 0.006
"""The dry run tells two decimals."""
Facts: TypeAlias = dict[str, dict[str, dict[str, str]]]


def write_empty_importance(path: Path) -> None:
    """An importance matrix of one weight: its being there is what types depend on."""
    write_importance(path, {"blk.0.attn_q.weight": (np.ones(8), 1)}, Dataset("none", 1, 1))


def our_types(name: str, config: ModelConfig, *, has_imatrix: bool, overrides: Sequence[Override] = ()) -> dict[str, TensorType]:
    """What we choose."""
    return choose_types(QUANTIZATIONS[name], shapes_of(config), traits_of(config), has_imatrix=has_imatrix, overrides=overrides)


def total_bytes(types: Mapping[str, TensorType], config: ModelConfig) -> int:
    """Of all tensors."""
    shapes = shapes_of(config)
    return sum(tensor_bytes(chosen, shapes[name]) for name, chosen in types.items())


class Comparison:
    """One model under both choosers, in each way of running them."""

    def __init__(self, tools: Path, folder: Path) -> None:
        self._tools = tools
        self._folder = folder
        self._imatrix = folder / "imatrix.gguf"
        write_empty_importance(self._imatrix)
        self.table = Table(
            "types chosen, ours against llama-quantize --dry-run", ["model", "with", "quantizations", "tensors", "equal", "sizes equal"]
        )
        self.facts: Facts = {}
        self.is_equal = True

    def add(self, model: str, config: ModelConfig) -> None:
        """Compare all quantizations: bare, with an importance matrix, and with overrides."""
        path = self._folder / "hole.gguf"
        write_without_weights(path, config, shapes_of(config))
        self.facts[model] = {}
        overridden = [option for pattern, chosen in OVERRIDES for option in ("--tensor-type", f"{pattern}={chosen.name}")]
        ways: dict[str, Sequence[object]] = {"": (), "imatrix": ("--imatrix", self._imatrix), "overrides": overridden}
        for way, options in ways.items():
            overrides = [(re.compile(pattern), chosen) for pattern, chosen in OVERRIDES] if way == "overrides" else []
            n_tensors = n_equal = n_sizes_equal = 0
            for name in QUANTIZATIONS:
                theirs, their_mib = chosen_types(self._tools, path, name, options)
                ours = our_types(name, config, has_imatrix=way == "imatrix", overrides=overrides)
                n_tensors += len(ours)
                n_equal += sum(theirs.get(tensor) == chosen for tensor, chosen in ours.items())
                n_sizes_equal += abs(total_bytes(ours, config) / MIB - their_mib) <= ROUNDING_MIB
                self._note(model, f"{name} {way}".strip(), summarize(theirs))
            self.is_equal &= n_equal == n_tensors and n_sizes_equal == len(QUANTIZATIONS)
            self.table.add(model, way or "nothing", len(QUANTIZATIONS), n_tensors, n_equal, n_sizes_equal)

    def _note(self, model: str, key: str, said: dict[str, str]) -> None:
        """What differs from the bare run is kept for the tests."""
        if said != self.facts[model].get(key.partition(" ")[0]):
            self.facts[model][key] = said


def sizes() -> Table:
    """Bytes of QwQ-32B's tensors."""
    table = Table("bytes of QwQ-32B's tensors", ["quantization", "bytes", "with imatrix"])
    config = CONFIGS["QwQ-32B"]
    for name in QUANTIZATIONS:
        bare, weighed = (total_bytes(our_types(name, config, has_imatrix=has_imatrix), config) for has_imatrix in (False, True))
        table.add(name, f"{bare:,}", f"{weighed:,}" if weighed != bare else "the same")
    return table


def dump(facts: Facts) -> str:
    """JSON with a line for each quantization."""
    models = (
        f"{json.dumps(model)}: {{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(said)}" for key, said in entries.items()) + "\n}"
        for model, entries in facts.items()
    )
    return "{\n" + ",\n".join(models) + "\n}\n"


@click.command()
@tools_option
@click.option("--facts", type=click.Path(path_type=Path), help="Write what the oracle said, for the tests.")
@json_option
def main(tools: Path, facts: Path | None, json_path: Path | None) -> None:
    """Compare for every model of tests/shapes.py."""
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(tools, Path(folder))
        for model, config in CONFIGS.items():
            comparison.add(model, config)
    sizes().show()
    comparison.table.show(json_path)
    if facts is not None:
        facts.write_text(dump(comparison.facts), encoding="utf-8")
    sys.exit(0 if comparison.is_equal else 1)


if __name__ == "__main__":
    main()
