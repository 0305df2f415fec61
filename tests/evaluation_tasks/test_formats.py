"""Each public format, by a file in its shape: which question comes of it, and what is taken for right."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from qwq_local import card
from qwq_local.errors import SettingsError
from qwq_local.evaluation.question import Question
from qwq_local.evaluation.tasks import FORMATS, TaskSet, read_tasks
from qwq_local.grading import (
    CallTest,
    Instruction,
    StdinTest,
    WantsCalls,
    WantsChoice,
    WantsCode,
    WantsInstructions,
    WantsMaths,
)

FILES = Path(__file__).parents[1] / "data" / "tasks"


def read(name: str, **options: Any) -> TaskSet:
    return read_tasks(str(FILES / name), **options)


def said(question: Question) -> str:
    return str(question.messages[-1]["content"])


def code_of(question: Question) -> WantsCode:
    assert isinstance(question.wanted, WantsCode)
    return question.wanted


def only(tasks: TaskSet) -> Question:
    assert not tasks.malformed
    (question,) = tasks.questions
    return question


def write(path: Path, *lines: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def test_aime_asks_for_a_box_and_takes_the_answer_as_it_is_written() -> None:
    tasks = read("aime.jsonl")
    assert tasks.name == "aime"
    assert [question.name for question in tasks.questions] == ["0", "1"]
    assert said(tasks.questions[0]) == f"A box holds 12 red and 30 blue marbles. How many marbles are in the box?\n{card.MATH_INSTRUCTION}"
    assert [question.wanted for question in tasks.questions] == [WantsMaths("42"), WantsMaths("24")]


def test_where_a_solution_alone_is_given_its_last_box_is_the_answer() -> None:
    question = only(read("aime_in_solution.jsonl"))
    assert question.wanted == WantsMaths(r"\frac{1}{2}")
    assert question.name == "2024-X-1"


def test_math_500_is_grouped_by_subject() -> None:
    question = only(read("math500.jsonl"))
    assert (question.name, question.group, question.wanted) == ("test/algebra/1.json", "Algebra", WantsMaths("4"))


def test_gsm8k_has_its_answer_behind_the_hashes() -> None:
    question = only(read("gsm8k.jsonl"))
    assert question.wanted == WantsMaths("1200")
    assert said(question).endswith(card.MATH_INSTRUCTION)


def test_gpqa_is_shuffled_by_the_question_alone_and_the_letter_follows(tmp_path: Path) -> None:
    tasks = read("gpqa.csv")
    assert not tasks.malformed
    assert [(question.name, question.group) for question in tasks.questions] == [("rec1", "Chemistry"), ("rec2", "Physics")]
    for question, right in zip(tasks.questions, ("Hydrogen", "Mercury"), strict=True):
        assert isinstance(question.wanted, WantsChoice)
        assert question.wanted.letters == "ABCD"
        assert f"\n{question.wanted.letter}) {right}\n" in said(question)
        assert said(question).endswith(card.CHOICE_INSTRUCTION)
    headings = ["Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]
    same = dict(zip(headings, ["Which planet is nearest to the sun?", "Mercury", "Mars", "Venus", "Earth"], strict=True))
    again = only(read_tasks(write(tmp_path / "g.jsonl", same)))
    assert (again.messages, again.wanted) == (tasks.questions[1].messages, tasks.questions[1].wanted)


def test_gpqas_right_answers_are_not_all_the_same_letter(tmp_path: Path) -> None:
    lines = [
        {"Question": f"Which one, {n}?", "Correct Answer": "w", **{f"Incorrect Answer {k}": str(k) for k in (1, 2, 3)}} for n in range(200)
    ]
    letters = [
        question.wanted.letter
        for question in read_tasks(write(tmp_path / "g.jsonl", *lines)).questions
        if isinstance(question.wanted, WantsChoice)
    ]
    assert all(30 <= letters.count(letter) <= 70 for letter in "ABCD")


def test_mmlu_counts_options_from_0_and_mmlu_pro_letters_them_up_to_j() -> None:
    question = only(read("mmlu.jsonl"))
    assert (question.group, question.wanted) == ("zoology", WantsChoice("C"))
    assert said(question).splitlines()[1:5] == ["A) Four", "B) Six", "C) Eight", "D) Ten"]
    pro = only(read("mmlu_pro.jsonl"))
    assert (pro.name, pro.group, pro.wanted) == ("70", "other", WantsChoice("J", "ABCDEFGHIJ"))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("E", "letters ABCD"),
        (4, "there are 4"),
        (-1, "letters ABCD"),
        ("", "no 'answer'"),
        ("AB", "letters"),
        ([1], "not a list"),
        ("²", "letters"),
    ],
)
def test_an_answer_outside_the_options_is_malformed(tmp_path: Path, answer: object, why: str) -> None:
    good = {"question": "q", "choices": ["a", "b", "c", "d"], "answer": 0}
    tasks = read_tasks(write(tmp_path / "m.jsonl", good, {**good, "answer": answer}))
    assert [line.line for line in tasks.malformed] == [2]
    assert why in tasks.malformed[0].reason


def test_a_letter_that_contradicts_its_index_is_malformed(tmp_path: Path) -> None:
    good = {"question": "q", "options": ["a", "b"], "answer": "A", "answer_index": 0}
    tasks = read_tasks(write(tmp_path / "m.jsonl", good, {**good, "answer_index": 1}))
    assert "'answer' says A, and 'answer_index' says B" in tasks.malformed[0].reason


def test_humaneval_is_checked_by_its_test_behind_its_own_stub() -> None:
    question = only(read("humaneval.jsonl"))
    wanted = code_of(question)
    assert "```python\nfrom typing import List" in said(question)
    program = "def total(numbers):\n    return sum(numbers)\n"
    exec(compile("\n".join([wanted.prelude, program, wanted.check]), "own", "exec"), {})  # noqa: S102 # our own sample file
    with pytest.raises(AssertionError):
        exec(compile("\n".join([wanted.prelude, wanted.check]), "own", "exec"), {})  # noqa: S102 # likewise


def test_mbpp_shows_its_tests_and_sets_up_what_they_need() -> None:
    tasks = read("mbpp.jsonl")
    assert not tasks.malformed
    halve, double = tasks.questions
    assert "assert halve(4) == 2" in said(halve)
    assert code_of(halve).check == "import math\nassert halve(4) == 2\nassert math.isclose(halve(1), 0.5)\n"
    assert code_of(double).check == "import math\nassert double(4) == 8\n"


def test_livecodebench_has_programs_and_functions() -> None:
    tasks = read("livecodebench.jsonl")
    assert not tasks.malformed
    program, function = tasks.questions
    assert code_of(program).stdin_tests == (StdinTest("1 2\n", "3\n"), StdinTest("5 6\n", "11\n"))
    assert "stdin" in said(program)
    assert (code_of(function).function, code_of(function).call_tests) == ("pick", (CallTest(([4, 5, 6], 1), 5),))
    assert "class Solution:" in said(function)
    assert (program.group, function.group) == ("easy", "medium")
    for question in tasks.questions:
        exec(compile(code_of(question).prelude, "own", "exec"), {})  # noqa: S102 # a constant of the package


def packed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


class Harmful:
    """What does something when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm"),)


