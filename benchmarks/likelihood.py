"""Our perplexity and divergence and llama-perplexity's, of qwq-nano at several quantizations and of a synthetic model.

    python -m benchmarks.likelihood --tools TOOLS [--characters N] [--json FILE]

TOOLS is the folder with llama.cpp's llama-perplexity, best of the version inside llama-cpp-python's package. Both read the same text in the
same chunks and batches, on the CPU, with an f16 cache. The models are converted without YaRN, which llama-perplexity would apply to chunks
of any length. Exits with 1 where one of our figures is off by 1e-3 of llama-perplexity's or more, beyond the last digit that it prints.

A second table has what remains between the two, and what keeping the base's log-probabilities in 16 bits does to either.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np

from benchmarks.imatrix import NO_YARN, calibration_text
from benchmarks.logits import log_softmax
from benchmarks.options import json_option, tools_option
from benchmarks.oracle import OracleError, run
from benchmarks.random_checkpoint import write_checkpoint
from benchmarks.report import Table
from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.likelihood import Divergence, ScoringListener, ScoringSettings, run_divergence, run_perplexity
from qwq_local.likelihood.base_file import rows_begin
from qwq_local.likelihood.chunks import Chunks
from qwq_local.likelihood.figures import Extent, divergence_of
from qwq_local.likelihood.reading import cut_text, scored_rows
from qwq_local.likelihood.scores import Compared, compared, in_pieces
from qwq_local.llama import LlamaBackend
from qwq_local.llama._amx import extra_buffers_work
from qwq_local.loading import context_shape
from qwq_local.machine.hardware import usable_cores
from qwq_local.models.store import find
from tests.checkpoints import NANO
from tests.shapes import make_config

TOLERANCE: Final = 1e-3
N_CTX: Final = 512
NANO_BASE: Final = "BF16"
NANO_QUANTIZATIONS: Final = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
SYNTHETIC: Final = make_config(2, 256, 512, (4, 2))
"""As many tokens as QwQ-32B knows, and rows that every quantization takes."""
SYNTHETIC_DEVIATION: Final = 0.3
"""Of its weights: then its logits are spread by 1.4 or so, and tokens are more and less likely."""
SYNTHETIC_BASE, SYNTHETIC_QUANTIZATIONS = "BF16", ("Q8_0", "Q4_K_M", "Q2_K")
SYNTHETIC_CHUNKS: Final = 2
SILENT: Final = ScoringListener()
MOST_TRIES: Final = 20
NUMBER: Final = r" *(-?[\d.]+|-?nan)"

REST: Final = [
    *("model", "items of the files that differ", "mean, our file", "mean, their file", "mean unrounded"),
    *("median", "median unrounded", "least", "least unrounded"),
]

FIGURES: Final[Mapping[str, tuple[str, float, Callable[[Divergence], float]]]] = {
    "perplexity": (r"Mean PPL\(Q\) +:", 1, lambda found: found.perplexity.value),
    "perplexity of the base": (r"Mean PPL\(base\) +:", 1, lambda found: found.base_perplexity.value),
    "ratio": (r"Mean PPL\(Q\)/PPL\(base\) +:", 1, lambda found: found.ratio.value),
    "ratio's error": (rf"Mean PPL\(Q\)/PPL\(base\) +:{NUMBER} ±", 1, lambda found: found.ratio.uncertainty),
    "mean KLD": (r"Mean    KLD:", 1, lambda found: found.divergence.value),
    "mean KLD's error": (rf"Mean    KLD:{NUMBER} ±", 1, lambda found: found.divergence.uncertainty),
    "median KLD": (r"Median  KLD:", 1, lambda found: found.divergences.median),
    "99 % KLD": (r"99\.0%   KLD:", 1, lambda found: found.divergences.by_share[0.99]),
    "99.9 % KLD": (r"99\.9%   KLD:", 1, lambda found: found.divergences.by_share[0.999]),
    "largest KLD": (r"Maximum KLD:", 1, lambda found: found.divergences.by_share[1.0]),
    "RMS change, %": (r"RMS Δp    :", 100, lambda found: found.change_rms.value),
    "same top, %": (r"Same top p:", 100, lambda found: found.same_top.value),
}
"""What llama-perplexity prints before each figure, what its unit is of ours, and where we have it."""


@dataclass(frozen=True)
class Pair:
    """A model and its base, and how many chunks of the text they read."""

    name: str
    model: Path
    base: Path
    n_chunks: int | None = None

    @property
    def settings(self) -> ScoringSettings:
        """How ours reads."""
        return ScoringSettings(N_CTX, self.n_chunks, n_gpu_layers=0)


@dataclass(frozen=True)
class Printed:
    """A figure of llama-perplexity's, and half of its last digit."""

    value: float
    half_digit: float


