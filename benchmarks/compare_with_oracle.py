"""Compare our converter with llama.cpp's own tools, tensor by tensor and key by key, for every quantization.

    python -m benchmarks.compare_with_oracle --llama-cpp SOURCE --tools TOOLS [--python PYTHON] [--only NAME] [--quant TYPE] [--json FILE]

SOURCE is llama.cpp's source tree (inside llama-cpp-python's source package: vendor/llama.cpp), TOOLS the folder of its programs. PYTHON
is an interpreter that has what convert_hf_to_gguf.py needs, torch and transformers (the extra `reference`); by default this one. Ours goes
from the checkpoint at once, theirs by way of a file that keeps all (BF16, or F16 where the weights are). Exits with 1 where a difference is
found that is not on purpose.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import gguf
import numpy as np

from benchmarks.options import json_option, llama_cpp_option, python_option, tools_option
from benchmarks.oracle import OracleError, original_command, quantize_command, run
from benchmarks.random_checkpoint import write_checkpoint
from benchmarks.report import Table
from qwq_convert.checkpoint import open_checkpoint
from qwq_convert.imatrix import Dataset, write_importance
from qwq_convert.pipeline import convert
from qwq_convert.plan import ConversionChoices, plan_conversion
from qwq_local.errors import ConversionError
from qwq_local.quants import QUANTIZATIONS
from tests.checkpoints import NANO
from tests.shapes import make_config

MODEL_NAME = "compared"
CONVERTED = ("F32", "BF16", "F16", "Q8_0")
"""What convert_hf_to_gguf.py makes by itself."""

FROM_CARD = "from the model's card where generation_config.json says nothing"
YARN = "YaRN is on by default"
ORIGIN = "tells the source"
ON_PURPOSE = {
    "qwen2.context_length": "YaRN reaches further than max_position_embeddings says",
    "qwen2.rope.scaling.type": YARN,
    "qwen2.rope.scaling.factor": YARN,
    "qwen2.rope.scaling.original_context_length": YARN,
    "general.sampling.min_p": FROM_CARD,
    "general.sampling.temp": FROM_CARD,
    "general.sampling.top_k": FROM_CARD,
    "general.sampling.top_p": FROM_CARD,
    "general.source.url": ORIGIN,
    "general.source.repo_url": ORIGIN,
}
ORIGIN_PREFIX = "qwq_local.source."

# Wide rows of 5120 and long rows of 27648, with fewer rows than QwQ-32B has: a row is quantized by itself.
WIDE = make_config(2, 5120, 256, (40, 8), 512) | {"head_dim": 32}
LONG = make_config(2, 256, 27648, (4, 2), 512)
ODD = make_config(3, 320, 336, (5, 1), 520) | {"tie_word_embeddings": True}

CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "nano": lambda _: NANO,
    "rows of 5120": lambda folder: write_checkpoint(folder, WIDE, "BF16"),
    "rows of 27648": lambda folder: write_checkpoint(folder, LONG, "BF16"),
    "odd": lambda folder: write_checkpoint(folder, ODD, "F16", n_shards=2),
}


@dataclass
class Figures:
    """Counts of what was compared and what is equal, and the keys that are not."""

    tensors: int
    tensors_equal: int
    keys: int
    keys_equal: int
    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def keys_explained(self) -> int:
        """How many keys are equal, or differ on purpose."""
        return self.keys_equal + sum(1 for key in self.differences if reason(key))

    @property
    def is_exact(self) -> bool:
        """Whether there is no difference that is not on purpose."""
        return self.tensors == self.tensors_equal and self.keys == self.keys_explained


def compare(ours: Path, theirs: Path) -> Figures:
    """What differs between two files; tensors by type, shape and bytes, keys by type and value."""
    our_tensors, their_tensors = tensors(ours), tensors(theirs)
    our_keys, their_keys = metadata(ours), metadata(theirs)
    keys = sorted(our_keys.keys() | their_keys.keys())
    differences = {key: (our_keys.get(key), their_keys.get(key)) for key in keys if our_keys.get(key) != their_keys.get(key)}
    n_tensors = len(our_tensors.keys() | their_tensors.keys())
    n_equal = sum(our_tensors.get(name) == tensor for name, tensor in their_tensors.items())
    return Figures(n_tensors, n_equal, len(keys), len(keys) - len(differences), differences)


def tensors(path: Path) -> dict[str, Any]:
    """Type, shape and bytes of each tensor."""
    return {t.name: (t.tensor_type.name, t.shape.tolist(), t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}


def metadata(path: Path) -> dict[str, Any]:
    """Types and value of each key."""
    fields = gguf.GGUFReader(path).fields.items()
    return {key: ([t.name for t in f.types], f.contents()) for key, f in fields if not key.startswith("GGUF.")}


def write_random_importance(path: Path, checkpoint: Path) -> Path:
    """An importance matrix for every matrix that llama-imatrix would have values for, drawn at random."""
    source = convert(checkpoint, path.parent / "shapes", ["BF16"], ConversionChoices(MODEL_NAME)).files[0].path
    rng = np.random.default_rng(7)
    shapes = {tensor.name: tensor.shape.tolist() for tensor in gguf.GGUFReader(source).tensors}
    sums = {name: (rng.gamma(1.0, 100.0, shape[0]) + 1e-3, 128) for name, shape in shapes.items() if len(shape) == 2 and "blk." in name}
    write_importance(path, sums, Dataset("random", 1, 128))
    return path


@dataclass(frozen=True)
class Case:
    """One checkpoint, in a folder of its own, compared in every way."""

    llama_cpp: Path
    tools: Path
    python: str
    checkpoint: Path
    folder: Path
    n_threads: int

    def figures(self, quantizations: Sequence[str]) -> Iterator[tuple[str, str, Figures | None]]:
        """A quantization, what it was compared with, and what came out; None where one made it and the other refused."""
        whole = "F16" if any(tensor.dtype == "F16" for tensor in open_checkpoint(self.checkpoint).tensors.values()) else "BF16"
        lossless = self._original(whole, "lossless.gguf")
        imatrix = write_random_importance(self.folder / "imatrix.gguf", self.checkpoint)
        bare, weighed = self._ours(quantizations, None), self._ours(quantizations, imatrix)
        for quantization in quantizations:
            if quantization in CONVERTED:
                theirs = self._original(quantization, "theirs.gguf")
                yield quantization, "convert_hf_to_gguf", compare(bare[quantization], theirs)
            yield quantization, "llama-quantize", self._against_quantize(lossless, quantization, bare)
            yield quantization, "llama-quantize --imatrix", self._against_quantize(lossless, quantization, weighed, "--imatrix", imatrix)

    def _original(self, out_type: str, name: str) -> Path:
        """What convert_hf_to_gguf.py makes."""
        out = self.folder / name
        run(*original_command(self.llama_cpp, self.python, self.checkpoint, out, out_type, MODEL_NAME))
        return out

    def _ours(self, quantizations: Sequence[str], imatrix: Path | None) -> dict[str, Path]:
        """Our files, all made in one pass, of those quantizations that can be made so."""
        choices = ConversionChoices(MODEL_NAME, imatrix=imatrix, threads=self.n_threads)
        out = self.folder / ("weighed" if imatrix else "bare")
        possible = [each for each in quantizations if self._is_possible(each, choices)]
        return {file.quantization: file.path for file in convert(self.checkpoint, out, possible, choices).files}

    def _is_possible(self, quantization: str, choices: ConversionChoices) -> bool:
        try:
            plan_conversion(self.checkpoint, self.folder, [quantization], choices)
        except ConversionError:
            return False
        return True

    def _against_quantize(self, lossless: Path, quantization: str, ours: Mapping[str, Path], *options: object) -> Figures | None:
        theirs = self.folder / "theirs.gguf"
        try:
            run(*quantize_command(self.tools, lossless, theirs, quantization, self.n_threads, options))
        except OracleError:
            return None if quantization in ours else Figures(0, 0, 0, 0)
        return compare(ours[quantization], theirs) if quantization in ours else None


def reason(key: str) -> str:
    """Why a key may differ; empty where it may not."""
    return ORIGIN if key.startswith(ORIGIN_PREFIX) else ON_PURPOSE.get(key, "")


@click.command()
@llama_cpp_option
@tools_option
@python_option
@click.option("--only", multiple=True, type=click.Choice(list(CHECKPOINTS)), help="Only these checkpoints.")
@click.option("--quant", "quantizations", multiple=True, type=click.Choice(list(QUANTIZATIONS)), help="Only these quantizations.")
@click.option("--threads", "n_threads", default=2, show_default=True)
@json_option
def main(  # noqa: PLR0913 - one for each option
    *, llama_cpp: Path, tools: Path, python: str, only: Sequence[str], quantizations: Sequence[str], n_threads: int, json_path: Path | None
) -> None:
    """Convert each checkpoint with both converters and print a table."""
    table = Table("our files against llama.cpp's", ["checkpoint", "type", "against", "tensors", "equal", "keys", "equal or on purpose"])
    differences: dict[str, tuple[Any, Any]] = {}
    is_exact = True
    for label in only or CHECKPOINTS:
        with tempfile.TemporaryDirectory() as name:
            case = Case(llama_cpp, tools, python, CHECKPOINTS[label](Path(name) / "checkpoint"), Path(name), n_threads)
            for quantization, against, found in case.figures(quantizations or tuple(QUANTIZATIONS)):
                if found is None:
                    table.add(label, quantization, f"{against}: only one refuses", 0, 0, 0, 0)
                    is_exact = False
                    continue
                what = against if found.tensors else f"{against}: both refuse, no imatrix"
                table.add(label, quantization, what, found.tensors, found.tensors_equal, found.keys, found.keys_explained)
                differences |= found.differences
                is_exact &= found.is_exact
    table.show(json_path)
    for key, (ours, theirs) in sorted(differences.items()):
        print(f"{key}: ours {json.dumps(ours)}, theirs {json.dumps(theirs)}: {reason(key) or 'UNEXPECTED'}")
    sys.exit(0 if is_exact else 1)


if __name__ == "__main__":
    main()
