"""Whether nano's answers are right: its problems have one text that counts."""

from __future__ import annotations

import json

from qwq_local import card
from qwq_local.runtime import Reply
from tests.nano.tasks import Problem


def is_right(reply: Reply, problem: Problem) -> bool:
    """The whole answer, calls as QwQ writes them, is what is due."""
    return answer_text(reply).strip() == problem.answer.strip()


def answer_text(reply: Reply) -> str:
    """What the model wrote after its thought."""
    calls = [
        f'{card.TOOL_CALL}\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n{card.END_TOOL_CALL}'
        for call in reply.tool_calls
    ]
    return "\n".join([*([reply.content] if reply.content else []), *calls])
