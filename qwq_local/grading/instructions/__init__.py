"""Instructions that a program can check: the 25 kinds of IFEval (Zhou et al. 2023, arXiv:2311.07911).

Each is judged as IFEval's own program does (google-research, instruction_following_eval), so that scores can be compared, but where that
judges what the instruction does not say; each function's docstring tells in what it differs.
"""

from qwq_local.grading.instructions.grade import check_instruction, grade_instructions, grade_instructions_loosely
from qwq_local.grading.instructions.kinds import KINDS

__all__ = ["KINDS", "check_instruction", "grade_instructions", "grade_instructions_loosely"]
