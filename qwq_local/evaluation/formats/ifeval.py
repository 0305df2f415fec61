"""IFEval: prompts with instructions that a program can check.

Keys (github.com/google-research/google-research, instruction_following_eval/data/input_data.jsonl): key, prompt, instruction_id_list,
kwargs, one object for each instruction. google/IFEval on the hub fills each of these with nulls for the arguments of all others.
"""

from __future__ import annotations

from typing import Any

from qwq_local.errors import SettingsError
from qwq_local.evaluation.formats.asking import asked
from qwq_local.evaluation.formats.fields import Fields, LineError, check_object, list_of, name_of, text_of, texts_of
from qwq_local.evaluation.question import Question
from qwq_local.grading import Instruction, WantsInstructions
from qwq_local.grading.instructions import check_instruction


def read_ifeval(fields: Fields) -> Question:
    """One prompt; what it is about, its group, is the kind of its first instruction. Raises LineError."""
    prompt = text_of(fields, "prompt")
    names = texts_of(fields, "instruction_id_list")
    arguments = list_of(fields, "kwargs")
    if len(names) != len(arguments):
        raise LineError(f"it has {len(names)} instructions, and arguments ('kwargs') for {len(arguments)}")
    instructions = tuple(
        checked_instruction(name, check_object(given, f"kwargs[{place}]"))
        for place, (name, given) in enumerate(zip(names, arguments, strict=True))
    )
    group = instructions[0].name.partition(":")[0]
    return Question(name_of(fields, "key"), asked(prompt), WantsInstructions(instructions), group)


def checked_instruction(name: str, arguments: dict[str, Any]) -> Instruction:
    """An instruction by its name, `kind:what`, without the arguments that are null. Raises LineError."""
    instruction = Instruction(name, {key: value for key, value in arguments.items() if value is not None})
    try:
        check_instruction(instruction)
    except SettingsError as error:
        raise LineError(f"{str(error).rstrip('.')}: {error.hint}") from error
    return instruction
