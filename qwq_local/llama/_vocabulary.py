"""Text to tokens and back, by the vocabulary of a loaded model."""

from __future__ import annotations

import ctypes
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from qwq_local import card
from qwq_local.errors import LoadError
from qwq_local.hesitation import hesitation_tokens
from qwq_local.llama._library import library
from qwq_local.llama._model import LlamaModel
from qwq_local.llama._normal import normalized
from qwq_local.llama._plain_text import plain_pieces
from qwq_local.llama._whole_text import chunk_start, tokenize_whole

CONTROL: Final = 1 << 3
USER_DEFINED: Final = 1 << 4
"""`enum llama_token_attr` (include/llama.h)."""


class LlamaVocabulary:
    """Implements `qwq_local.backend.Vocabulary`. Raises LoadError where the markers of QwQ's format are missing."""

    def __init__(self, model: LlamaModel) -> None:
        self.handle: Any = model.vocab  # the llama_vocab
        self.n_tokens: int = library().llama_vocab_n_tokens(self.handle)
        self.piece = lru_cache(maxsize=8192)(self._piece)
        missing = [text for text in (card.IM_START, card.IM_END) if text not in self.markers]
        if missing:
            raise LoadError(
                f"The model's vocabulary has no {' and no '.join(missing)}, which QwQ's chat format needs.",
                hint="Use a GGUF of QwQ-32B or of another chat model of Qwen2's architecture.",
            )

    @cached_property
    def markers(self) -> dict[str, int]:
        """Every control and user-defined token, by its text."""
        lib, vocab = library(), self.handle
        marked = (t for t in range(self.n_tokens) if lib.llama_vocab_get_attr(vocab, t) & (CONTROL | USER_DEFINED))
        return {lib.llama_vocab_get_text(vocab, token).decode("utf-8"): token for token in marked}

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """QwQ's two end tokens, and whatever else the file says ends an answer."""
        ends = {self.markers[text] for text in card.END_TOKENS if text in self.markers}
        return frozenset(ends | {token for token in self.markers.values() if library().llama_vocab_is_eog(self.handle, token)})

    @cached_property
    def hesitation_tokens(self) -> tuple[int, ...]:
        """The tokens that hesitate (`qwq_local.hesitation`); a vocabulary may have none."""
        return hesitation_tokens(self.tokenize)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ordinary text: normalised as the checkpoint's tokenizer does, and never a marker."""
        return self.tokenize_verbatim(normalized(text))

    def tokenize_verbatim(self, text: str) -> list[int]:
        """The same without normalising: the tokens' bytes are the text's own."""
        return [token for piece in plain_pieces(text, self.markers) for token in self._tokenize_piece(piece)]

    def tokenize_whole(self, text: str) -> list[int]:
        """Token ids of a whole text as llama.cpp's own tools read a file: not normalised, and without one newline at its end."""
        return tokenize_whole(self.handle, text)

    @cached_property
    def chunk_start(self) -> int | None:
        """The token that those tools read each chunk of a text with instead of its first; QwQ's vocabulary has none."""
        return chunk_start(self.handle)

    def all_bytes(self) -> list[bytes]:
        """What each token stands for: a marker's text, the bytes of any other, nothing where the file only fills up its vocabulary."""
        named = {token: text.encode("utf-8") for text, token in self.markers.items()}
        return [named[token] if token in named else self._piece(token) for token in range(self.n_tokens)]

    def _tokenize_piece(self, piece: str) -> list[int]:
        data = piece.encode("utf-8")
        room = len(data) + 1
        tokens = (ctypes.c_int32 * room)()
        # add_special and parse_special stay off: markers are looked up, never parsed.
        count = library().llama_tokenize(self.handle, data, len(data), tokens, room, False, False)
        if count < 0:
            raise AssertionError(f"byte-level BPE gave {-count} tokens for {len(data)} bytes")
        return list(tokens[:count])

    def _piece(self, token: int) -> bytes:
        lib = library()
        buffer = ctypes.create_string_buffer(256)
        is_control = lib.llama_vocab_is_control(self.handle, token)
        length = 0 if is_control else lib.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = lib.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, True)
        return buffer.raw[:length]


class FileVocabulary(LlamaVocabulary):
    """The vocabulary and the chat template of a file, without its weights. Raises LoadError."""

    def __init__(self, path: Path) -> None:
        self._model = LlamaModel(path, vocab_only=True)
        try:
            super().__init__(self._model)
        except BaseException:
            self._model.close()
            raise

    @property
    def chat_template(self) -> str | None:
        """The template in the model's file."""
        return self._model.chat_template

    def close(self) -> None:
        """Free it; the vocabulary must not be used any more."""
        self._model.close()
