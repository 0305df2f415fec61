"""BFCL, the Berkeley function-calling leaderboard: questions of one turn whose calls are compared by name and arguments.

Keys (github.com/ShishirPatil/gorilla, berkeley-function-call-leaderboard/bfcl_eval/data, versions 3 and 4): id, question (turns, each a
list of messages), function; the answers are in a file of the same name in possible_answer/, by id: ground_truth, a list of calls. Types
and names of functions become OpenAI's as its handlers make them (bfcl_eval/model_handler/utils.py, constants/type_mappings.py).
"""

from __future__ import annotations

import re
from typing import Any, Final

from qwq_local.evaluation.formats.chat import check_messages
from qwq_local.evaluation.formats.fields import Fields, LineError, check_object, check_text, kind, list_of, name_of
from qwq_local.evaluation.formats.tools import Call, Tool, check_call, check_names_differ, names_of
from qwq_local.evaluation.question import Question
from qwq_local.grading import WantsCalls

_TYPES: Final = {
    "object": ("object", "dict", "HashMap", "Hashtable"),
    "array": ("array", "list", "tuple", "ArrayList", "Array", "Queue", "Stack", "Set"),
    "number": ("number", "float", "double"),
    "integer": ("integer", "byte", "short", "long", "Bigint"),
    "boolean": ("boolean", "bool", "Boolean"),
}
_JSON_TYPE: Final = {name: json_type for json_type, names in _TYPES.items() for name in names}
"""BFCL's types as JSON Schema's; whatever else there is, `any` among it, is a string."""

_NUMBER: Final = re.compile(r"_\d+(-\d+-\d+)?$")
_TOO_LONG: Final = 64
"""Characters of a function's name, by OpenAI's API."""


def read_bfcl(fields: Fields) -> Question:
    """One question. Raises LineError, also for what is graded otherwise: several turns, Java, JavaScript, relevance."""
    name = name_of(fields, "id")
    category = _NUMBER.sub("", name)
    _check_category(category, fields)
    messages = check_messages(_turn(list_of(fields, "question")), "question")
    given = fields.get("function")
    functions = given if isinstance(given, list) else [given]
    tools = tuple(_tool(each, f"function[{place}]") for place, each in enumerate(functions))
    if not tools:
        raise LineError("it has no functions")
    check_names_differ(tools)
    return Question(name, messages, WantsCalls(_calls(fields, category, tools)), category, tools)


def _check_category(category: str, fields: Fields) -> None:
    if "involved_classes" in fields or "multi_turn" in category:
        raise LineError("it is of several turns, which are not graded here")
    if "java" in category:
        raise LineError("its calls are Java's or JavaScript's, which are not graded here")
    if category.endswith("relevance") and not category.endswith("irrelevance"):
        raise LineError("any call would be right, which is not graded here")


def _turn(question: list[Any]) -> list[Any]:
    """The messages of the only turn."""
    if all(isinstance(turn, list) for turn in question):
        if len(question) > 1:
            raise LineError(f"it is of {len(question)} turns, and only questions of one are graded here")
        return list(question[0])
    return question


def _calls(fields: Fields, category: str, tools: tuple[Tool, ...]) -> tuple[Call, ...]:
    truth = fields.get("ground_truth")
    if truth is None:
        if category.endswith("irrelevance"):
            return ()
        raise LineError("there is no answer to it: no ground_truth, neither here nor in possible_answer/")
    if not isinstance(truth, list):
        raise LineError(f"'ground_truth' must be a list of calls, not {kind(truth)}")
    calls: list[Call] = []
    for place, each in enumerate(truth):
        call = check_object(each, f"ground_truth[{place}]")
        if len(call) != 1:
            raise LineError(f"ground_truth[{place}] must have one function, not {len(call)}")
        ((function, arguments),) = call.items()
        calls.append(check_call(plain_name(function), arguments, names_of(tools)))
    return tuple(calls)


def plain_name(function: str) -> str:
    """A function's name as OpenAI's API allows it: BFCL has an underscore for each dot, in what is asked and in what is expected."""
    return function.replace(".", "_")


def _tool(value: object, place: str) -> Tool:
    described = check_object(value, place)
    name = plain_name(check_text(described.get("name"), f"{place}'s name"))
    if len(name) > _TOO_LONG:
        raise LineError(f"{place}'s name is longer than {_TOO_LONG} characters")
    parameters = check_object(described.get("parameters", {}), f"{place}'s parameters")
    schema = {**_schema(parameters), "type": "object"}
    schema.setdefault("properties", {})
    return {"type": "function", "function": {"name": name, "description": str(described.get("description", "")), "parameters": schema}}


def _schema(described: dict[str, Any]) -> dict[str, Any]:
    """A type in BFCL's words as JSON Schema, with those within it."""
    schema = {key: value for key, value in described.items() if key != "optional"}
    named = described.get("type")
    schema["type"] = _JSON_TYPE.get(named, "string") if isinstance(named, str) else "string"
    if isinstance(properties := described.get("properties"), dict):
        schema["properties"] = {key: _schema(check_object(value, f"property {key!r}")) for key, value in properties.items()}
    if isinstance(items := described.get("items"), dict):
        schema["items"] = _schema(items)
    return schema
