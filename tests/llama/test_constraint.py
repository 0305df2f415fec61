"""Answers under a constraint: always what was asked for, an error where that cannot be, and nothing in a request ends the process."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from qwq_local.backend import Constraint, ConstraintKind
from qwq_local.errors import ConstraintError, DecodeError
from qwq_local.llama import LlamaBackend, check_constraint
from qwq_local.llama._constraint import JSON_WHITESPACE, MAX_SOURCE_BYTES
from qwq_local.settings import Sampling
from tests.backends import read
from tests.schemas import Writer, open_writer, random_schema, schema_constraint, validate

COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}


@pytest.fixture(scope="module")
def writer() -> Iterator[Writer]:
    writer = open_writer()
    yield writer
    writer.backend.close()


@pytest.fixture
def backend(writer: Writer) -> LlamaBackend:
    return writer.backend


@pytest.mark.slow
def test_whole_answers_are_valid_under_their_schema(writer: Writer) -> None:
    rng = random.Random(5)
    outcomes: Counter[str] = Counter()
    for _ in range(40):
        schema = random_schema(rng)
        for seed in range(2):
            answer = writer.write(schema_constraint(schema), seed, max_tokens=150)
            outcomes["cut" if answer.is_cut else "whole"] += 1
            if not answer.is_cut:
                validate(schema, answer.text)
    assert outcomes["whole"] >= 20, outcomes


@pytest.mark.parametrize(
    ("kind", "source", "pattern"),
    [
        ("regex", r"[a-c]{3}-\d+(\.5)?", r"[a-c]{3}-\d+(\.5)?"),
        ("gbnf", 'root ::= "yes" | "no" [!?]{2}\n', r"yes|no[!?]{2}"),
        ("gbnf", 'root ::= word (", " word){0,3} ";"\nword ::= [a-d] [a-d]\n', r"[a-d]{2}(, [a-d]{2}){0,3};"),
        ("gbnf", 'root ::= "\\u00e9\\x41\\\\u" [\\u4E00-\\U00004E03] "\\u0022"\n', 'éA\\\\u[一-七丂]"'),
        ("lark", 'start: "(" start ")" | "x"\n', r"\(*x\)*"),
        ("lark", "start: A B\nA: /[0-9]{2}/\nB: /[a-z]{2}/", r"[0-9]{2}[a-z]{2}"),
    ],
)
def test_grammars_of_every_kind_are_followed(writer: Writer, kind: ConstraintKind, source: str, pattern: str) -> None:
    answers = [writer.write(Constraint(kind, source), seed, max_tokens=100) for seed in range(8)]
    whole = [answer.text for answer in answers if not answer.is_cut]
    assert whole
    assert all(re.fullmatch(pattern, text) for text in whole), whole


def test_json_of_any_kind_is_an_object(writer: Writer) -> None:
    answers = [writer.write(Constraint("json_object"), seed, max_tokens=400) for seed in range(12)]
    whole = [json.loads(answer.text) for answer in answers if not answer.is_cut]
    assert whole
    assert all(isinstance(value, dict) for value in whole)


def test_after_a_whole_answer_only_end_tokens_can_come(backend: LlamaBackend) -> None:
    sampler = backend.new_sampler(Sampling(temperature=5, top_k=0, top_p=1), 1, Constraint("regex", "ab"))
    sampler.begin_answer()
    for token in backend.vocabulary.tokenize("ab"):
        sampler.accept(token)
    assert sampler._matcher is not None
    assert set(sampler._matcher.allowed().tolist()) == backend.vocabulary.end_tokens
    sampler.close()


def test_a_constraint_holds_only_once_the_answer_begins(backend: LlamaBackend) -> None:
    backend.truncate(0, 0)
    read(backend, [backend.vocabulary.markers["<think>"]])
    constrained = backend.new_sampler(Sampling(seed=1), 1, Constraint("regex", "q+"))
    free = backend.new_sampler(Sampling(seed=1), 1)
    assert [constrained.sample(0) for _ in range(20)] == [free.sample(0) for _ in range(20)]
    constrained.accept(backend.vocabulary.markers["</think>"])
    constrained.begin_answer()
    assert backend.vocabulary.piece(constrained.sample(0).token).startswith(b"q")
    for sampler in (constrained, free):
        sampler.close()


def test_what_is_put_into_a_constrained_answer_must_fit_it(backend: LlamaBackend) -> None:
    sampler = backend.new_sampler(Sampling(), 1, Constraint("regex", "q+"))
    sampler.begin_answer()
    sampler.accept(backend.vocabulary.tokenize("q")[0])
    with pytest.raises(DecodeError, match="does not allow the token"):
        sampler.accept(backend.vocabulary.tokenize("7")[0])
    with pytest.raises(DecodeError):
        sampler.sample(0)
    sampler.close()


@pytest.mark.parametrize(
    "sampling",
    [
        {"typical_p": 0.5, "top_k": 0},
        {"typical_p": 0.5},
        {"top_n_sigma": 1.0},
        {"mirostat": 1},
        {"mirostat": 2},
        {"temperature": 0},
        {"temperature": 5, "top_k": 0, "top_p": 1},
        {"xtc_probability": 1, "xtc_threshold": 0},
        {"dynatemp_range": 0.6, "dry_multiplier": 5, "repeat_penalty": 2, "presence_penalty": 2},
        {"logit_bias": ((17, 100.0), (33, -100.0)), "n_logprobs": 3},
    ],
)
def test_no_sampler_leads_out_of_a_constraint(writer: Writer, sampling: dict[str, Any]) -> None:
    for seed in range(3):
        answer = writer.write(schema_constraint(COLOUR), seed, 60, Sampling(**sampling))
        assert not answer.is_cut
        assert json.loads(answer.text)["colour"] in ("red", "blue")


def test_a_forced_text_is_written_as_the_model_would_write_it(writer: Writer, backend: LlamaBackend) -> None:
    text = '{"colour": "<tool_call> é"}'
    answer = writer.write(Constraint("regex", re.escape(text)), 0, 60)
    assert answer.text == text
    assert list(answer.tokens[:-1]) == backend.vocabulary.tokenize(text)
    assert backend.vocabulary.markers["<tool_call>"] not in answer.tokens


def test_a_marker_can_be_asked_for_as_a_token(writer: Writer, backend: LlamaBackend) -> None:
    answer = writer.write(Constraint("lark", 'start: <tool_call> "a" </tool_call>'), 0, 10)
    markers = backend.vocabulary.markers
    assert list(answer.tokens[:-1]) == [markers["<tool_call>"], *backend.vocabulary.tokenize("a"), markers["</tool_call>"]]


def test_whitespace_between_the_parts_of_json_comes_to_an_end(writer: Writer, backend: LlamaBackend) -> None:
    bias = tuple((token, 100.0) for token in range(backend.vocabulary.n_tokens) if backend.vocabulary.piece(token).isspace())
    text = writer.write(schema_constraint(COLOUR), 0, 200, Sampling(logit_bias=bias)).text
    assert json.loads(text)
    assert all(re.fullmatch(JSON_WHITESPACE, gap) for gap in re.findall(r"\s+", text))


WRONG: list[tuple[ConstraintKind, str, str]] = [
    ("json_schema", "{", "JSON schema"),
    ("json_schema", "[1]", "must be a JSON object"),
    ("json_schema", "NaN", "must be a JSON object"),
    ("json_schema", '{"type": "strin"}', "strin"),
    ("json_schema", '{"not": {"type": "null"}}', "not"),
    ("json_schema", '{"x-guidance": {"lenient": true}, "not": {"type": "null"}}', "not"),
    ("json_schema", '{"type": "string", "format": "postcode"}', "postcode"),
    ("json_schema", '{"type": "string", "pattern": "(?=a)b"}', "look-around"),
    ("json_schema", '{"type": "string", "pattern": "("}', "unclosed"),
    ("json_schema", '{"$ref": "https://example.com/schema.json"}', "example.com"),
    ("json_schema", '{"$ref": "file:///etc/passwd"}', "passwd"),
    ("json_schema", '{"$ref": "#/$defs/nowhere"}', "nowhere"),
    ("json_schema", '{"type": "integer", "minimum": 3, "maximum": 2}', "Unsatisfiable"),
    ("json_schema", '{"type": "object", "required": ["a"], "properties": {"a": false}}', "Unsatisfiable"),
    ("json_schema", '{"const": "\ud800"}', "serializable"),
    ("gbnf", 'first ::= "a"', "root"),
    ("gbnf", 'root ::= "a\\', "GBNF"),
    ("gbnf", "root ::= other", "other"),
    ("gbnf", 'root ::= "\\U00110000"', "0x110000"),
    ("regex", "(", "unclosed"),
    ("regex", "a\ud800", "surrogate"),
    ("lark", "start: other", "other"),
    ("lark", "", "Empty"),
]


@pytest.mark.parametrize(("kind", "source", "says"), WRONG)
def test_what_is_wrong_is_refused_with_the_reason(backend: LlamaBackend, kind: ConstraintKind, source: str, says: str) -> None:
    for refuse in (check_constraint, lambda constraint: backend.new_sampler(Sampling(), 0, constraint)):
        with pytest.raises(ConstraintError, match=re.escape(says)) as caught:
            refuse(Constraint(kind, source))
        assert caught.value.hint
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("source", ['{"$ref": "#"}', '{"allOf": [{"$ref": "#"}]}'])
def test_what_never_comes_to_an_end_is_refused_before_anything_is_drawn(backend: LlamaBackend, source: str) -> None:
    with pytest.raises(ConstraintError, match="no answer can follow it"):
        backend.new_sampler(Sampling(), 0, Constraint("json_schema", source))


def test_a_marker_that_the_vocabulary_lacks_is_refused(backend: LlamaBackend) -> None:
    with pytest.raises(ConstraintError, match="no_such_marker"):
        backend.new_sampler(Sampling(), 0, Constraint("lark", "start: <no_such_marker>"))


def test_a_source_that_is_too_long_is_refused_by_its_size() -> None:
    check_constraint(Constraint("json_schema", json.dumps({"description": "x" * (MAX_SOURCE_BYTES - 100)})))
    with pytest.raises(ConstraintError, match="131,073 bytes"):
        check_constraint(Constraint("regex", "x" * (MAX_SOURCE_BYTES + 1)))


def nested(n: int, before: str, middle: str, after: str) -> str:
    return before * n + middle + after * n


def chain(n: int, wrap: str) -> str:
    links = ",".join(f'"{i}": {wrap.replace("REF", f"#/$defs/{i + 1}")}' for i in range(n))
    return f'{{"$defs": {{{links}, "{n}": {{}}}}, "$ref": "#/$defs/0"}}'


DEEP = nested(40, '{"items":', '{"$ref": "REF"}', "}")
HOSTILE: dict[str, tuple[ConstraintKind, str]] = {
    "a chain of references": ("json_schema", chain(3500, '{"$ref": "REF"}')),
    "a chain of unions": ("json_schema", chain(2000, '{"anyOf": [{"$ref": "REF"}, {"type": "null"}]}')),
    "a chain of properties": ("json_schema", chain(1500, '{"properties": {"a": {"$ref": "REF"}}, "required": ["a"]}')),
    "a chain of deep arrays": ("json_schema", chain(280, DEEP)),
    "deep arrays": ("json_schema", nested(11_000, '{"items":', "{}", "}")),
    "doubled references": ("json_schema", chain(40, '{"allOf": [{"$ref": "REF"}, {"$ref": "REF"}]}')),
    "many choices": ("json_schema", json.dumps({"enum": [f"item {i * 7919}" for i in range(7000)]})),
    "a long constant": ("json_schema", json.dumps({"const": "x" * 120_000})),
    "unlike multiples": ("json_schema", '{"allOf": [{"multipleOf": 7919}, {"multipleOf": 104729}], "type": "integer"}'),
    "a long string with a pattern": ("json_schema", '{"type": "string", "pattern": "^(.*a){20}$", "maxLength": 2000}'),
    "many parentheses in a regex": ("regex", nested(60_000, "(", "a", ")")),
    "counted repetitions": ("regex", "(((a{1,1000}){1,1000}){1,1000}){1,1000}"),
    "a regex with a big automaton": ("regex", "(.*a.{30}){5}b"),
    "many parentheses in Lark": ("lark", "start: " + nested(60_000, "(", '"a"', ")")),
    "a chain of rules": ("lark", "start: a0\n" + "".join(f"a{i}:a{i + 1}\n" for i in range(9000)) + 'a9000: "x"'),
    "doubling rules": ("lark", "start: a0\n" + "".join(f"a{i}: a{i + 1} a{i + 1}\n" for i in range(60)) + 'a60: "x"'),
    "doubling terminals": ("lark", "start: A0\n" + "".join(f"A{i}: A{i + 1} A{i + 1}\n" for i in range(60)) + 'A60: "x"'),
    "an ambiguous rule": ("lark", 'start: start start start | "a" | ""'),
    "many parentheses in GBNF": ("gbnf", "root ::= " + nested(60_000, "(", '"a"', ")")),
}
TRY = """
import json, sys
from qwq_local.backend import Constraint
from qwq_local.errors import ConstraintError, DecodeError
from qwq_local.llama import check_constraint
from tests.schemas import open_writer

constraint = Constraint(*json.load(sys.stdin))
outcomes = []
writer = open_writer()
for use in (check_constraint, lambda constraint: writer.write(constraint, 0, max_tokens=20)):
    try:
        use(constraint)
        outcomes.append("fine")
    except (ConstraintError, DecodeError) as error:
        outcomes.append(str(error))
print(outcomes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_constraint_ends_the_process_or_holds_it_up(name: str) -> None:
    kind, source = HOSTILE[name]
    assert len(source) <= MAX_SOURCE_BYTES, "it must get past the check of its size"
    done = subprocess.run(
        [sys.executable, "-c", TRY], input=json.dumps([kind, source]), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert len(done.stdout) < 1500
