"""A whole text as llama.cpp's own tools read a file (`--file` in common/arg.cpp, `common_tokenize` in common/common.cpp)."""

from __future__ import annotations

import ctypes
from typing import Any

from qwq_local.llama._library import library


def tokenize_whole(vocab: Any, text: str) -> list[int]:  # noqa: ANN401 - a llama_vocab
    """Token ids, not normalised: control tokens are ordinary text, and one newline at the end is dropped."""
    data = text.removesuffix("\n").encode("utf-8")
    room = len(data) + 2  # a token for each byte at most, and one at either end
    tokens = (ctypes.c_int32 * room)()
    count = library().llama_tokenize(vocab, data, len(data), tokens, room, True, False)
    if count < 0:
        raise AssertionError(f"the tokenizer gave {-count} tokens for {len(data)} bytes")
    return list(tokens[:count])


def chunk_start(vocab: Any) -> int | None:  # noqa: ANN401 - as above
    """The token that a chunk of a text is read with instead of its first, where the vocabulary has one for beginnings and says so."""
    lib = library()
    return int(lib.llama_vocab_bos(vocab)) if lib.llama_vocab_get_add_bos(vocab) else None
