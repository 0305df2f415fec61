"""The tokens of a model file, and where those of another differ from them: a draft model must know the very same."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.errors import DamagedFileError
from qwq_local.gguf import GgufArray, GgufHeader, ValueType, read_header

TEXTS: Final = "tokenizer.ggml.tokens"
KINDS: Final = "tokenizer.ggml.token_type"
ENDS: Final = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
"""Keys of ggml/docs/gguf.md, as src/llama-vocab.cpp reads them."""
KIND_NAMES: Final = {1: "normal", 2: "unknown", 3: "control", 4: "user-defined", 5: "unused", 6: "byte"}
"""`enum llama_token_type` (include/llama.h)."""
NORMAL, UNUSED = 1, 5
MOST_NAMED: Final = 4


@dataclass(frozen=True)
class TokenTable:
    """What each token of a file is, by its id: its text as the file spells it in UTF-8, and its kind; `ends` are those that end an answer.

    Of one and the same tokenizer, equal spelling means equal bytes.
    """

    model: str
    texts: list[bytes]
    kinds: tuple[int, ...]
    ends: frozenset[int]

    def is_padding(self, token: int) -> bool:
        """Whether the id only fills the table up, as converters do where a model has more embeddings than tokens."""
        return self.kinds[token] == UNUSED or self.texts[token] == b"[PAD%d]" % token

    def told(self, token: int) -> str:
        """A token as people are told of it; an id beyond the table is nothing."""
        if token >= len(self.texts):
            return "nothing"
        kind = self.kinds[token]
        return f"{self.texts[token].decode('utf-8', 'replace')!r} ({KIND_NAMES.get(kind, f'kind {kind}')})"


def read_tokens(path: Path) -> TokenTable:
    """Read the table of the file at `path`. Raises what `read_header` does, and DamagedFileError where it has none."""
    header = read_header(path)
    with path.open("rb") as file:

        def block(key: str, item_type: ValueType) -> bytes:
            begin, end = _array(header, key, item_type).span
            file.seek(begin)
            return file.read(end - begin)

        texts = _texts(block(TEXTS, ValueType.STRING))
        kinds = (NORMAL,) * len(texts)
        if KINDS in header.metadata:
            encoded = block(KINDS, ValueType.INT32)
            kinds = struct.unpack(f"<{len(encoded) // 4}i", encoded)
    if len(kinds) != len(texts):
        raise DamagedFileError(f"{path} has {len(texts):,} tokens, and kinds of {len(kinds):,}.", hint="Convert it or download it again.")
    named = {text.encode() for text in card.END_TOKENS}
    ends = {header.integer(key) for key in ENDS if key in header.metadata}
    ends.update(token for token, text in enumerate(texts) if text in named)
    return TokenTable(header.text("tokenizer.ggml.model"), texts, kinds, frozenset(ends))


def difference(model: TokenTable, draft: TokenTable) -> str:
    """How a draft model's table differs from that of the model it is to guess for, in a sentence or two; nothing where it does not.

    Padding is no difference, whatever it is called, save where the draft has more of it: it could guess what the model cannot read.
    """
    if model.model != draft.model:
        return f"Its tokenizer is {draft.model!r}, and the model's {model.model!r}."
    others = list(_differing(model, draft))
    if others:
        named = "; ".join(f"{token} is {draft.told(token)} instead of {model.told(token)}" for token in islice(others, MOST_NAMED))
        more = f"; and {len(others) - MOST_NAMED:,} more" if len(others) > MOST_NAMED else ""
        return f"{len(others):,} of its {len(draft.texts):,} tokens are not the model's: {named}{more}."
    if model.ends != draft.ends:
        return f"It ends answers with the tokens {_ids(draft.ends)}, and the model with {_ids(model.ends)}."
    return ""


def _differing(model: TokenTable, draft: TokenTable) -> Iterator[int]:
    entries = enumerate(zip(model.texts, model.kinds, draft.texts, draft.kinds, strict=False))
    for token, (text, kind, draft_text, draft_kind) in entries:
        if (text != draft_text or kind != draft_kind) and not (model.is_padding(token) and draft.is_padding(token)):
            yield token
    yield from (token for token in range(len(draft.texts), len(model.texts)) if not model.is_padding(token))
    yield from range(len(model.texts), len(draft.texts))


def _array(header: GgufHeader, key: str, item_type: ValueType) -> GgufArray:
    array = header.metadata.get(key)
    if isinstance(array, GgufArray) and array.item_type is item_type:
        return array
    raise DamagedFileError(f"{header.path} has no {key!r} that tells its tokens.", hint="Convert it or download it again.")


def _texts(encoded: bytes) -> list[bytes]:
    # As bare as it can be: there are some 152,064 of them.
    texts, position, length_at = list[bytes](), 0, struct.Struct("<Q").unpack_from
    while position < len(encoded):
        begin = position + 8
        position = begin + length_at(encoded, position)[0]
        texts.append(encoded[begin:position])
    return texts


def _ids(tokens: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(tokens))) or "none"
