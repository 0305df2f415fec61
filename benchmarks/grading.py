"""Whether nano's answers are right: its problems have one text that counts."""

from __future__ import annotations

import json
import math
import statistics

from qwq_local import card
from qwq_local.runtime import Reply
from tests.nano.tasks import Problem


def is_right(reply: Reply, problem: Problem) -> bool:
    """The whole answer, calls as QwQ writes them, is what is due."""
    return answer_text(reply).strip() == problem.answer.strip()


def wilson(n_right: int, n_all: int) -> tuple[float, float]:
    """The 95 % interval of a share of right answers (Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    z = statistics.NormalDist().inv_cdf(0.975)
    share, weight = n_right / n_all, 1 + z * z / n_all
    middle = (share + z * z / (2 * n_all)) / weight
    half = z / weight * math.sqrt(share * (1 - share) / n_all + z * z / (4 * n_all * n_all))
    return middle - half, middle + half


def answer_text(reply: Reply) -> str:
    """What the model wrote after its thought."""
    calls = [
        f'{card.TOOL_CALL}\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n{card.END_TOOL_CALL}'
        for call in reply.tool_calls
    ]
    return "\n".join([*([reply.content] if reply.content else []), *calls])
