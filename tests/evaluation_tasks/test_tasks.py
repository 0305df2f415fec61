"""Reading a file of tasks: every kind of file, what of it is malformed, and what is the same of the same tasks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import SettingsError
from qwq_local.evaluation.formats import find_format, format_of
from qwq_local.evaluation.formats.fields import LineError
from qwq_local.evaluation.question import Question
from qwq_local.evaluation.tasks import FORMATS, Malformed, TaskSet, canonical, read_tasks
from qwq_local.grading import WantsMaths

LINES = [{"id": "a", "prompt": "1 + 1?", "maths": "2"}, {"id": "b", "prompt": 'é?\n"x"', "text": "ü"}]


def jsonl() -> bytes:
    return "\n\n".join(json.dumps(line, ensure_ascii=False) for line in LINES).encode()


def array() -> bytes:
    return json.dumps(LINES, indent=1).encode()


def marked() -> bytes:
    return b"\xef\xbb\xbf" + jsonl().replace(b"\n", b"\r\n")


def csv() -> bytes:
    return 'id,prompt,maths,text\na,1 + 1?,2,\nb,"é?\n""x""",,ü\n'.encode()


KINDS: list[tuple[str, Callable[[], bytes]]] = [
    ("t.jsonl", jsonl),
    ("t.json", array),
    ("t.json", jsonl),
    ("t.txt", marked),
    ("t.csv", csv),
]


@pytest.mark.parametrize(("name", "make"), KINDS)
@pytest.mark.parametrize("is_packed", [False, True])
def test_the_same_tasks_are_read_from_every_kind_of_file(tmp_path: Path, name: str, make: Callable[[], bytes], is_packed: bool) -> None:
    content = make()
    path = tmp_path / (f"{name}.gz" if is_packed else name)
    path.write_bytes(gzip.compress(content) if is_packed else content)
    tasks = read_tasks(str(path))
    assert not tasks.malformed
    assert [question.name for question in tasks.questions] == ["a", "b"]
    assert tasks.questions[1].messages == ({"role": "user", "content": 'é?\n"x"'},)
    reference = tmp_path / "reference.jsonl"
    reference.write_bytes(jsonl())
    assert tasks.digest == read_tasks(str(reference)).digest
    assert len(tasks.digest) == 64


def read(path: Path, content: str | bytes, **options: Any) -> TaskSet:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_tasks(str(path), **options)


GOOD = '{"id": "a", "prompt": "1 + 1?", "maths": "2"}\n'


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (b"[1]", "an object, not a list"),
        (b"null", "an object, not null"),
        (b'{"id": "c", "prompt": "x", "maths": NaN}', "NaN is no number"),
        (b'{"prompt": "x", "maths": 1e999}', "too large a number"),
        (b'{"prompt": "x", "maths": ' + b"1" * 5000 + b"}", "not JSON that can be read"),
        (b'{"prompt": "\\ud800", "maths": 1}', "surrogate"),
        (b'{"prompt": "\xff", "maths": 1}', "not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"id": "c", "prompt": "x"}', "c: it must have one of"),
    ],
)
def test_a_malformed_line_is_named_and_passed_over_unless_strict(tmp_path: Path, line: bytes, why: str) -> None:
    path = tmp_path / "t.jsonl"
    content = GOOD.encode() + b"\n" + line + b"\n" + GOOD.replace('"a"', '"b"').encode()
    tasks = read(path, content)
    assert [question.name for question in tasks.questions] == ["a", "b"]
    assert [malformed.line for malformed in tasks.malformed] == [3]
    assert why in tasks.malformed[0].reason
    with pytest.raises(SettingsError, match="line 3: ") as caught:
        read_tasks(str(path), strict=True)
    assert str(path) in str(caught.value)


def test_a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwq_local.evaluation.rows.LONGEST_LINE_BYTES", 100)
    long = json.dumps({"prompt": "x" * 500, "maths": 1})
    tasks = read(tmp_path / "t.jsonl", GOOD + long + "\n" + GOOD + long)
    assert [question.name for question in tasks.questions] == ["a", "a#2"]
    assert tasks.malformed == (Malformed(2, "it is longer than 100 bytes"), Malformed(4, "it is longer than 100 bytes"))


def test_names_are_unique_and_those_without_one_are_called_by_their_row(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"id": "a"}, {"id": "a#2"}, {"id": "a"}, {"id": 7}, {}, {"id": "7"}]
    content = "".join(json.dumps({**line, "prompt": "x", "maths": 1}) + "\n" for line in lines)
    assert [question.name for question in read(tmp_path / "t.jsonl", content).questions] == ["a", "a#2", "a#3", "7", "5", "7#2"]


def test_an_arrays_malformed_elements_are_named_by_their_line(tmp_path: Path) -> None:
    tasks = read(tmp_path / "t.json", f'[\n{GOOD},\n3,\n\n{{"prompt": "\\ud800", "maths": 1}},{GOOD}]')
    assert [question.name for question in tasks.questions] == ["a", "a#2"]
    assert [(malformed.line, malformed.reason[:20]) for malformed in tasks.malformed] == [
        (4, "it must be an object"),
        (6, "it holds half of a s"),
    ]


@pytest.mark.parametrize(
    ("content", "line"),
    [(f"[{GOOD}\n{{]", 3), (f"[{GOOD}", 2), (f"[\n{GOOD}, NaN]", 3), (b"[\n\n\xff]", 3), ("[" * 200_000, 1), (f"[{GOOD},", 2), ("[", 1)],
)
def test_an_array_that_cannot_be_read_on_is_refused_with_the_line(tmp_path: Path, content: str | bytes, line: int) -> None:
    with pytest.raises(SettingsError, match=f"t.json, line {line}: "):
        read(tmp_path / "t.json", content)


