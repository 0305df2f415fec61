"""Answers that follow a schema or a grammar: which tokens may come next, by llguidance (github.com/guidance-ai/llguidance)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwq_local.backend import Constraint
from qwq_local.errors import ConstraintError, DecodeError
from qwq_local.llama._vocabulary import LlamaVocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

MAX_SOURCE_BYTES: Final = 128 * 1024
STACK_BYTES_PER_SOURCE_BYTE: Final = 2048
"""llguidance compiles by recursion, also through chains of rules and of `$ref`s: up to 512 bytes of stack for each byte of the source."""
LEAST_STACK_BYTES: Final = 8 * 1024 * 1024
MAX_LEXER_STATES: Final = 100_000
"""Each takes 1 to 2 kB (llguidance's LLParserLimits)."""
JSON_WHITESPACE: Final = r" |\n[ \t]{0,32}"
"""A space, or a line feed with its indentation: without an end to it, a model that is unsure would write nothing else."""
MAX_REASON_CHARACTERS: Final = 300
_CODE_POINT: Final = re.compile(r"\\\\|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")
_NAMES: Final = {
    "json_schema": "JSON schema",
    "json_object": "JSON object",
    "gbnf": "GBNF grammar",
    "regex": "regular expression",
    "lark": "Lark grammar",
}
_T = TypeVar("_T")


class AnswerMatcher:
    """How far an answer has come in its grammar."""

    def __init__(self, matcher: LLMatcher, n_tokens: int) -> None:
        self._matcher = matcher
        self._n_tokens = n_tokens
        self._bits = np.zeros(-(-n_tokens // 32), np.int32)

    def allowed(self) -> NDArray[np.intp]:
        """The ids that may come next, in order; only end tokens once the answer is whole. Raises DecodeError where there are none."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.flatnonzero(np.unpackbits(self._bits.view(np.uint8), count=self._n_tokens, bitorder="little"))
        if self._matcher.is_error() or not len(allowed):
            raise self._error("The constraint on the answer lets nothing come next")
        return allowed

    def take(self, token: int) -> None:
        """Go on by a token. Raises DecodeError where it is not allowed."""
        if not self._matcher.consume_token(token):
            raise self._error(f"The constraint on the answer does not allow the token {token}")

    def _error(self, what: str) -> DecodeError:
        reason = _shorten(self._matcher.get_error())
        return DecodeError(f"{what}: {reason}" if reason else f"{what}.", hint="Simplify the schema or the grammar.")


class ConstraintCompiler:
    """Makes matchers for a vocabulary. The first takes about a second: llguidance sorts the vocabulary into a trie."""

    def __init__(self, vocabulary: LlamaVocabulary) -> None:
        self._vocabulary = vocabulary

    def compile(self, constraint: Constraint) -> AnswerMatcher:
        """A matcher at the beginning of an answer. Raises ConstraintError for a source that is wrong, too big, or cannot be followed."""
        from llguidance import LLMatcher

        tokenizer = self._tokenizer
        made = _with_room_to_recurse(
            lambda: LLMatcher(tokenizer, _grammar(constraint), log_level=0, limits=_limits()), _source_bytes(constraint)
        )
        if made.is_error():
            raise _refusal(constraint, made.get_error())
        matcher = AnswerMatcher(made, self._vocabulary.n_tokens)
        try:
            matcher.allowed()
        except DecodeError as error:
            raise _refusal(constraint, "no answer can follow it") from error
        return matcher

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper

        wrapper = TokenizerWrapper(_Tokens(self._vocabulary))
        return LLTokenizer(wrapper, n_vocab=self._vocabulary.n_tokens, eos_token=sorted(self._vocabulary.end_tokens))


class _Tokens:
    """A vocabulary as llguidance's TokenizerWrapper asks for it."""

    def __init__(self, vocabulary: LlamaVocabulary) -> None:
        self.tokens = vocabulary.all_bytes()
        self.special_token_ids = sorted(vocabulary.markers.values())
        self.eos_token_id = min(vocabulary.end_tokens)
        self.bos_token_id = None
        self._vocabulary = vocabulary

    def __call__(self, text: bytes) -> list[int]:
        """How the model itself would write this text; llguidance asks where a grammar leaves no choice."""
        return self._vocabulary.tokenize_verbatim(text.decode("utf-8"))


def check_constraint(constraint: Constraint) -> None:
    """Refuse what no model could follow, without a model. Raises ConstraintError as compiling does.

    Not noticed here: markers that a vocabulary lacks, and rules that never come to an end.
    """
    from llguidance import LLMatcher

    is_wrong, messages = _with_room_to_recurse(
        lambda: LLMatcher.validate_grammar_with_warnings(_grammar(constraint), limits=_limits()), _source_bytes(constraint)
    )
    if is_wrong:
        raise _refusal(constraint, messages[0])


def _limits() -> LLParserLimits:
    """The library's own, which keep a mask below about 20 ms, but for memory and for errors that show the grammar."""
    from llguidance import LLParserLimits

    return LLParserLimits(max_lexer_states=MAX_LEXER_STATES, verbose_errors=False)


def _source_bytes(constraint: Constraint) -> int:
    size_bytes = len(constraint.source.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_SOURCE_BYTES:
        raise ConstraintError(
            f"The {_NAMES[constraint.kind]} has {size_bytes:,} bytes.", hint=f"At most {MAX_SOURCE_BYTES:,} bytes are read."
        )
    return size_bytes


def _grammar(constraint: Constraint) -> str:
    """The constraint in llguidance's own form. Raises ConstraintError."""
    from llguidance import grammar_from

    try:
        if constraint.kind == "json_object":
            return _from_schema({"type": "object"})
        if constraint.kind == "json_schema":
            return _from_schema(json.loads(constraint.source))
        if constraint.kind == "gbnf":
            return grammar_from("gbnf", _CODE_POINT.sub(_spell_out, constraint.source))
        return grammar_from(constraint.kind, constraint.source)
    except (RecursionError, ValueError) as error:
        raise _refusal(constraint, str(error)) from error


def _from_schema(schema: Any) -> str:  # noqa: ANN401 - JSON of any shape
    if not isinstance(schema, dict):
        raise ValueError(f"it must be a JSON object, and is {json.dumps(schema)[:40]}")  # noqa: TRY004 - a user's mistake
    from llguidance import LLMatcher

    # "x-guidance" would let a schema switch the checks off.
    known = {key: value for key, value in schema.items() if key != "x-guidance"}
    return LLMatcher.grammar_from_json_schema(known, overrides={"whitespace_pattern": JSON_WHITESPACE})


def _spell_out(escape: re.Match[str]) -> str:
    """GBNF's escapes of code points as the characters themselves: llguidance's reader takes them over unchanged, which Lark refuses."""
    digits = escape[1] or escape[2]
    if not digits:
        return escape[0]
    code_point = int(digits, 16)
    return f"\\x{code_point:02x}" if code_point < 0x80 else chr(code_point)


def _with_room_to_recurse(make: Callable[[], _T], source_bytes: int) -> _T:
    """Call it on a stack that the deepest source of this size cannot overflow, which would end the process."""
    stack_bytes = LEAST_STACK_BYTES + source_bytes * STACK_BYTES_PER_SOURCE_BYTE
    with _stack_size_lock, ThreadPoolExecutor(max_workers=1) as pool:
        usual_bytes = threading.stack_size(stack_bytes // 2**20 * 2**20)
        try:
            made = pool.submit(make)
        finally:
            threading.stack_size(usual_bytes)
        return made.result()


_stack_size_lock: Final = threading.Lock()


def _refusal(constraint: Constraint, reason: str) -> ConstraintError:
    return ConstraintError(
        f"The {_NAMES[constraint.kind]} for the answer cannot be used: {_shorten(reason)}",
        hint="Leave out what is not supported: github.com/guidance-ai/llguidance lists it (docs/json_schema.md, docs/syntax.md).",
    )


def _shorten(reason: str) -> str:
    """The library's words on one line, without its excerpts of the grammar."""
    line = " ".join(reason.replace("<non-verbose/>", "").split())
    return line if len(line) <= MAX_REASON_CHARACTERS else line[:MAX_REASON_CHARACTERS] + "…"