TESTS = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]


def private(value: str) -> dict[str, Any]:
    return {"question_content": "q", "public_test_cases": json.dumps(TESTS), "private_test_cases": value}


@pytest.mark.parametrize("protocol", range(6))
def test_livecodebenchs_packed_tests_are_read_without_being_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.setattr(pickle, "loads", None)
    value = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(TESTS * 3), protocol))).decode()
    assert len(code_of(only(read_tasks(write(tmp_path / "l.jsonl", private(value))))).stdin_tests) == 4


def test_a_pickle_that_does_more_than_hold_a_text_is_refused_and_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = [packed(Harmful()), packed([json.dumps(TESTS)]), packed(json.dumps(TESTS).encode()), packed(3), "A" * 40, "no base64!"]
    values.append(base64.b64encode(zlib.compress(b"\x80\x04X\xff\xff\xff\x7fa.")).decode())
    tasks = read_tasks(write(tmp_path / "l.jsonl", private("[]"), *map(private, values)))
    assert len(tasks.questions) == 1
    assert [line.line for line in tasks.malformed] == list(range(2, 2 + len(values)))
    assert "it was not loaded" in tasks.malformed[0].reason
    assert not (tmp_path / "harm").exists()


def test_tests_that_unfold_beyond_measure_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwq_local.evaluation.formats.livecodebench.LONGEST_TESTS_BYTES", 1000)
    tasks = read_tasks(write(tmp_path / "l.jsonl", private("[]"), private(packed(json.dumps(TESTS * 1000)))))
    assert "longer than 1,000 bytes" in tasks.malformed[0].reason