def test_csv_names_rows_by_the_line_that_they_begin_at(tmp_path: Path) -> None:
    tasks = read(tmp_path / "t.csv", 'prompt,maths\n"a\nb",2\n\nx\n"c\nd",\ny,3\n')
    assert [question.name for question in tasks.questions] == ["1", "4"]
    assert [malformed.line for malformed in tasks.malformed] == [5, 6]
    assert tasks.malformed[0].reason == "it has 1 cells under 2 headings"
    with pytest.raises(SettingsError, match="line 3: "):
        read(tmp_path / "t.csv", 'prompt,maths\nx,1\n"a"b,2\n')


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.jsonl", b"", "it is empty"),
        ("t.json", b"[]", "it is empty"),
        ("t.csv", b"", "it is empty"),
        ("t.csv", b"prompt,maths\n", "it is empty"),
        ("t.jsonl", b"hello\n", "line 1: it is not JSON"),
        ("t.parquet", b"PAR1....PAR1", "is Parquet"),
        ("t.jsonl.gz", gzip.compress(b'{"prompt": "x", "maths": 1}\n' * 99, mtime=0)[:-9], "cannot be read"),
        ("t.jsonl.gz", b"\x1f\x8b\x08\x00" + b"x" * 99, "cannot be read"),
        ("t.jsonl", b'{"prompt": "x", "maths": []}\n', "has no question of the format qwq: line 1"),
    ],
)
def test_a_file_without_a_question_is_refused_with_what_to_do(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        read(tmp_path / name, content)
    assert caught.value.hint


def test_tasks_of_no_known_format_are_refused_with_their_keys_and_the_formats(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the keys are instruction, output") as caught:
        read(tmp_path / "t.jsonl", '{"instruction": "x", "output": "y"}\n')
    assert all(name in caught.value.hint for name in FORMATS)
    with pytest.raises(SettingsError, match="no format 'gsm9k'") as caught:
        read(tmp_path / "t.jsonl", GOOD, format_name="gsm9k")
    assert "gsm8k" in caught.value.hint


def test_a_first_line_of_no_format_does_not_hide_the_others(tmp_path: Path) -> None:
    tasks = read(tmp_path / "t.jsonl", '{"about": "these tasks"}\n' + GOOD)
    assert (len(tasks.questions), [malformed.line for malformed in tasks.malformed]) == (1, [1])


@pytest.mark.parametrize(("told", "why"), [("nowhere.jsonl", "does not exist"), (".", "is a folder"), ("", "is a folder")])
def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, why: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=why) as caught:
        read_tasks(told)
    assert "'nano'" in caught.value.hint


def test_what_is_said_of_a_line_stays_short(tmp_path: Path) -> None:
    tasks = read(tmp_path / "t.jsonl", GOOD + json.dumps({"prompt": "x", "maths": 1, "k" * 10_000: 1}))
    assert len(tasks.malformed[0].reason) <= 500


def test_the_digest_is_of_the_questions_and_their_order_and_of_nothing_else(tmp_path: Path) -> None:
    first, second = GOOD, GOOD.replace("1 + 1", "2 + 2").replace('"a"', '"b"')
    digest = read(tmp_path / "t.jsonl", first + second).digest
    assert (
        read(tmp_path / "other.jsonl", '{"maths": "2", "prompt": "1 + 1?", "comment": "!", "id": "a"}\n\n' + second + "{\n").digest
        == digest
    )
    for changed in (second + first, first, first + second.replace('"2"', '"4"'), first + second.replace('"maths"', '"text"')):
        assert read(tmp_path / "t.jsonl", changed).digest != digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SAMPLES = [
    json.loads(line)
    for path in sorted((Path(__file__).parents[1] / "data" / "tasks").glob("*.json*"))
    for line in path.read_text("utf-8").splitlines()
]
SAMPLE_KEYS = sorted({key for sample in SAMPLES for key in sample})


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A good line of any format, with something else in the place of some of its values."""
    line = dict(draw(st.sampled_from([*SAMPLES, *LINES])))
    for key in draw(st.lists(st.sampled_from([*line, *SAMPLE_KEYS]), max_size=3)):
        line[key] = draw(JSON | st.sampled_from([value for sample in SAMPLES for value in sample.values()]))
    return line


@given(line=damaged(), name=st.sampled_from(sorted(FORMATS)))
def test_any_line_makes_a_question_or_an_error_that_says_why(line: dict[str, Any], name: str) -> None:
    for shape in (format_of(name), find_format(line)):
        if shape is None:
            continue
        try:
            question = shape.read(line)
        except LineError:
            continue
        assert question.messages[-1]["role"] in {"user", "tool"}
        assert question.name.isprintable()
        assert canonical(question)


@given(content=st.binary(max_size=60) | st.text(alphabet='[]{}",:\\\n 1a\u20ac', max_size=60).map(str.encode))
@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{name}"
    for before in (b"", GOOD.encode()):
        try:
            tasks = read(path, before + content)
        except SettingsError:
            is_refused = True
        else:
            is_refused = not tasks.questions
        assert not is_refused or name.endswith(".csv") or not before


def test_a_question_is_written_in_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    one = Question("a", ({"role": "user", "content": "x"},), WantsMaths("1"))
    other = Question("a", ({"content": "x", "role": "user"},), WantsMaths("1"))
    assert canonical(one) == canonical(other) != canonical(Question("a", one.messages, WantsMaths("2")))