def theirs(tools: Path, pair: Pair, text: Path, base_logits: Path, *, is_base: bool) -> str:
    """What llama-perplexity says: one chunk at a time, as ours; weights stay as they are where ours do.

    It is asked again where the end of what it says is missing: its log may be lost when it exits (common/log.cpp).
    """
    n_threads = usable_cores()
    batches = ("-c", N_CTX, "-b", N_CTX, "-ub", N_CTX, "-t", n_threads, "-tb", n_threads, "-fa", "on", "-ngl", 0)
    layout = () if extra_buffers_work() else ("--no-repack",)
    chunks = () if pair.n_chunks is None else ("--chunks", pair.n_chunks)
    files = ("-m", pair.base if is_base else pair.model, "-f", text, "--kl-divergence-base", base_logits)
    work, last = ((), "Final estimate: PPL") if is_base else (("--kl-divergence",), "Same top p:")
    said = ""
    for _ in range(MOST_TRIES):
        said = run(tools / "llama-perplexity", *files, *batches, *layout, *chunks, *work)
        if last in said:
            return said
    raise OracleError(f"llama-perplexity says no {last!r}: {said[-2000:]}")


def printed(said: str, before: str) -> Printed:
    """The first number behind some text."""
    found = re.search(f"{before}{NUMBER}", said)
    assert found, f"llama-perplexity says nothing of {before}: {said[-2000:]}"
    number = found[found.lastindex or 1]
    return Printed(float(number), 0.5 * 10.0 ** -len(number.partition(".")[2]))


def difference(ours: float, due: Printed) -> tuple[float, bool]:
    """Relative to theirs, and whether that is close."""
    apart = abs(ours - due.value)
    return apart / abs(due.value) if due.value else float(apart > due.half_digit), apart < TOLERANCE * abs(due.value) + due.half_digit


def compare(tools: Path, pair: Pair, text: Path, folder: Path, table: Table) -> tuple[Divergence, bool]:
    """A row for each figure; our divergence, and whether all are close."""
    content = text.read_text("utf-8")
    their_base, our_base = (folder / f"{pair.base.stem}-{who}.logits" for who in ("theirs", "ours"))
    if not their_base.exists():
        said = theirs(tools, pair, text, their_base, is_base=True)
        perplexity = run_perplexity(str(pair.base), content, pair.settings, SILENT).perplexity
        table.add(pair.base.stem, "perplexity alone", *_cells(perplexity.value, printed(said, "Final estimate: PPL =")))
        table.add(pair.base.stem, "its error", *_cells(perplexity.uncertainty, printed(said, rf"Final estimate: PPL ={NUMBER} \+/-")))
    found = run_divergence(str(pair.model), str(pair.base), content, pair.settings, SILENT, our_base)
    said = theirs(tools, pair, text, their_base, is_base=False)
    is_close = True
    for name, (before, unit, figure) in FIGURES.items():
        ours, due = unit * figure(found), printed(said, before)
        table.add(pair.name, name, *_cells(ours, due))
        is_close &= difference(ours, due)[1]
    return found, is_close


def _cells(ours: float, due: Printed) -> tuple[float, float, float, str]:
    apart, is_close = difference(ours, due)
    return ours, due.value, apart, "yes" if is_close else "no"


