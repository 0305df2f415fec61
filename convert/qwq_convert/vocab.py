"""A tokenizer.json as GGUF's vocabulary (pure).

Token types are chosen as by llama.cpp's conversion/base.py (`TextModel.get_vocab_base`), special tokens and merges as by
gguf-py/gguf/vocab.py (`SpecialVocab`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

from qwq_convert.documents import Document
from qwq_local.errors import ConversionError

PRETOKENIZER_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen2 splits text before BPE; llama.cpp calls it "qwen2" and has it built in, so any other would be tokenized wrongly."""

SPECIAL_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type` (enum llama_token_type, include/llama.h)."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5


@dataclass(frozen=True)
class Vocabulary:
    """All that GGUF says of tokens: text and type of each id, merges as "left right", ids by role, and what is added by default."""

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    merges: tuple[str, ...]
    special_ids: Mapping[str, int]
    added_by_default: Mapping[str, bool]


@dataclass(frozen=True)
class _AddedToken:
    text: str
    special: bool


def build_vocabulary(tokenizer: Document, tokenizer_config: Document, config: Document, size: int) -> Vocabulary:
    """The vocabulary of `size` tokens; ids without a token become unused padding, as the rows of the embeddings demand.

    Raises:
        ConversionError: no byte-level BPE of Qwen2's kind, or a table that contradicts itself.
    """
    _require_qwen2(tokenizer)
    model = tokenizer["model"]
    texts = _base_tokens(model, size)
    added = _added_tokens(tokenizer, tokenizer_config, size)
    for token_id, token in added.items():
        if texts.setdefault(token_id, token.text) != token.text:
            _refuse(f"token {token_id} is both {texts[token_id]!r} and {token.text!r}")
    if len(set(texts.values())) < len(texts):
        _refuse("two tokens have the same text")
    return Vocabulary(
        tokens=tuple(_text(token_id, texts, added) for token_id in range(size)),
        types=tuple(_type(token_id, texts, added) for token_id in range(size)),
        merges=_known_merges(model),
        special_ids=_special_ids(added, tokenizer_config, config, size),
        added_by_default=_added_by_default(tokenizer, tokenizer_config),
    )


def _text(token_id: int, texts: Mapping[int, str], added: Mapping[int, _AddedToken]) -> str:
    if _type(token_id, texts, added) is TokenType.USER_DEFINED:
        return texts[token_id].replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
    return texts.get(token_id, f"[PAD{token_id}]")


def _type(token_id: int, texts: Mapping[int, str], added: Mapping[int, _AddedToken]) -> TokenType:
    if token_id not in texts:
        return TokenType.UNUSED
    if token_id not in added:
        return TokenType.NORMAL
    token = added[token_id]
    looks_special = token.text.startswith("<|") and token.text.endswith("|>")
    return TokenType.CONTROL if token.special or looks_special else TokenType.USER_DEFINED


def _require_qwen2(tokenizer: Document) -> None:
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE":
        _refuse(f"its model is {model.get('type') if isinstance(model, dict) else model!r}, no BPE")
    patterns = list(_patterns(tokenizer.get("pre_tokenizer")))
    if patterns != [PRETOKENIZER_PATTERN]:
        _refuse(f"its pre-tokenizer splits by {patterns}, which is not Qwen2's")
    normalizer = tokenizer.get("normalizer")
    if normalizer not in (None, {"type": "NFC"}):
        _refuse(f"its normalizer is {normalizer}, where Qwen2 has NFC")


def _patterns(pretokenizer: object) -> Iterator[str]:
    match pretokenizer:
        case {"type": "Sequence", "pretokenizers": [*parts]}:
            for part in parts:
                yield from _patterns(part)
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated"}:
            yield pattern
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
            return
        case _:
            _refuse(f"its pre-tokenizer has the part {pretokenizer!r}, which Qwen2's has not")


def _base_tokens(model: Document, size: int) -> dict[int, str]:
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not vocab:
        _refuse("it has no vocabulary")
    for text, token_id in vocab.items():
        _require_id(token_id, text, size)
    tokens = {token_id: text for text, token_id in vocab.items()}
    if len(tokens) < len(vocab):
        _refuse("two tokens have the same id")
    return tokens


def _added_tokens(tokenizer: Document, tokenizer_config: Document, size: int) -> dict[int, _AddedToken]:
    """Those of tokenizer.json, and those that only tokenizer_config.json knows, which transformers adds as well."""
    added: dict[int, _AddedToken] = {}
    for token_id, entry in (*_decoder_entries(tokenizer_config), *_tokenizer_entries(tokenizer)):
        match entry:
            case {"content": str(text), "special": bool(special)}:
                _require_id(token_id, text, size)
            case _:
                _refuse(f"the added token {token_id!r} is {entry!r}")
        known = added.get(token_id, _AddedToken(text, special=False))
        if known.text != text:
            _refuse(f"the added token {token_id} is both {known.text!r} and {text!r}")
        added[token_id] = _AddedToken(text, special or known.special)
    return added


def _tokenizer_entries(tokenizer: Document) -> list[tuple[Any, Any]]:
    entries = tokenizer.get("added_tokens") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        _refuse("its added_tokens are no list of objects")
    return [(entry.get("id"), entry) for entry in entries]


def _decoder_entries(tokenizer_config: Document) -> list[tuple[Any, Any]]:
    entries = tokenizer_config.get("added_tokens_decoder") or {}
    if not isinstance(entries, dict) or not all(key.isdecimal() for key in entries):
        _refuse("tokenizer_config.json's added_tokens_decoder is no table by token id")
    return [(int(key), entry) for key, entry in entries.items()]


def _require_id(token_id: object, text: object, size: int) -> None:
    if isinstance(token_id, bool) or not isinstance(token_id, int) or not 0 <= token_id < size:
        _refuse(f"the token {text!r} has the id {token_id!r}, and config.json's vocab_size is {size}")


def _known_merges(model: Document) -> tuple[str, ...]:
    merges = tuple(_merges(model))
    known = {text.replace(" ", "Ġ") for text in model["vocab"]}
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= known:
            _refuse(f"it merges {left!r} and {right!r}, and its vocabulary lacks one of them, or both together")
    return merges


def _merges(model: Document) -> Iterator[str]:
    """Both forms: "left right", and since transformers 4.45 [left, right], where a space is written as byte-level BPE does."""
    merges = model.get("merges")
    if not isinstance(merges, list) or not merges:
        _refuse("it has no merges")
    for merge in merges:
        match merge:
            case str() if merge.count(" ") == 1:
                yield merge
            case [str(left), str(right)]:
                yield f"{left.replace(' ', 'Ġ')} {right.replace(' ', 'Ġ')}"
            case _:
                _refuse(f"it has the merge {merge!r}")


def _special_ids(added: Mapping[int, _AddedToken], tokenizer_config: Document, config: Document, size: int) -> dict[str, int]:
    """By the text in tokenizer_config.json, else by the id in config.json."""
    by_text = {token.text: token_id for token_id, token in added.items()}
    found: dict[str, int] = {}
    for role in SPECIAL_ROLES:
        entry = tokenizer_config.get(f"{role}_token")
        text = entry.get("content") if isinstance(entry, dict) else entry
        token_id = by_text.get(text) if isinstance(text, str) else None
        if token_id is None:
            token_id = config.get(f"{role}_token_id")
        if isinstance(token_id, int):
            _require_id(token_id, f"{role}_token", size)
            found[role] = token_id
    return found


def _added_by_default(tokenizer: Document, tokenizer_config: Document) -> dict[str, bool]:
    added: dict[str, bool] = {}
    match tokenizer.get("post_processor"):
        case None | {"type": "TemplateProcessing", "single": [{"Sequence": _}]}:
            pass
        case {"type": "ByteLevel"}:
            added = {"bos": False, "eos": False}
        case other:
            _refuse(f"its post_processor is {other!r}, which Qwen2's is not")
    for role in SPECIAL_ROLES:
        wanted = tokenizer_config.get(f"add_{role}_token")
        if isinstance(wanted, bool):
            added.setdefault(role, wanted)
    return added


def _refuse(fault: str) -> NoReturn:
    raise ConversionError(f"The tokenizer cannot be converted: {fault}.", hint="Take tokenizer.json from the model's own repository.")
