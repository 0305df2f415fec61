"""The words that a reasoning model hesitates with, and the tokens that say them (pure).

The words are the fifty of S. Lotfi, P. Kirichenko, S. Li and Z. Liu, "Quantized Reasoning Models Think They Need to Think Longer, but They
Do Not" (arXiv 2606.00206, table 8), who subtract 0.5 to 4 from the logits of their tokens. They name tokens with a space before them, some
capitalised; here a word that opens sentences counts in each spelling that it opens one with, since QwQ begins paragraphs with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

OPENING_WORDS: Final = """
    actually although alternatively another anyway but either hmm hold however instead maybe nevertheless nonetheless or otherwise perhaps
    possibly rather regardless still though unless wait whether yet
"""
"""Those that open a sentence, or a new thought within one."""
INNER_WORDS: Final = """
    backtrack confused could different doubt error incorrect might mistake recheck reconsider rethink retry revisit uncertain unsure wrong
"""
"""Those that stand within a sentence; capitalised they are more often parts of names in code, such as `ValueError`."""


def spellings() -> Iterator[str]:
    """Every text that one of the words begins as: behind a space, and at a paragraph's beginning without one.

    None is lower case without a space: that goes on a word more often than it begins one ("or" in "vector").
    """
    for word in OPENING_WORDS.split():
        yield from (f" {word}", f" {word.capitalize()}", word.capitalize())
    for word in INNER_WORDS.split():
        yield f" {word}"


def hesitation_tokens(tokenize: Callable[[str], Sequence[int]]) -> tuple[int, ...]:
    """The ids of the tokens that say one of the words, each once; none where the vocabulary has no such token.

    A spelling of several tokens is left out, since its first one begins other words as well (" re" of " recheck").
    """
    tokenized = (tokenize(text) for text in spellings())
    return tuple(dict.fromkeys(tokens[0] for tokens in tokenized if len(tokens) == 1))
