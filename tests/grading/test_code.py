"""Programs graded by their tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qwq_local.errors import SettingsError
from qwq_local.grading import CallTest, Given, Grade, StdinTest, WantsCode
from qwq_local.grading.code import grade_code
from qwq_local.sandbox import refusal

ADD = WantsCode(stdin_tests=(StdinTest("1 2\n", "3\n"), StdinTest("20 22\n", "42\n")))
TWICE = WantsCode(
    function="twice", call_tests=(CallTest((2,), 4), CallTest(("ab",), "abab"), CallTest(([1, [2.5]],), [1, [2.5], 1, [2.5]]))
)
HUMAN = WantsCode(
    prelude='from typing import List\n\n\ndef largest(numbers: List[int]) -> int:\n    """The largest."""\n',
    check="def check(candidate):\n    assert candidate([1, 2]) == 2\n    assert candidate([-1]) == -1, 'of one'\n\ncheck(largest)",
)

EARLY = "it ended before its check had run to the end"


@pytest.fixture(autouse=True)
def confined() -> None:
    if reason := refusal():
        pytest.skip(f"programs cannot be confined here: {reason}")


def grade(wanted: WantsCode, program: str) -> Grade:
    return grade_code(wanted, Given(f"Here it is:\n\n```python\n{program}\n```\n"))


@pytest.mark.parametrize(
    ("wanted", "program"),
    [
        (ADD, "a, b = map(int, input().split())\nprint(a + b)"),
        (ADD, "a, b = map(int, input().split())\nprint(a + b, end='  \\n\\n')"),
        (ADD, "def main():\n    print(sum(map(int, open(0).read().split())))\n\nif __name__ == '__main__':\n    main()"),
        (TWICE, "def twice(x):\n    print('called with', x)\n    return x + x"),
        (TWICE, "class Solution:\n    def twice(self, x): return x * 2"),
        (TWICE, "def twice(x): return tuple(x * 2) if isinstance(x, list) else x * 2"),
        (TWICE, "def twice(x): return x * 2\n\nif __name__ == '__main__':\n    print(twice(input()))"),
        (HUMAN, "def largest(numbers):\n    return max(numbers)"),
        (HUMAN, "    return max(numbers)"),
        (HUMAN, "from __future__ import annotations\ndef largest(numbers: List[int]) -> int:\n    return max(numbers)"),
        (HUMAN, "import sys\ndef largest(numbers): return max(numbers)\nprint('trying', largest([1]))"),
    ],
)
def test_a_right_program_passes(wanted: WantsCode, program: str) -> None:
    assert grade(wanted, program) == Grade(True, "passed")


@pytest.mark.parametrize(
    ("wanted", "program", "found", "why"),
    [
        (ADD, "print(3)", "wrong", "test 2: printed '3', wanted '42'"),
        (ADD, "print('1\\n3')", "wrong", "test 1: line 1 is '1', wanted '3'"),
        (ADD, "print(3, 4, sep='\\n')", "wrong", "test 1: printed 2 lines, wanted 1"),
        (ADD, "print(3)\n1 / 0", "error", "test 1 ended with ZeroDivisionError: division by zero"),
        (ADD, "import sys; sys.exit(4)", "error", "test 1 ended with the exit code 4"),
        (ADD, "print(3", "error", "test 1 ended with SyntaxError: '(' was never closed"),
        (ADD, "x = [0] * (1 << 40)", "too much memory", "test 1 took more than 1 GiB of memory"),
        (ADD, "while True: print('x' * 10**6)", "too much output", "test 1 printed more than 4 MiB"),
        (ADD, "import os; os.abort()", "crash", "test 1 ended by the signal SIGABRT"),
        (ADD, "import os; os.kill(os.getpid(), 40)", "crash", "test 1 ended by the signal 40"),
        (ADD, "raise ValueError('\\x1b[2J')", "error", "test 1 ended with ValueError: \ufffd[2J"),
        (TWICE, "def twice(x): return 4", "wrong", "test 2: returned 4, wanted 'abab'"),
        (TWICE, "def twice(x): print(4)", "wrong", "test 1: returned None, wanted 4"),
        (TWICE, "def twice(x): return {x}", "wrong", "test 1: returned a value of type 'set', wanted 4"),
        (TWICE, "def double(x): return x * 2", "error", "test 1 ended with NameError: name 'twice' is not defined"),
        (TWICE, "import os\ndef twice(x): os._exit(0)", "ended early", "test 1: it ended before it returned"),
        (TWICE, "import sys\nsys.exit(0)", "ended early", "test 1: it ended before it returned"),
        (TWICE, "print('{\"result\": 4}')\nraise SystemExit", "ended early", "test 1: it ended before it returned"),
        (HUMAN, "def largest(numbers): return numbers[0]", "wrong", "the check failed: AssertionError"),
        (HUMAN, "def largest(numbers): return numbers[-1] if len(numbers) > 1 else 0", "wrong", "the check failed: AssertionError: of one"),
        (HUMAN, "import sys\nsys.exit(0)", "ended early", EARLY),
        (HUMAN, "import os\nos._exit(0)", "ended early", EARLY),
        (HUMAN, "import os\ndef largest(numbers): os._exit(0)", "ended early", EARLY),
        (HUMAN, "import os\nprint('{\"token\": \"x\"}', flush=True)\nos._exit(0)", "ended early", EARLY),
        (HUMAN, "import atexit, os\natexit.register(os._exit, 0)\ndef largest(numbers): return 1", "ended early", EARLY),
        (HUMAN, "def largest(numbers) return", "error", "the check ended with SyntaxError: expected ':'"),
    ],
)  # fmt: skip
def test_a_wrong_program_fails_and_is_told_why(wanted: WantsCode, program: str, found: str, why: str) -> None:
    assert grade(wanted, program) == Grade(False, found, why)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(10**6)"])
def test_a_slow_program_is_told_with_its_limit(program: str) -> None:
    wanted = WantsCode(stdin_tests=(StdinTest("", ""),), seconds=0.2)
    assert grade(wanted, program) == Grade(False, "too slow", "test 1 took longer than 0.2 s")


def test_a_program_needs_no_fence() -> None:
    assert grade_code(ADD, Given("a, b = map(int, input().split())\nprint(a + b)")).is_right


@pytest.mark.parametrize(
    "content",
    [
        "",
        "  \n",
        "I would add the numbers.",
        "```python\n\n```",
        "```c++\nint main() { return 0; }\n```",
        "(" * 100_000,
        "a\x00b",
        "\ud800 = 1",
    ],
)
def test_an_answer_without_a_program_is_told_so(content: str) -> None:
    assert grade_code(ADD, Given(content)) == Grade(False, "", "no program in the answer")


def test_a_prelude_stands_before_a_script_and_what_must_be_first_stays_first() -> None:
    wanted = WantsCode(stdin_tests=(StdinTest("9", "3"),), prelude="from math import *")
    assert grade(wanted, "from __future__ import annotations\nprint(int(sqrt(int(input()))))") == Grade(True, "passed")


@pytest.mark.parametrize(
    ("result", "returned", "is_right"),
    [
        (0.3, "0.1 + 0.2", True),
        (0.3, "0.31", False),
        (1, "1.0", True),
        (2, "10 ** 5000", False),
        (0.5, "10 ** 400", False),
        ([1, 2], "(1, 2)", True),
        ([1, 2], "[1]", False),
        ({"a": [0.5]}, "{'a': [0.5 + 1e-12]}", True),
        ({"a": 1}, "{'b': 1}", False),
        (True, "True", True),
        ("1", "1", False),
        (None, "None", True),
        ("x", "eval('[' * 150 + ']' * 150)", False),
        ("ü\ud800", "'ü\\ud800'", True),
    ],
)
def test_results_are_equal_as_values_of_json(result: Any, returned: str, is_right: bool) -> None:
    wanted = WantsCode(function="f", call_tests=(CallTest((), result),))
    assert grade(wanted, f"def f(): return {returned}").is_right is is_right


def test_a_result_nested_without_end_is_wrong() -> None:
    wanted = WantsCode(function="f", call_tests=(CallTest((), 1),))
    deep = "def f():\n    x = []\n    for _ in range(100_000): x = [x]\n    return x"
    assert not grade(wanted, deep).is_right
    # By the private channel, which a program can find: results that no parser likes.
    forged = "import os\ndef f():\n    os.write(3, b'[' * 100_000)\n    os._exit(0)"
    assert grade(wanted, forged) == Grade(False, "ended early", "test 1: it ended before it returned")


def test_arguments_pass_as_they_are() -> None:
    arguments = (1, 2.5, "ä\n", [None, True], {"k": [1]})
    wanted = WantsCode(function="f", call_tests=(CallTest(arguments, json.dumps(arguments)),))
    assert grade(wanted, "import json\ndef f(*arguments): return json.dumps(arguments)").is_right


def test_a_question_without_tests_is_refused() -> None:
    with pytest.raises(SettingsError, match="has no test"):
        grade_code(WantsCode(), Given("```python\n1\n```"))
