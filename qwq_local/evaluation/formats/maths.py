r"""Sets of maths problems with a short answer: AIME, MATH and GSM8K.

Keys: AI-MO/aimo-validation-aime and HuggingFaceH4/aime_2024 have id, problem, solution, answer, url; math-ai/aime24 has id, problem,
solution with a \boxed{} in it; Maxwell-Jia/AIME_2024 has ID, Problem, Solution, Answer; HuggingFaceH4/MATH-500 has problem, solution,
answer, subject, level, unique_id; openai/gsm8k has question, and an answer that ends in `#### 42` (github.com/openai/grade-school-math);
opencompass/AIME2025 has question and the bare answer.
"""

from __future__ import annotations

from typing import Final

from qwq_local.evaluation.formats.asking import asked, maths_prompt
from qwq_local.evaluation.formats.fields import Fields, LineError, answer_of, group_of, has, name_of, text_of
from qwq_local.evaluation.question import Question
from qwq_local.grading import WantsMaths

_BOX: Final = "\\boxed{"
_LONGEST: Final = 1000
"""Characters: what is longer is a solution, and no answer to compare with."""


def read_problem(fields: Fields) -> Question:
    """AIME, and whatever has its keys. Raises LineError."""
    problem = text_of(fields, "problem", "Problem")
    name = name_of(fields, "id", "ID", "unique_id", "problem_idx")
    group = group_of(fields, "subject", "type", "year", "Year")
    return Question(name, asked(maths_prompt(problem)), WantsMaths(_answer(fields)), group)


def read_gsm8k(fields: Fields) -> Question:
    """GSM8K: the answer stands behind the last `####`, with commas between thousands; without one it is the whole. Raises LineError."""
    question = text_of(fields, "question")
    worked = answer_of(fields, "answer")
    answer = _short(worked.rpartition("####")[2].strip().replace(",", "") if "####" in worked else worked)
    return Question(name_of(fields, "id"), asked(maths_prompt(question)), WantsMaths(answer))


def last_box(text: str) -> str | None:
    r"""What stands in the last \boxed{} that is closed; None where there is none."""
    end = len(text)
    while (start := text.rfind(_BOX, 0, end)) >= 0:
        inside, depth = start + len(_BOX), 1
        for place in range(inside, end):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[inside:place].strip()
        end = start
    return None


def _answer(fields: Fields) -> str:
    """The answer by itself, or what the solution boxes."""
    key = next((key for key in ("answer", "Answer") if has(fields, key)), "")
    if key:
        answer = answer_of(fields, key)
        return _short(last_box(answer) or answer)
    solution = text_of(fields, "solution", "Solution")
    boxed = last_box(solution)
    if boxed is None:
        raise LineError("it has no 'answer', and its solution has no \\boxed{} that is closed")
    return _short(boxed)


def _short(answer: str) -> str:
    if not answer:
        raise LineError("its answer is blank")
    if len(answer) > _LONGEST:
        raise LineError(f"its answer has {len(answer):,} characters: that is a solution, and no answer")
    return answer
