"""Answers that must call a tool, or call it rightly: OpenAI's `tools` and `tool_choice` as a grammar of QwQ's tool calls. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qwq_local import card
from qwq_local.backend import Constraint
from qwq_local.errors import PromptError

ToolChoice = str | Mapping[str, Any] | None

_STYLE: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""How QwQ's template writes JSON; `x-guidance` is where llguidance looks for it (docs/json_schema.md)."""
_NO_PARAMETERS: Final = {"type": "object", "properties": {}, "additionalProperties": False}


def tool_constraint(tools: Sequence[Mapping[str, Any]], choice: ToolChoice, *, is_parallel: bool = True) -> Constraint | None:
    """What an answer must look like that has to call a tool; None where that is left to the model.

    "required" asks for any of the tools, {"type": "function", "function": {"name": …}} for this one; `is_parallel` allows several calls.
    Under "auto", or nothing, there may be text, calls or both: then a constraint is only needed for tools that are `strict`, or where there
    may be one call at most. A tool without parameters takes none. The calls are those of QwQ's chat template, in llguidance's Lark
    (docs/syntax.md). Raises PromptError for a choice or a tool that cannot be.
    """
    is_free = choice is None or choice == "auto"
    if choice == "none" or (is_free and not _needs_grammar(tools, is_parallel=is_parallel)):
        return None
    functions = [_function(index, tool) for index, tool in enumerate(tools)]
    chosen = functions if choice is None or choice == "auto" else _choose(functions, choice)
    more = ' ("\\n" call)*' if is_parallel and (is_free or choice == "required") else ""
    alternatives = " | ".join(f"call_{i}" for i in range(len(chosen)))
    rules = ["start: TEXT calls? | calls", "TEXT: /(.|\\n)+/"] if is_free else ["start: calls"]
    rules += [f"calls: call{more}", f'call: {card.TOOL_CALL} "\\n" ({alternatives}) "\\n" {card.END_TOOL_CALL}']
    for i, (name, parameters) in enumerate(chosen):
        opening = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": '
        rules.append(f'call_{i}: {json.dumps(opening, ensure_ascii=False)} arguments_{i} "}}"')
        rules.append(f"arguments_{i}: %json {json.dumps({**parameters, 'x-guidance': _STYLE}, ensure_ascii=False)}")
    return Constraint("lark", "\n".join(rules))


def _needs_grammar(tools: Sequence[Mapping[str, Any]], *, is_parallel: bool) -> bool:
    functions = [tool.get("function", tool) for tool in tools]
    return bool(functions) and (not is_parallel or any(isinstance(f, Mapping) and f.get("strict") for f in functions))


def _function(index: int, tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise PromptError(f"tools[{index}] has no name.", hint='Send {"type": "function", "function": {"name": …, "parameters": …}}.')
    parameters = function.get("parameters") or _NO_PARAMETERS
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise PromptError(f"The parameters of the tool {name!r} are no object.", hint='Send a JSON schema of "type": "object".')
    return name, {"type": "object", **parameters}


def _choose(functions: list[tuple[str, Mapping[str, Any]]], choice: str | Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    if choice == "required":
        if not functions:
            raise PromptError('tool_choice is "required", but there are no tools.', hint="Send tools, or leave tool_choice out.")
        return functions
    named = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = named.get("name") if isinstance(named, Mapping) else None
    if not isinstance(name, str):
        raise PromptError(
            f"tool_choice is {json.dumps(choice, default=str)[:80]}, which is unknown.",
            hint='Send "auto", "none", "required" or {"type": "function", "function": {"name": …}}.',
        )
    found = [function for function in functions if function[0] == name]
    if not found:
        names = ", ".join(known for known, _ in functions)
        raise PromptError(
            f"tool_choice names {name!r}, which is not among the tools.", hint=f"There are: {names}." if names else "Send it."
        )
    return found[:1]
