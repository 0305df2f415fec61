"""One divergence, from the two models' names to the figures.

The models are loaded one after the other, since two may not fit together; what the first one, the base, found likely waits on disk for the
other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from qwq_local.configuration import find_folders
from qwq_local.errors import SettingsError, StoreError
from qwq_local.likelihood.base_file import BaseFile, Maker, Rows, at_floor, decoded, encoded, file_bytes, write_head, write_maker
from qwq_local.likelihood.chunks import Chunks, ScoringSettings
from qwq_local.likelihood.figures import Divergence, Extent, divergence_of
from qwq_local.likelihood.reading import ScoredBackend, ScoringListener, cut_text, joined, scored_rows, scoring
from qwq_local.likelihood.scores import Compared, compared, in_pieces
from qwq_local.loading import LoadPlan, interruptibly, plan_load
from qwq_local.models.store import ModelFile, find
from qwq_local.models.tokens import TokenTable, read_tokens
from qwq_local.plan.reasons import gib

NOTEWORTHY_BYTES: Final = 2**28
"""Of disk: what takes less is not told."""
ROUNDING: Final = 1e-5
"""Nats: below that, a mean divergence may be as much rounding as difference, since the base's log-probabilities are kept in 16 bits."""


@dataclass(frozen=True)
class Base:
    """The base as it is scored: its file, the text in its tokens, their number, and how to load it."""

    file: ModelFile
    chunks: Chunks
    n_vocab: int
    plan: LoadPlan | None

    @property
    def maker(self) -> Maker:
        """What its log-probabilities are known by."""
        return Maker(self.file.path.name, self.file.path.stat().st_size)


def run_divergence(
    model: str, base: str, text: str, settings: ScoringSettings, listener: ScoringListener, kept: Path | None = None
) -> Divergence:
    """How far the model of that name is from a base, such as the one that it was quantized from, over a text.

    `settings.kv_type` concerns the model only. The base's log-probabilities are kept in the file `kept`, or taken from there where it
    exists; without one they are in a file that goes by itself. Raises what `loading.plan_load` raises, LoadError, DecodeError, PromptError
    for a text that is too short, SettingsError for models of different tokens and a file that does not fit, and StoreError where the disk
    refuses.
    """
    listener.begin("cutting the text into tokens")
    file, base_file = find(model), find(base)
    require_same_tokens(file, base_file)
    chunks, n_vocab = cut_text(base_file, text, settings)
    listener.begin("looking at this machine")
    plan = plan_load(model, settings.load)
    is_made = kept is not None and kept.exists()
    known = Base(base_file, chunks, n_vocab, None if is_made else plan_load(base, replace(settings, kv_type=None).load))
    with _base_rows(known, kept, listener) as rows:
        notes = (*plan.notices, *_notes_of(rows, known, kept))
        with scoring(plan, chunks, listener) as (backend, threads):
            found, n_at_floor = interruptibly(backend, partial(_compare, backend, known, rows, threads, listener))
    figures = divergence_of(file.name, base_file.name, Extent.of(chunks), found)
    return replace(figures, n_at_floor=n_at_floor, notes=(*notes, *_limits(figures, n_at_floor)))


def require_same_tokens(file: ModelFile, base: ModelFile) -> None:
    """Raise SettingsError unless each id is the same token in both, or fills up both."""
    ours, theirs = read_tokens(file.path), read_tokens(base.path)
    told = _difference(ours, theirs)
    if told:
        raise SettingsError(
            f"{file.name} cannot be compared with {base.name}, since {told}.", hint="Give as BASE the very model that MODEL was made of."
        )


def _difference(ours: TokenTable, theirs: TokenTable) -> str:
    if len(ours.texts) != len(theirs.texts):
        return f"it has {len(ours.texts):,} tokens and the base {len(theirs.texts):,}"
    for token, (text, other) in enumerate(zip(ours.texts, theirs.texts, strict=True)):
        if text != other and not (ours.is_padding(token) and theirs.is_padding(token)):
            return f"its token {token} is {ours.told(token)}, and the base's {theirs.told(token)}"
    return ""


