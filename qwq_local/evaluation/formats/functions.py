"""Functions to write, tested by Python: HumanEval and MBPP.

Keys: HumanEval has task_id, prompt, entry_point, canonical_solution, test, which defines check(candidate) (github.com/openai/human-eval);
MBPP has task_id, text (prompt in its sanitized version), code, test_list, test_setup_code (test_imports), challenge_test_list
(github.com/google-research/google-research, mbpp).
"""

from __future__ import annotations

from typing import Any

from qwq_local.evaluation.formats.asking import CODE_INSTRUCTION, asked
from qwq_local.evaluation.formats.fields import Fields, LineError, check_text, has, list_of, name_of, text_of, texts_of
from qwq_local.evaluation.formats.python_code import check_identifier, check_python, is_python
from qwq_local.evaluation.question import Question
from qwq_local.grading import WantsCode


def read_humaneval(fields: Fields) -> Question:
    """HumanEval. Its prompts import and define what the tests need too, so that they come before the answer. Raises LineError."""
    stub = text_of(fields, "prompt")
    function = check_identifier(text_of(fields, "entry_point").strip(), "'entry_point'")
    test = check_python(text_of(fields, "test"), "'test'")
    if "def check" not in test:
        raise LineError("'test' defines no check()")
    prompt = f"Complete this Python function.\n\n```python\n{stub.rstrip()}\n```\n\nKeep its name and imports. {CODE_INSTRUCTION}"
    wanted = WantsCode(check=f"{test.rstrip()}\n\ncheck({function})\n", prelude=stub if is_python(stub) else "")
    return Question(name_of(fields, "task_id"), asked(prompt), wanted)


def read_mbpp(fields: Fields) -> Question:
    """MBPP, whose questions show their tests, since only they name the function. Raises LineError."""
    task = text_of(fields, "text", "prompt")
    tests = [check_python(test, f"test_list[{place}]").strip() for place, test in enumerate(texts_of(fields, "test_list"))]
    shown = "\n".join(tests)
    prompt = f"{task.rstrip()}\n\nThese tests must pass:\n\n```python\n{shown}\n```\n\n{CODE_INSTRUCTION}"
    check = check_python("\n".join([*_setup(fields), shown]), "its setup")
    return Question(name_of(fields, "task_id"), asked(prompt), WantsCode(check=f"{check}\n"))


def _setup(fields: Fields) -> list[str]:
    """What the tests need before them."""
    lines: list[str] = []
    if has(fields, "test_setup_code"):
        lines.append(check_text(fields["test_setup_code"], "'test_setup_code'"))
    imports: Any = fields.get("test_imports")
    if imports not in (None, "", "[]", []):
        lines += [check_text(line, f"test_imports[{place}]") for place, line in enumerate(list_of(fields, "test_imports"))]
    return lines