def test_ifeval_keeps_the_arguments_that_are_given() -> None:
    question = only(read("ifeval.jsonl"))
    words = Instruction("length_constraints:number_words", {"relation": "at least", "num_words": 20})
    assert question.wanted == WantsInstructions((Instruction("punctuation:no_comma", {}), words))
    assert (question.name, question.group) == ("1000", "punctuation")


def test_bfcl_finds_its_answers_beside_it_and_describes_functions_as_openai_does() -> None:
    tasks = read("BFCL_v4_simple_python.json")
    area, greet = tasks.questions
    assert area.wanted == WantsCalls((("geometry_area", {"width": (3, 3.0), "height": (4.5,), "corner": ("", [0, 0]), "options": ("",)}),))
    function = area.tools[0]["function"]
    assert function["name"] == "geometry_area"
    schema = function["parameters"]
    assert (schema["type"], schema["required"]) == ("object", ["width", "height"])
    types = {name: described["type"] for name, described in schema["properties"].items()}
    assert types == {"width": "number", "height": "number", "corner": "array", "options": "object"}
    assert schema["properties"]["corner"]["items"] == {"type": "integer"}
    assert schema["properties"]["options"]["properties"] == {"unit": {"type": "string"}}
    assert [message["role"] for message in greet.messages] == ["system", "user"]
    assert area.group == "simple_python"
    assert [line.line for line in tasks.malformed] == [3]
    assert "no ground_truth" in tasks.malformed[0].reason


def test_bfcls_answers_may_be_elsewhere(tmp_path: Path) -> None:
    tasks = tmp_path / "moved.json"
    tasks.write_bytes((FILES / "BFCL_v4_simple_python.json").read_bytes())
    answers = str(FILES / "possible_answer" / "BFCL_v4_simple_python.json")
    assert read_tasks(str(tasks), answers=answers).questions == read("BFCL_v4_simple_python.json").questions
    with pytest.raises(SettingsError, match="no question"):
        read_tasks(str(tasks))
    with pytest.raises(SettingsError, match="no answers apart"):
        read("aime.jsonl", answers=answers)


def test_bfcls_irrelevant_questions_want_no_call() -> None:
    question = only(read("BFCL_v4_irrelevance.json"))
    assert question.wanted == WantsCalls(())
    assert question.tools[0]["function"]["name"] == "greet"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "simple_java_1"}, "Java"),
        ({"id": "live_relevance_3-3-0"}, "any call would be right"),
        ({"id": "multi_turn_base_1"}, "several turns"),
        ({"question": [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]]}, "2 turns"),
        ({"ground_truth": [{"f": {"x": 1}}]}, "list of the values"),
        ({"ground_truth": [{"g": {"x": [1]}}]}, "a call of 'g'"),
        ({"ground_truth": [{"f": {}, "g": {}}]}, "one function, not 2"),
        ({"function": [{"name": "a.b"}, {"name": "a_b"}]}, "two functions are called 'a_b'"),
        ({"function": [{"name": "f" * 65}]}, "longer than 64"),
        ({"function": []}, "no functions"),
        ({"function": 3}, "must be an object"),
    ],
)
def test_what_of_bfcl_is_not_graded_is_named(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    good = {
        "id": "simple_0",
        "question": [[{"role": "user", "content": "a"}]],
        "function": [{"name": "f"}],
        "ground_truth": [{"f": {"x": [1]}}],
    }
    tasks = read_tasks(write(tmp_path / "b.json", good, good | changes))
    assert [line.line for line in tasks.malformed] == [2]
    assert why in tasks.malformed[0].reason


def test_every_format_has_a_sample_and_a_line_that_tells_of_it() -> None:
    samples = {
        "aime": "aime.jsonl",
        "gsm8k": "gsm8k.jsonl",
        "gpqa": "gpqa.csv",
        "mmlu": "mmlu.jsonl",
        "humaneval": "humaneval.jsonl",
        "mbpp": "mbpp.jsonl",
        "livecodebench": "livecodebench.jsonl",
        "ifeval": "ifeval.jsonl",
        "bfcl": "BFCL_v4_irrelevance.json",
    }
    assert {*samples, "qwq"} == set(FORMATS)
    for name, sample in samples.items():
        assert read(sample, format_name=name.upper()) == read(sample), "named, it is read as it is when told by its keys"
    assert all("\n" not in about for about in FORMATS.values())