@contextmanager
def _base_rows(base: Base, kept: Path | None, listener: ScoringListener) -> Iterator[BaseFile]:
    """The base's log-probabilities: those kept before, or made now."""
    try:
        if base.plan is None:
            assert kept, "only what was kept needs no model"
            with kept.open("rb") as file:
                yield BaseFile(file, kept, base.chunks, base.n_vocab)
        elif kept:
            _make_kept(base, kept, listener)
            with kept.open("rb") as file:
                yield BaseFile(file, kept, base.chunks, base.n_vocab)
        else:
            folder = find_folders().cache
            _require_room(folder, base, listener)
            with tempfile.TemporaryFile(dir=folder) as passing:
                _write(passing, base, listener)
                yield BaseFile(passing, folder, base.chunks, base.n_vocab)
    except OSError as error:
        where = kept or find_folders().cache
        raise StoreError(
            f"The base's log-probabilities cannot be kept in {where}: {error.strerror}.", hint="Name another file with --base-logits FILE"
        ) from error


def _make_kept(base: Base, kept: Path, listener: ScoringListener) -> None:
    """The file stands there only once it is whole."""
    _require_room(kept.parent, base, listener)
    part = kept.with_name(kept.name + ".part")
    try:
        with part.open("wb") as file:
            _write(file, base, listener)
            file.flush()
            os.fsync(file.fileno())
        part.replace(kept)
    finally:
        part.unlink(missing_ok=True)


def _require_room(folder: Path, base: Base, listener: ScoringListener) -> None:
    """Tell how much of the disk it takes; raise StoreError where there is less."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = file_bytes(base.chunks, base.n_vocab), shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"The base's log-probabilities take {gib(needed)} of disk, and {folder} has {gib(free)} free.",
            hint="Read fewer chunks (--chunks N), or name a file elsewhere: --base-logits FILE",
        )
    if needed >= NOTEWORTHY_BYTES:
        listener.notice(f"The base's log-probabilities take {gib(needed)} in {folder}.")


def _write(file: IO[bytes], base: Base, listener: ScoringListener) -> None:
    """All that the base finds likely."""
    assert base.plan, "it is loaded"
    write_head(file, base.chunks, base.n_vocab)
    with scoring(base.plan, base.chunks, listener) as (backend, threads):
        interruptibly(backend, partial(_write_rows, file, backend, base.chunks, threads, listener))
    write_maker(file, base.maker)


def _write_rows(file: IO[bytes], backend: ScoredBackend, chunks: Chunks, threads: ThreadPoolExecutor, listener: ScoringListener) -> None:
    for logits, _ in scored_rows(backend, chunks, lambda index: listener.on_progress("reading with the base", index, chunks.n_chunks)):
        for rows in in_pieces(threads, encoded, logits):
            file.write(rows.data)


def _compare(
    backend: ScoredBackend, base: Base, rows: BaseFile, threads: ThreadPoolExecutor, listener: ScoringListener
) -> tuple[Compared, int]:
    """The model beside its base, and at how many places the base's surprise is larger than can be told."""
    chunks = base.chunks
    found: list[Compared] = []
    n_at_floor = 0

    def compare(logits: NDArray[np.float32], base_rows: Rows, targets: NDArray[np.int32]) -> Compared:
        return compared(decoded(base_rows, base.n_vocab), logits, targets)

    for logits, targets in scored_rows(backend, chunks, lambda index: listener.on_progress("reading", index, chunks.n_chunks)):
        base_rows = rows.rows(len(targets))
        n_at_floor += at_floor(base_rows, targets)
        found += in_pieces(threads, compare, logits, base_rows, targets)
    surprises, base_surprises, divergences, is_same_top = zip(*found, strict=True)
    return Compared(joined([*surprises]), joined([*base_surprises]), joined([*divergences]), joined([*is_same_top])), n_at_floor


def _notes_of(rows: BaseFile, base: Base, kept: Path | None) -> tuple[str, ...]:
    """What is to be said of a file that was there before. Raises SettingsError where it was made by another model."""
    if rows.maker is None:
        return (f"{kept} does not say which model made it: {base.file.name} was not read.",)
    if rows.maker != base.maker:
        raise SettingsError(
            f"{kept} was made by {rows.maker.name} ({rows.maker.file_bytes:,} bytes), not by {base.maker.name}.",
            hint="Give that model as BASE, or another file with --base-logits.",
        )
    return ()


def _limits(found: Divergence, n_at_floor: int) -> Iterator[str]:
    """What 16 bits cannot tell."""
    if abs(found.divergence.value) < ROUNDING:
        yield "So small a divergence is rounding as much as difference: the base's log-probabilities are kept in 16 bits."
    if n_at_floor:
        yield (
            f"At {n_at_floor:,} of {found.extent.n_scored:,} places the text is less likely to the base than e^-16 of what it expects, "
            "which counts as that: the base's perplexity and the ratio are off, as llama-perplexity's are. See qwq perplexity."
        )
