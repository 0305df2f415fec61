"""Ordinary text that llama.cpp must not take for special tokens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise


def plain_pieces(text: str, markers: Iterable[str]) -> list[str]:
    """Cut ordinary text so that no piece spells a marker, without changing how it is tokenized.

    llama.cpp turns the text of user-defined tokens (QwQ's `<think>` among them) into those tokens even with parse_special off
    (llama_vocab::impl::tokenizer_st_partition, src/llama-vocab.cpp). Each occurrence is cut where a letter or digit meets punctuation:
    Qwen2's pre-tokenizer never joins the two in that order, so the cut is one that it would have made anyway.
    """
    cuts = {0, len(text)}
    for marker in markers:
        offset = _cut_offset(marker)
        start = text.find(marker)
        while start >= 0:
            cuts.add(start + offset)
            start = text.find(marker, start + 1)
    borders = sorted(cuts)
    return [text[a:b] for a, b in pairwise(borders)]


def _cut_offset(marker: str) -> int:
    borders = (i for i in range(len(marker) - 1, 0, -1) if marker[i - 1].isalnum() and not marker[i].isalnum())
    return next(borders, 1)
