"""Convert a checkpoint: its weights are read once, chunk by chunk, and written to every wanted file at once."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from qwq_convert.encoding import Encoder
from qwq_convert.journal import Binding, Journal
from qwq_convert.plan import ConversionChoices, ConversionPlan, plan_conversion
from qwq_convert.publish import publish
from qwq_convert.report import ConversionReport, ConvertedFile
from qwq_convert.weights import Column
from qwq_convert.writer import GgufFile, PlannedFile, Standing, inspect, nothing
from qwq_local.errors import ConversionError

__all__ = ["ConversionChoices", "ConversionProgress", "convert"]

DEFAULTS = ConversionChoices()


@dataclass(frozen=True)
class ConversionProgress:
    """How far a stage of a conversion is ("checking" what a former run left, or "converting"), in bytes read, and what is at hand."""

    stage: str
    done_bytes: int
    total_bytes: int
    at: str


Listener = Callable[[ConversionProgress], object]


def convert(
    source: Path,
    out_dir: Path,
    quantizations: Sequence[str],
    choices: ConversionChoices = DEFAULTS,
    *,
    progress: Listener | None = None,
    notice: Callable[[str], object] | None = None,
) -> ConversionReport:
    """Convert the checkpoint in the folder `source` to `out_dir`/NAME-QUANTIZATION.gguf for each of `quantizations`.

    A run that was ended in any way leaves .part files, and the same call goes on from them: the files it makes are the same to the byte.
    SHA256SUMS and README.md are written beside them. `notice` hears what a user should know.

    Raises:
        SettingsError: an unknown quantization, or a choice that cannot be.
        ConversionError: the checkpoint, the disk or an existing file stands in the way. A file that has its final name is whole.
    """
    started_at = time.perf_counter()
    plan = plan_conversion(source, out_dir, quantizations, choices)
    _make_folder(out_dir)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(out_dir / f"{plan.name}.journal.part"))
        run = _Run(plan, journal, progress or _ignore, notice or _ignore)
        _require_space(out_dir, run.missing_bytes(force=choices.force))
        standings = [run.standing(file, force=choices.force) for file in plan.files]
        files = [
            stack.enter_context(GgufFile(file, standing, journal, plan.binding(file)))
            for file, standing in zip(plan.files, standings, strict=True)
        ]
        with Encoder(choices.threads, allow_nonfinite=choices.allow_nonfinite) as encoder:
            run.stream(files, encoder)
        for file in files:
            file.bring_to_disk()
        for file in files:
            file.give_name()
        report = _report(plan, files, time.perf_counter() - started_at, sum(map(_resumed_bytes, plan.files, standings)))
        for text in publish(out_dir, report, plan.metadata):
            run.notice(text)
        journal.close_files(file.path.name for file in plan.files)
    return report


class _Run:
    def __init__(self, plan: ConversionPlan, journal: Journal, progress: Listener, notice: Callable[[str], object]) -> None:
        self.notice = notice
        self._plan = plan
        self._journal = journal
        self._progress = progress

    def missing_bytes(self, *, force: bool) -> int:
        """What the files will still take of the disk; raises ConversionError where one exists that is not this conversion's."""
        missing_bytes = 0
        for file in self._plan.files:
            is_finished = self._is_finished(file)
            if file.path.exists() and not is_finished and not force:
                raise ConversionError(f"{file.path} exists already.", hint="Keep it, or replace it with --force.")
            if not is_finished:
                missing_bytes += file.file_bytes - (file.part.stat().st_size if file.part.exists() else 0)
        return missing_bytes

    def standing(self, file: PlannedFile, *, force: bool) -> Standing:
        """What a former run has left of `file`, checked."""
        record = self._journal.records.get(file.path.name)
        if record is None or (difference := _difference(record.binding, self._plan.binding(file))):
            if file.part.exists():
                why = f"it was begun with another {difference}" if record else "nothing tells how it was begun"
                self.notice(f"{file.part.name} starts anew: {why}.")
            return nothing()
        done_bytes = 0

        def advance(n_bytes: int) -> None:
            nonlocal done_bytes
            done_bytes += n_bytes
            self._progress(ConversionProgress("checking", done_bytes, file.borders[len(record.sums) - 1], file.path.name))

        was_finished = self._is_finished(file)
        standing = inspect(file, record, advance)
        if was_finished and not standing.is_final and not force:
            raise ConversionError(f"{file.path} was finished, and changed since.", hint="Keep it, or replace it with --force.")
        return standing

    def stream(self, files: Sequence[GgufFile], encoder: Encoder) -> None:
        """Bring every tensor to every file that lacks it."""
        sources = self._plan.checkpoint.tensors
        importance: Mapping[str, Column] = self._plan.importance or {}
        total_bytes = sum(sources[tensor.source].size_bytes for tensor in self._plan.tensors)
        done_bytes = 0
        for tensor in self._plan.tensors:
            source, name = sources[tensor.source], tensor.target
            lacking = [file for file in files if file.lacks(name)]
            n_rows_done = 0
            types = {file.planned.types[name] for file in lacking}
            for encoded in encoder.encode(source, types, importance.get(name)) if lacking else ():
                for file in lacking:
                    file.append(name, encoded[file.planned.types[name]])
                n_rows_done += len(next(iter(encoded.values())))
                at_bytes = done_bytes + source.size_bytes * n_rows_done // source.n_rows
                self._progress(ConversionProgress("converting", at_bytes, total_bytes, tensor.source))
            done_bytes += source.size_bytes

    def _is_finished(self, file: PlannedFile) -> bool:
        """Whether a former run says it had given `file` its final name already, and was ended before it could say so of all."""
        record = self._journal.records.get(file.path.name)
        if record is None or file.part.exists() or not file.path.exists():
            return False
        return len(record.sums) == len(file.borders) and not _difference(record.binding, self._plan.binding(file))


def _ignore(_: object) -> None:
    """Nobody listens."""


def _difference(found: Binding, due: Binding) -> str:
    """Which of the things that a file depends on is another now; empty where none is."""
    return next((key for key, value in due.items() if found.get(key) != value), "")


def _make_folder(out_dir: Path) -> None:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(f"{out_dir} cannot be written to: {error.strerror}.", hint="Choose another --out.") from error


def _require_space(out_dir: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(out_dir).free
    if free_bytes < needed_bytes:
        raise ConversionError(
            f"{out_dir} has {free_bytes:,} bytes free, and {needed_bytes:,} are needed.",
            hint="Free some, or ask for fewer quantizations at once.",
        )


def _resumed_bytes(file: PlannedFile, standing: Standing) -> int:
    return file.borders[len(standing.sums) - 1] if standing.sums else 0


def _report(plan: ConversionPlan, files: Sequence[GgufFile], seconds: float, resumed_bytes: int) -> ConversionReport:
    made = iter(files)
    converted = tuple(_converted(output.quantization.name, next(made)) for output in plan.outputs for _ in output.files)
    origin = plan.provenance
    return ConversionReport(
        plan.name, plan.n_parameters, origin.repository, origin.revision, origin.sha256, converted, seconds, resumed_bytes
    )


def _converted(quantization: str, file: GgufFile) -> ConvertedFile:
    counts = Counter(tensor_type.name for tensor_type in file.planned.types.values())
    return ConvertedFile(file.planned.path, quantization, file.planned.file_bytes, counts, file.sha256)
