"""Random JSON schemas of the kinds that programs ask for, and answers that a model writes under a constraint."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import jsonschema

from qwq_local.backend import BatchToken, Constraint
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.settings import Sampling

Schema = dict[str, Any]

FORMATS: Final = ("date", "date-time", "time", "duration", "email", "ipv4", "ipv6", "uuid", "hostname")
PATTERNS: Final = ("^[a-z]+$", "^[A-Z]{2}-[0-9]{3,5}$", "^(yes|no|maybe)$", r"^\d{4}$", "^a.*b$", "^#[0-9a-fA-F]{6}$", "é+")
WORDS: Final = ("name", "city", "n", "unit price", "größe", "名前", 'quo"te', "back\\slash", "<tool_call>", "a/b", "")
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1.5,
    "",
    "x",
    'a "quoted" text',
    "</think>",
    "line\nfeed",
    "😀",
    [],
    [1, "two"],
    {},
    {"k": [None]},
)


def random_schema(rng: random.Random, depth: int = 3) -> Schema:
    """A schema that nests at most `depth` deep, with a definition that refers to itself now and then."""
    if rng.random() < 0.1:
        node = {"type": "object", "properties": {"value": _scalar(rng), "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
        return {"$defs": {"node": node | {"required": ["value", "next"], "additionalProperties": False}}, "$ref": "#/$defs/node"}
    return _schema(rng, depth)


def _schema(rng: random.Random, depth: int) -> Schema:
    flat: list[Callable[[random.Random], Schema]] = [_scalar, _string, _number, _choice]
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(flat)(rng)
    return rng.choice([_object, _object, _map, _array, _tuple, _union, _all_of])(rng, depth - 1)


def _scalar(rng: random.Random) -> Schema:
    return {"type": rng.choice(["boolean", "null", "integer", "number", "string", ["integer", "null"], ["null", "boolean"]])}


def _string(rng: random.Random) -> Schema:
    kind = rng.randrange(3)
    if kind == 0:
        return {"type": "string", "format": rng.choice(FORMATS)}
    if kind == 1:
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    least = rng.randrange(5)
    return {"type": "string", "minLength": least, "maxLength": least + rng.randrange(12), "description": "a text"}


def _number(rng: random.Random) -> Schema:
    low = rng.choice([-1000, -7, 0, 1, 12])
    bounds = rng.choice([{"minimum": low}, {"minimum": low, "maximum": low + 90}, {"exclusiveMinimum": low, "exclusiveMaximum": low + 3}])
    multiple = {"multipleOf": rng.choice([2, 5, 10])} if rng.random() < 0.2 and len(bounds) == 1 else {}
    return {"type": "integer" if multiple else rng.choice(["integer", "number"]), **bounds, **multiple}


def _choice(rng: random.Random) -> Schema:
    return {"const": rng.choice(VALUES)} if rng.random() < 0.3 else {"enum": rng.sample(VALUES, rng.randint(1, 5))}


def _object(rng: random.Random, depth: int) -> Schema:
    names = rng.sample(WORDS, rng.randint(1, 4))
    required = [name for name in names if rng.random() < 0.7]
    more: Schema = rng.choice(
        [{"additionalProperties": False}, {"additionalProperties": False}, {}, {"additionalProperties": _scalar(rng)}]
    )
    return {"type": "object", "properties": {name: _schema(rng, depth) for name in names}, "required": required, **more}


def _map(rng: random.Random, depth: int) -> Schema:
    inner = _schema(rng, depth)
    return rng.choice(
        [
            {"type": "object", "additionalProperties": inner},
            {"type": "object", "patternProperties": {"^k[0-9]$": inner}, "additionalProperties": False},
        ]
    )


def _array(rng: random.Random, depth: int) -> Schema:
    least = rng.randrange(3)
    return {"type": "array", "items": _schema(rng, depth), "minItems": least, "maxItems": least + rng.randrange(3)}


def _tuple(rng: random.Random, depth: int) -> Schema:
    first = [_schema(rng, depth) for _ in range(rng.randint(1, 3))]
    return {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}


def _union(rng: random.Random, depth: int) -> Schema:
    return {"anyOf": [_schema(rng, depth) for _ in range(rng.randint(2, 3))]}


def _all_of(rng: random.Random, depth: int) -> Schema:
    parts = [{"properties": {name: _schema(rng, depth)}, "required": [name]} for name in rng.sample(WORDS, 2)]
    return {"type": "object", "allOf": parts}


@dataclass(frozen=True)
class Answer:
    """What was written under a constraint; `is_cut` where it did not end within its tokens."""

    text: str
    tokens: tuple[int, ...]
    is_cut: bool


class Writer:
    """Lets a model answer one prompt again and again, each time from its first token under a constraint."""

    def __init__(self, backend: LlamaBackend, question: str = "Answer in JSON.") -> None:
        vocabulary = backend.vocabulary
        start, end = vocabulary.markers["<|im_start|>"], vocabulary.markers["<|im_end|>"]
        tokenize = vocabulary.tokenize
        self._prompt = [start, *tokenize(f"user\n{question}"), end, *tokenize("\n"), start, *tokenize("assistant\n")]
        self.backend = backend

    def write(self, constraint: Constraint, seed: int, max_tokens: int, sampling: Sampling | None = None) -> Answer:
        """An answer of at most `max_tokens`, drawn at temperature 1 from all tokens unless `sampling` says otherwise."""
        backend, vocabulary = self.backend, self.backend.vocabulary
        sampler = backend.new_sampler(sampling or Sampling(temperature=1, top_k=0, top_p=1), seed, constraint)
        sampler.begin_answer()
        try:
            backend.truncate(0, 0)
            backend.decode([BatchToken(token, i, 0, wants_logits=i == len(self._prompt) - 1) for i, token in enumerate(self._prompt)])
            tokens = [sampler.sample(len(self._prompt) - 1).token]
            while tokens[-1] not in vocabulary.end_tokens and len(tokens) < max_tokens:
                backend.decode([BatchToken(tokens[-1], len(self._prompt) + len(tokens) - 1, 0, wants_logits=True)])
                tokens.append(sampler.sample(0).token)
        finally:
            sampler.close()
        text = b"".join(vocabulary.piece(token) for token in tokens if token not in vocabulary.end_tokens)
        return Answer(text.decode("utf-8", "replace"), tuple(tokens), is_cut=tokens[-1] not in vocabulary.end_tokens)


def open_writer() -> Writer:
    """A writer on the built-in model, with one thread: it is so small that a second one would mostly wait."""
    file = find("demo")
    return Writer(LlamaBackend(file.path, replace(context_shape(file, n_ctx=512), n_threads=1), "native", 0))


def schema_constraint(schema: Schema) -> Constraint:
    """The constraint that asks for a schema."""
    return Constraint("json_schema", json.dumps(schema, ensure_ascii=False))


def validate(schema: Schema, text: str) -> None:
    """Raise ValueError unless the text is JSON, and jsonschema.ValidationError unless it is valid under the schema."""
    validator = jsonschema.Draft202012Validator
    validator(schema, format_checker=validator.FORMAT_CHECKER).validate(json.loads(text))
