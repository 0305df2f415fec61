"""Grade an answer by the instructions it was to follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwq_local.errors import SettingsError
from qwq_local.grading.instructions.arguments import Argument
from qwq_local.grading.instructions.kinds import KINDS
from qwq_local.grading.instructions.language import check_detector
from qwq_local.grading.wanted import Given, Grade, Instruction, WantsInstructions


def grade_instructions(wanted: WantsInstructions, given: Given) -> Grade:
    """Right where every instruction is followed, to the letter: IFEval's strict accuracy by prompts.

    `found` is the whole answer, `why` names each instruction that is not followed and what was seen instead. An empty answer follows none.
    Raises SettingsError for an instruction that `check_instruction` refuses.
    """
    return _graded(wanted, given, [given.content])


def grade_instructions_loosely(wanted: WantsInstructions, given: Given) -> Grade:
    """The same, but an instruction is also followed where the answer would follow it with its first line or its last one left out, or both.

    And in all four without its asterisks, so that an introduction or bold type does no harm: IFEval's loose accuracy (section 3 of the
    paper). Each instruction may be followed in another of the eight.
    """
    lines = given.content.split("\n")
    versions = [given.content, *("\n".join(part) for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return _graded(wanted, given, [*versions, *(version.replace("*", "") for version in versions)])


def check_instruction(instruction: Instruction) -> None:
    """Raise SettingsError for an unknown name, for arguments that are missing, unknown or no such values, and for want of a library.

    An argument that is None is left out, as the hub's copy of IFEval's data has it.
    """
    kind = KINDS.get(instruction.name)
    if kind is None:
        raise SettingsError(f"There is no instruction {instruction.name!r}.", hint=f"Use one of: {', '.join(sorted(KINDS))}.")
    arguments = _arguments(instruction)
    unknown = [name for name in arguments if name not in kind.arguments]
    if unknown:
        known = f"It takes {', '.join(kind.arguments)}." if kind.arguments else "It takes none."
        raise SettingsError(f"{instruction.name} has no argument {unknown[0]!r}.", hint=known)
    for name, argument in kind.arguments.items():
        _check_argument(f"{name} of {instruction.name}", arguments.get(name), argument)
    if kind.needs_language:
        check_detector()


def _check_argument(name: str, value: object, argument: Argument) -> None:
    if value is None and not argument.is_optional:
        raise SettingsError(f"{name} is missing.", hint=f"Give {argument.wanted}.")
    if value is not None and not argument.is_fit(value):
        raise SettingsError(f"{name} is {value!r}.", hint=f"Give {argument.wanted}.")


def _arguments(instruction: Instruction) -> Mapping[str, Any]:
    return {name: value for name, value in instruction.arguments.items() if value is not None}


def _graded(wanted: WantsInstructions, given: Given, versions: Sequence[str]) -> Grade:
    judged = [(instruction.name, _complaint(instruction, given, versions)) for instruction in wanted.instructions]
    complaints = [f"{name}: {complaint}" for name, complaint in judged if complaint]
    return Grade(not complaints, given.content.strip(), "; ".join(complaints))


def _complaint(instruction: Instruction, given: Given, versions: Sequence[str]) -> str:
    """What is wrong with the first of the versions, where something is wrong with all of them."""
    check_instruction(instruction)
    kind = KINDS[instruction.name]
    arguments = dict(_arguments(instruction))
    if "prompt_to_repeat" in kind.arguments:
        arguments.setdefault("prompt_to_repeat", given.prompt)
    complaints = []
    for version in versions:
        if version.strip():
            complaints.append(kind.complaint(version, **arguments))
            if not complaints[-1]:
                return ""
    return complaints[0] if complaints else "an empty answer"
