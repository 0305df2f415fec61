"""Many threads at one tensor: pieces of its rows are read, checked and quantized side by side, and come out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Final, Self, TypeVar

from qwq_convert.quantize import Encoded, Quantizer, encode, require_expressible
from qwq_convert.weights import Column, SourceTensor
from qwq_local.llama import quantize_rows
from qwq_local.machine.hardware import usable_cores
from qwq_local.quants import TensorType

PIECE_BYTES: Final = 2**20
"""Rows as float32 that one thread takes at a time: all it does to them happens in its core's cache."""

PIECES_PER_THREAD: Final = 3
"""Pieces on their way for each thread: the one at hand, one that waits, and one that is done and waits for those before it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Encoder:
    """Quantizes tensors in `n_threads` threads, by default one for each core; to be used in a `with` block.

    Reading, widening, the check for NaN and infinity (unless `allow_nonfinite`) and quantizing are all done in the threads. At most
    PIECES_PER_THREAD pieces for each thread are in memory, whatever the size of a tensor.
    """

    def __init__(
        self,
        n_threads: int | None = None,
        *,
        allow_nonfinite: bool = False,
        quantize: Quantizer = quantize_rows,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._n_threads = n_threads or usable_cores()
        self._allow_nonfinite = allow_nonfinite
        self._quantize = quantize
        self._piece_bytes = piece_bytes

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._n_threads, "encoder")
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def encode(
        self, tensor: SourceTensor, types: Collection[TensorType], importance: Column | None = None
    ) -> Iterator[Mapping[TensorType, Encoded]]:
        """The bytes of the tensor's rows in each of `types`, some rows at a time, in order.

        `importance` weighs the columns (row length,). No rows are read before the first are asked for.

        Raises:
            ConversionError: the file cannot be read, or a weight is none or too large.
        """

        def work(piece: SourceTensor) -> dict[TensorType, Encoded]:
            rows = piece.read()
            require_expressible(tensor.name, rows, types, allow_nonfinite=self._allow_nonfinite)
            return {each: encode(tensor.name, rows, each, importance, self._quantize) for each in types}

        return in_order(self._pool, work, tensor.pieces(self._piece_bytes), PIECES_PER_THREAD * self._n_threads)


def in_order(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], n_ahead: int) -> Iterator[Result]:
    """`map(work, items)`, with at most `n_ahead` of them begun or done before their turn; an error comes out at its item's turn.

    However it ends, nothing that was not begun will be.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(waiting) == n_ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
