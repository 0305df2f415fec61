"""Whether constrained answers follow random JSON schemas, and what a constraint costs at each token.

    python -m benchmarks.constraints [--schemas 200] [--answers 10] [--max-tokens 300] [--vocabulary FILE] [--json FILE]

The answers are the built-in model's, at temperature 1 and without truncation, so that nothing but the constraint keeps them in order; each
is checked by jsonschema. An answer that its token limit cuts is counted apart. The costs are those of a vocabulary of QwQ's size: that of a
GGUF file (`--vocabulary`; its weights are not loaded), or by default one made up of random words.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import jsonschema
import numpy as np

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local import card
from qwq_local.backend import Constraint
from qwq_local.errors import QwqError
from qwq_local.llama._constraint import ConstraintCompiler
from qwq_local.llama._library import library
from qwq_local.llama._vocabulary import LlamaVocabulary
from tests.schemas import Writer, open_writer, random_schema, schema_constraint, validate

LISTED = {
    "type": "array",
    "minItems": 40,
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "kind": {"enum": ["book", "film", "song"]},
            "title": {"type": "string", "minLength": 3, "maxLength": 80},
            "day": {"type": "string", "format": "date"},
            "note": {"type": ["string", "null"]},
        },
        "required": ["id", "kind", "title", "day", "note"],
        "additionalProperties": False,
    },
}


class MadeUpVocabulary:
    """As many tokens as QwQ has: every byte, random words, its end tokens and its markers for tools."""

    def __init__(self, n_tokens: int = card.N_VOCAB) -> None:
        rng = random.Random(1)
        letters = "etaoinshrdlucmfwypvbgkjqxz" * 3 + 'ETAOINSHR0123456789{}[]",.:;_-()/\\éüß漢字かな中文'
        markers = [*card.END_TOKENS, card.TOOL_CALL, card.END_TOOL_CALL]
        words: dict[bytes, None] = dict.fromkeys(bytes([byte]) for byte in range(256))
        while len(words) < n_tokens - len(markers):
            words[(rng.choice(("", " ")) + "".join(rng.choices(letters, k=rng.randint(2, 9)))).encode()] = None
        self._bytes = [*words, *(marker.encode() for marker in markers)]
        self._token = {data: token for token, data in enumerate(words)}
        self.markers = {marker: n_tokens - len(markers) + i for i, marker in enumerate(markers)}
        self.end_tokens = frozenset(self.markers[text] for text in card.END_TOKENS)
        self.n_tokens = n_tokens

    def all_bytes(self) -> list[bytes]:
        """What each token stands for."""
        return self._bytes

    def tokenize_verbatim(self, text: str) -> list[int]:
        """The longest words first."""
        data, tokens = text.encode(), []
        while data:
            length = next(n for n in range(min(len(data), 32), 0, -1) if data[:n] in self._token)
            tokens.append(self._token[data[:length]])
            data = data[length:]
        return tokens


def open_vocabulary(path: str | None) -> Any:  # noqa: ANN401 - what a compiler asks of a vocabulary
    """That of a file, without its weights, or one that is made up."""
    if path is None:
        return MadeUpVocabulary()
    lib = library()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    model = lib.llama_model_load_from_file(path.encode(), params)
    return LlamaVocabulary(SimpleNamespace(vocab=lib.llama_model_get_vocab(model)))  # type: ignore[arg-type]


def check_answers(n_schemas: int, n_answers: int, max_tokens: int) -> Table:
    """Let the built-in model answer, and count."""
    outcomes: Counter[str] = Counter()
    writer = open_writer()
    started_at = time.perf_counter()
    for seed in range(n_schemas):
        schema = random_schema(random.Random(seed))
        for answer_seed in range(n_answers):
            outcome, n_tokens = _outcome(writer, schema, answer_seed, max_tokens)
            outcomes[outcome] += 1
            outcomes["tokens"] += n_tokens
    seconds = time.perf_counter() - started_at
    table = Table(f"{n_schemas} schemas, {n_answers} answers each", ["whole, valid", "whole, invalid", "cut", "errors", "tokens", "s"])
    table.add(*(outcomes[name] for name in ("valid", "invalid", "cut", "error", "tokens")), seconds)
    return table


def _outcome(writer: Writer, schema: dict[str, Any], seed: int, max_tokens: int) -> tuple[str, int]:
    try:
        answer = writer.write(schema_constraint(schema), seed, max_tokens)
    except QwqError as error:
        print(f"{error}\n  {json.dumps(schema)[:300]}")
        return "error", 0
    if answer.is_cut:
        return "cut", len(answer.tokens)
    try:
        validate(schema, answer.text)
    except (ValueError, jsonschema.ValidationError) as error:
        print(f"{str(error).splitlines()[0]}\n  {answer.text[:200]}\n  {json.dumps(schema)[:300]}")
        return "invalid", len(answer.tokens)
    return "valid", len(answer.tokens)


def measure_costs(vocabulary: Any) -> Table:  # noqa: ANN401 - as above
    """The time of the first constraint, of a later one, and of a mask at each token of random answers."""
    compiler = ConstraintCompiler(vocabulary)
    table = Table(
        f"costs, {vocabulary.n_tokens:,} tokens", ["constraint", "to make (ms)", "masks", "median (µs)", "99 % (µs)", "most (µs)"]
    )
    started_at = time.perf_counter()
    compiler.compile(Constraint("regex", "x"))
    table.add("the first one: the tokenizer", (time.perf_counter() - started_at) * 1e3, 0, "", "", "")
    for name, constraint in {
        "any JSON object": Constraint("json_object"),
        "a list of records": schema_constraint(LISTED),
        "a regular expression": Constraint("regex", r"(\w+ ){50,200}\."),
        "a GBNF grammar": Constraint("gbnf", 'root ::= line{100}\nline ::= [a-z]+ (" " [a-z]+)* "\\n"\n'),
    }.items():
        table.add(name, *_costs(compiler, constraint))
    return table


def _costs(compiler: ConstraintCompiler, constraint: Constraint, n_tokens: int = 400, n_answers: int = 5) -> list[float]:
    made, masks = [], []
    for seed in range(n_answers):
        rng = np.random.default_rng(seed)
        started_at = time.perf_counter()
        matcher = compiler.compile(constraint)
        made.append(time.perf_counter() - started_at)
        for _ in range(n_tokens):
            started_at = time.perf_counter()
            allowed = matcher.allowed()
            masks.append(time.perf_counter() - started_at)
            token = int(rng.choice(allowed))
            matcher.take(token)
            if token in compiler._vocabulary.end_tokens:  # noqa: SLF001 - a benchmark looks inside
                break
    microseconds = [mask * 1e6 for mask in masks]
    return [
        statistics.median(made) * 1e3,
        len(masks),
        statistics.median(microseconds),
        float(np.quantile(microseconds, 0.99)),
        max(microseconds),
    ]


@click.command()
@click.option("--schemas", default=200, show_default=True)
@click.option("--answers", default=10, show_default=True)
@click.option("--max-tokens", default=300, show_default=True)
@click.option("--vocabulary", type=click.Path(exists=True, dir_okay=False))
@json_option
def main(schemas: int, answers: int, max_tokens: int, vocabulary: str | None, json_path: Path | None) -> None:
    """Check the answers, then measure the costs."""
    check_answers(schemas, answers, max_tokens).show(json_path)
    measure_costs(open_vocabulary(vocabulary)).show(json_path, "costs")


if __name__ == "__main__":
    main()
