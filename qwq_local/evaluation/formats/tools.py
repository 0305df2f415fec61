"""Functions that a model may call, checked: OpenAI's descriptions, and the calls that are right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from qwq_local.evaluation.formats.fields import LineError, check_keys, check_object, check_text, kind, parse_json

Tool: TypeAlias = dict[str, Any]
Call: TypeAlias = tuple[str, Mapping[str, tuple[Any, ...]]]


def check_tools(value: object) -> tuple[Tool, ...]:
    """OpenAI's `tools`: a list of {"type": "function", "function": {"name", …}}. Raises LineError."""
    if not isinstance(value, list) or not value:
        raise LineError("'tools' must be a list of functions")
    tools = tuple(_tool(each, f"tools[{place}]") for place, each in enumerate(value))
    check_names_differ(tools)
    return tools


def check_names_differ(tools: Iterable[Tool]) -> None:
    """No two functions of one name. Raises LineError."""
    seen: set[str] = set()
    for name in names_of(tools):
        if name in seen:
            raise LineError(f"two functions are called {name!r}")
        seen.add(name)


def names_of(tools: Iterable[Tool]) -> list[str]:
    """What the functions are called."""
    return [tool["function"]["name"] for tool in tools]


def check_call(name: str, arguments: object, known: Iterable[str]) -> Call:
    """A call of a known function, with a list of right values for each argument. Raises LineError."""
    names = list(known)
    if name not in names:
        raise LineError(f"a call of {name!r}, and the functions are {', '.join(names) or 'none'}")
    right: dict[str, tuple[Any, ...]] = {}
    for key, values in check_object(arguments, f"the arguments of {name}").items():
        if not isinstance(values, list) or not values:
            raise LineError(f"argument {key!r} of {name} must be a list of the values that are right, not {kind(values)}")
        right[key] = tuple(values)
    return name, right


def _tool(value: object, name: str) -> Tool:
    tool = check_object(value, name)
    check_keys(tool, name, ["type", "function"])
    if tool.get("type") != "function":
        raise LineError(f'{name} must have "type": "function"')
    function = check_object(tool.get("function"), f"{name}'s function")
    check_text(function.get("name"), f"{name}'s name")
    if "parameters" in function:
        check_object(function["parameters"], f"{name}'s parameters")
    return tool


def check_arguments(value: object, name: str) -> None:
    """Arguments of a call that was made: an object, or one as JSON text, as OpenAI writes it. Raises LineError."""
    check_object(parse_json(value) if isinstance(value, str) else value, name)
