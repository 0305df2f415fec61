"""Our importance matrix and llama-imatrix's, of qwq-nano on one text; and the IQ2_XS files that both make.

    python -m benchmarks.imatrix --tools TOOLS [CHECKPOINT] [--characters N] [--json FILE]

TOOLS is the folder with llama.cpp's llama-imatrix and llama-quantize, built from the source inside llama-cpp-python's package. The
models are converted without YaRN, which llama-imatrix would apply to chunks of any length. Exits with 1 where a value differs by 1e-3 or
more, or where our converter's IQ2_XS is not llama-quantize's.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import click
import gguf
import numpy as np

from benchmarks.commands import seconds_of
from benchmarks.options import json_option, tools_option
from benchmarks.oracle import quantize_command, run
from benchmarks.report import Table
from qwq_convert.imatrix import Importance, read_importance
from qwq_convert.metadata import YarnChoice
from qwq_convert.pipeline import ConversionChoices, convert
from tests.checkpoints import NANO
from tests.nano.tasks import draw

TOLERANCE = 1e-3
CHUNK_TOKENS = 512
QUANTIZATION = "IQ2_XS"
NO_YARN = YarnChoice(enabled=False)


def calibration_text(n_characters: int) -> str:
    """Problems of nano's kind with their worked answers."""
    rng = random.Random(3)
    parts: list[str] = []
    while sum(map(len, parts)) < n_characters:
        problem = draw(rng)
        questions = "".join(f"{message['content']}\n" for message in problem.messages)
        parts.append(f"{questions}{problem.reasoning}\n{problem.answer}\n\n")
    return "".join(parts)


def measure_ours(model: Path, text: Path, out: Path) -> float:
    """`qwq imatrix`."""
    return seconds_of(sys.executable, "-m", "qwq_local.cli", "imatrix", model, text, "--out", out, "--ctx", CHUNK_TOKENS)


def measure_theirs(tools: Path, model: Path, text: Path, out: Path, n_batch: int) -> float:
    """llama-imatrix, reading `n_batch` tokens at once: several chunks side by side where it is more than one takes."""
    return seconds_of(tools / "llama-imatrix", "-m", model, "-f", text, "-o", out, "-c", CHUNK_TOKENS, "-b", n_batch, "--no-ppl")


def largest_difference(ours: Importance, theirs: Importance) -> float:
    """Over all entries, relative to theirs."""
    if ours.keys() != theirs.keys():
        raise ValueError(f"the files have different weights: {sorted(ours.keys() ^ theirs.keys())}")
    return max(float((np.abs(ours[name] - theirs[name]) / theirs[name]).max()) for name in theirs)


def quantized(tools: Path, model: Path, imatrix: Path, out: Path) -> Path:
    """The file that llama-quantize makes with an importance matrix."""
    run(*quantize_command(tools, model, out, QUANTIZATION, options=("--imatrix", imatrix)))
    return out


def tensors(path: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of each tensor."""
    return {tensor.name: (tensor.tensor_type.name, tensor.data.tobytes()) for tensor in gguf.GGUFReader(path).tensors}


def compare_values(tools: Path, models: dict[str, Path], text: Path, folder: Path) -> tuple[Table, bool]:
    """Our matrix of each model against llama-imatrix's, and llama-imatrix's against its own in other batches."""
    columns = ["model", "tensors", "entries", "chunks", "largest relative difference", "theirs, other batches", "seconds", "theirs"]
    table = Table("qwq imatrix against llama-imatrix", columns)
    is_close = True
    for name, model in models.items():
        ours, theirs, others = (folder / f"{name}-{who}.gguf" for who in ("ours", "theirs", "others"))
        our_seconds = measure_ours(model, text, ours)
        their_seconds = measure_theirs(tools, model, text, theirs, 4 * CHUNK_TOKENS)
        measure_theirs(tools, model, text, others, CHUNK_TOKENS)
        found, due, other = map(read_importance, (ours, theirs, others))
        difference = largest_difference(found, due)
        entries = sum(values.size for values in due.values())
        is_close &= difference < TOLERANCE and found.n_chunks == due.n_chunks
        table.add(name, len(due), entries, due.n_chunks, difference, largest_difference(other, due), our_seconds, their_seconds)
    return table, is_close


def compare_files(tools: Path, checkpoint: Path, model: Path, folder: Path) -> tuple[Table, bool]:
    """IQ2_XS files by our converter and by llama-quantize, made from matrices in `folder`."""
    ours, theirs = folder / "F32-ours.gguf", folder / "F32-theirs.gguf"
    made = {
        "ours": tensors(
            convert(checkpoint, folder / "made-ours", [QUANTIZATION], ConversionChoices("a", NO_YARN, imatrix=ours)).files[0].path
        ),
        "ours, their matrix": tensors(
            convert(checkpoint, folder / "made-theirs", [QUANTIZATION], ConversionChoices("a", NO_YARN, imatrix=theirs)).files[0].path
        ),
        "llama-quantize": tensors(quantized(tools, model, ours, folder / "quantized-ours.gguf")),
        "llama-quantize, their matrix": tensors(quantized(tools, model, theirs, folder / "quantized-theirs.gguf")),
    }
    table = Table(f"{QUANTIZATION} with an importance matrix", ["file", "against", "tensors", "equal", "bytes that differ"])
    pairs = [
        ("ours", "llama-quantize"),
        ("ours, their matrix", "llama-quantize, their matrix"),
        ("llama-quantize", "llama-quantize, their matrix"),
    ]
    for file, against in pairs:
        pairs_of_bytes = [(made[file][name][1], content) for name, (_, content) in made[against].items()]
        differing = sum(sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs_of_bytes)
        equal = sum(made[file][name] == tensor for name, tensor in made[against].items())
        table.add(file, against, len(made[against]), equal, differing)
    return table, all(made[file] == made[against] for file, against in pairs[:2])


@click.command()
@tools_option
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path), default=NANO)
@click.option("--characters", default=60_000, show_default=True, help="Length of the text.")
@json_option
def main(tools: Path, checkpoint: Path, characters: int, json_path: Path | None) -> None:
    """Measure both, and print two tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "calibration.txt"
        text.write_text(calibration_text(characters), encoding="utf-8")
        files = convert(checkpoint, folder / "models", ["F32", "BF16"], ConversionChoices("nano", NO_YARN)).files
        models = {file.quantization: file.path for file in files}
        values, are_close = compare_values(tools, models, text, folder)
        values.show(json_path, "values")
        made, are_equal = compare_files(tools, checkpoint, models["F32"], folder)
        made.show(json_path, "files")
    sys.exit(0 if are_close and are_equal else 1)


if __name__ == "__main__":
    main()
