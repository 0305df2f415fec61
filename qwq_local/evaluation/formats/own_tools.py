"""Our own format's `calls` and `instructions`."""

from __future__ import annotations

from collections.abc import Sequence

from qwq_local.evaluation.formats.fields import LineError, check_keys, check_object, check_text, kind
from qwq_local.evaluation.formats.ifeval import checked_instruction
from qwq_local.evaluation.formats.tools import Call, check_call
from qwq_local.grading import WantsCalls, WantsInstructions


def read_calls(value: object, functions: Sequence[str], *, is_ordered: bool) -> WantsCalls:
    """A list of `{"name", "arguments"}`, each argument with right values; none in an empty list. Raises LineError."""
    if not isinstance(value, list):
        raise LineError(f"'calls' must be a list of calls, not {kind(value)}")
    return WantsCalls(tuple(_call(each, f"calls[{place}]", functions) for place, each in enumerate(value)), is_ordered)


def read_instructions(value: object) -> WantsInstructions:
    """A list of `{"name", "arguments"}`, named as IFEval names them. Raises LineError."""
    if not isinstance(value, list) or not value:
        raise LineError("'instructions' must be a list of instructions")
    instructions = []
    for place, each in enumerate(value):
        name = f"instructions[{place}]"
        given = check_object(each, name)
        check_keys(given, name, ("name", "arguments"))
        arguments = check_object(given.get("arguments", {}), f"{name}'s arguments")
        instructions.append(checked_instruction(check_text(given.get("name"), f"{name}'s name"), arguments))
    return WantsInstructions(tuple(instructions))


def _call(value: object, name: str, functions: Sequence[str]) -> Call:
    call = check_object(value, name)
    check_keys(call, name, ("name", "arguments"))
    return check_call(check_text(call.get("name"), f"{name}'s name"), call.get("arguments", {}), functions)