def exact(pair: Pair, chunks: Chunks) -> Divergence:
    """The divergence from log-probabilities that were never rounded to 16 bits, which are kept in memory."""
    found: list[Compared] = []
    base: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    shape = context_shape(find(str(pair.base)), N_CTX)
    with closing(LlamaBackend(pair.base, shape, "native", 0)) as backend:
        base += [log_softmax(logits).astype(np.float32) for logits, _ in scored_rows(backend, chunks, lambda _: None)]
    with closing(LlamaBackend(pair.model, shape, "native", 0)) as backend, ThreadPoolExecutor(usable_cores()) as threads:
        for rows, (logits, targets) in zip(base, scored_rows(backend, chunks, lambda _: None), strict=True):
            found += in_pieces(threads, compared, rows, logits, targets)
    return divergence_of(pair.name, "", Extent.of(chunks), Compared(*map(np.concatenate, zip(*found, strict=True))))


def remaining(pair: Pair, found: Divergence, text: Path, folder: Path, table: Table) -> None:
    """A row: our figures from our file, from theirs, and without rounding; and how far the two files differ."""
    content = text.read_text("utf-8")
    their_base, our_base = (folder / f"{pair.base.stem}-{who}.logits" for who in ("theirs", "ours"))
    chunks, _ = cut_text(find(str(pair.base)), content, pair.settings)
    rounded = run_divergence(str(pair.model), str(pair.base), content, pair.settings, SILENT, their_base)
    unrounded = exact(pair, chunks)
    begin = rows_begin(chunks)
    ours, due = (np.fromfile(path, "<u2", offset=begin) for path in (our_base, their_base))
    table.add(
        pair.name,
        float((ours[: len(due)] != due).mean()),
        found.divergence.value,
        rounded.divergence.value,
        unrounded.divergence.value,
        found.divergences.median,
        unrounded.divergences.median,
        found.divergences.by_share[0.0],
        unrounded.divergences.by_share[0.0],
    )


def pairs_of(folder: Path) -> list[Pair]:
    """Nano at its quantizations, and beside itself; and a model of random weights with the vocabulary of a large one."""
    made = convert(NANO, folder, [NANO_BASE, *NANO_QUANTIZATIONS], ConversionChoices("nano", NO_YARN))
    nano = {file.quantization: file.path for file in made.files}
    checkpoint = write_checkpoint(folder / "random", SYNTHETIC, "BF16", deviation=SYNTHETIC_DEVIATION)
    made = convert(checkpoint, folder, [SYNTHETIC_BASE, *SYNTHETIC_QUANTIZATIONS], ConversionChoices("synthetic", NO_YARN))
    synthetic = {file.quantization: file.path for file in made.files}
    return [
        *(Pair(f"nano {quantization}", nano[quantization], nano[NANO_BASE]) for quantization in (NANO_BASE, *NANO_QUANTIZATIONS)),
        *(
            Pair(f"synthetic {quantization}", synthetic[quantization], synthetic[SYNTHETIC_BASE], SYNTHETIC_CHUNKS)
            for quantization in SYNTHETIC_QUANTIZATIONS
        ),
    ]


@click.command()
@tools_option
@click.option("--characters", "n_characters", default=30_000, show_default=True, help="Length of the text.")
@json_option
def main(tools: Path, n_characters: int, json_path: Path | None) -> None:
    """Compare all figures of all pairs."""
    figures = Table("perplexity and divergence, ours and llama-perplexity's", ["model", "figure", "ours", "theirs", "apart", "close"])
    rest = Table(
        "what remains: mean and median KLD by whose file of the base's log-probabilities, and without rounding them",
        REST,
    )
    is_close = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.txt"
        text.write_text(calibration_text(n_characters), "utf-8")
        for pair in pairs_of(folder):
            found, close = compare(tools, pair, text, folder, figures)
            # Nothing is lost from a model to itself: all that either says of it is rounding.
            is_close &= close or pair.model == pair.base
            remaining(pair, found, text, folder, rest)
    figures.show(json_path, "figures")
    rest.show(json_path, "rest")
    sys.exit(not is_close)


if __name__ == "__main__":
    main()
