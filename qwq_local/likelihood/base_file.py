"""A base model's log-probabilities in a file, as llama-perplexity writes it (`--kl-divergence-base`) and reads it (`--kl-divergence`).

The format is that of `perplexity`, `log_softmax` and `kl_divergence` in llama.cpp's tools/perplexity/perplexity.cpp, little-endian:
"_logits_", int32 tokens of a chunk, int32 tokens of the vocabulary, int32 chunks, the int32 tokens of all chunks; then a row for each place
that is scored: float32 scale, float32 least, and for each token of the vocabulary a uint16 n that stands for the log-probability least +
scale * n. An odd vocabulary has one more. Probabilities below e^-16 of the likeliest token's are raised to that.

Ours have the base's name after all rows, as JSON, where llama-perplexity does not look.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from qwq_local.errors import SettingsError
from qwq_local.likelihood.chunks import Chunks

MAGIC: Final = b"_logits_"
SIZES: Final = struct.Struct("<3i")
HEAD_ITEMS: Final = 4
"""Of 16 bits: the two floats before a row."""
STEPS: Final = np.float32(65535)
RANGE: Final = np.float32(16)
MOST_MAKER_BYTES: Final = 4096

Rows = NDArray[np.uint16]


@dataclass(frozen=True)
class Maker:
    """The model whose log-probabilities a file holds."""

    name: str
    file_bytes: int


def row_items(n_vocab: int) -> int:
    """The 16-bit items of a row."""
    return HEAD_ITEMS + n_vocab + n_vocab % 2


def rows_begin(chunks: Chunks) -> int:
    """Bytes before the first row."""
    return len(MAGIC) + SIZES.size + chunks.tokens.size * 4


def file_bytes(chunks: Chunks, n_vocab: int) -> int:
    """How large the file becomes, but for the maker's name."""
    return rows_begin(chunks) + chunks.n_chunks * chunks.n_scored * row_items(n_vocab) * 2


def encoded(logits: NDArray[np.float32]) -> Rows:
    """Rows of the file for rows of logits, (rows, vocabulary); computed in float32 as there, so that they are the same bits."""
    n_rows, n_vocab = logits.shape
    top = logits.max(1, keepdims=True)
    least = np.maximum(logits.min(1, keepdims=True), top - RANGE)
    log_sum = np.log(np.exp(logits - top).sum(1, keepdims=True, dtype=np.float64)).astype(np.float32)
    scale = (top - least) / STEPS
    # Logits that are all but equal are all the least: 1 / scale would be infinite.
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale >= np.finfo(np.float32).tiny)
    rows = np.zeros((n_rows, row_items(n_vocab)), "<u2")
    rows[:, :HEAD_ITEMS].view("<f4")[:] = np.hstack([scale, least - top - log_sum])
    steps = np.rint(inverse * (logits - least))
    rows[:, HEAD_ITEMS : HEAD_ITEMS + n_vocab] = np.where(logits > least, steps, np.float32(0))
    return rows


def decoded(rows: Rows, n_vocab: int) -> NDArray[np.float32]:
    """The log-probabilities that rows of the file stand for, (rows, vocabulary)."""
    head = rows[:, :HEAD_ITEMS].view("<f4")
    found: NDArray[np.float32] = rows[:, HEAD_ITEMS : HEAD_ITEMS + n_vocab] * head[:, :1] + head[:, 1:]
    return found


def at_floor(rows: Rows, targets: NDArray[np.int32]) -> int:
    """In how many rows the target is as unlikely as can be told."""
    return int((rows[np.arange(len(targets)), HEAD_ITEMS + targets] == 0).sum())


def write_head(file: IO[bytes], chunks: Chunks, n_vocab: int) -> None:
    """What stands before the rows."""
    file.write(MAGIC + SIZES.pack(chunks.n_ctx, n_vocab, chunks.n_chunks))
    file.write(chunks.tokens.astype("<i4").tobytes())


def write_maker(file: IO[bytes], maker: Maker) -> None:
    """What stands after them."""
    file.write(json.dumps(asdict(maker)).encode())


class BaseFile:
    """Reads rows in order, each once; `maker` is None where whoever wrote the file did not tell.

    Raises SettingsError where the file is none, is cut short, or was made of other chunks or of a vocabulary of another size.
    """

    def __init__(self, file: IO[bytes], path: object, chunks: Chunks, n_vocab: int) -> None:
        self._file, self._n_items = file, row_items(n_vocab)
        file.seek(0)
        head = file.read(len(MAGIC) + SIZES.size)
        if len(head) < len(MAGIC) + SIZES.size or not head.startswith(MAGIC):
            raise SettingsError(f"{path} holds no log-probabilities of a base model.", hint="Give another file, or the name of a new one.")
        n_ctx, found_vocab, n_chunks = SIZES.unpack_from(head, len(MAGIC))
        if n_ctx != chunks.n_ctx:
            raise SettingsError(f"{path} was made in chunks of {n_ctx:,} tokens, not {chunks.n_ctx:,}.", hint=f"Give --ctx {n_ctx}")
        if found_vocab != n_vocab:
            raise SettingsError(
                f"{path} was made with a vocabulary of {found_vocab:,} tokens, and the base has {n_vocab:,}.", hint="Give another file."
            )
        if n_chunks < chunks.n_chunks:
            raise SettingsError(
                f"{path} holds {n_chunks:,} chunks, and {chunks.n_chunks:,} are wanted.", hint=f"Give --chunks {n_chunks}, or another file."
            )
        if file.read(chunks.tokens.size * 4) != chunks.tokens.astype("<i4").tobytes():
            raise SettingsError(f"{path} was made of another text.", hint="Give the text that it was made of, or another file.")
        self._find_rows(path, len(head) + n_chunks * n_ctx * 4, n_chunks * chunks.n_scored)

    def _find_rows(self, path: object, begin: int, n_rows: int) -> None:
        end = begin + n_rows * self._n_items * 2
        length = self._file.seek(0, 2)
        if length < end:
            raise SettingsError(f"{path} is cut short: {length:,} of {end:,} bytes are there.", hint="Delete it, and it is made again.")
        self._file.seek(end)
        self.maker = _maker(self._file.read(MOST_MAKER_BYTES))
        self._file.seek(begin)

    def rows(self, n_rows: int) -> Rows:
        """The next so many."""
        return np.frombuffer(self._file.read(n_rows * self._n_items * 2), "<u2").reshape(n_rows, self._n_items)


def _maker(said: bytes) -> Maker | None:
    try:
        found = json.loads(said)
        return Maker(str(found["name"]), int(found["file_bytes"]))
    except (ValueError, TypeError, KeyError):
        return None  # llama-perplexity's own files end with the rows
