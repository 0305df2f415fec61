"""Messages to prompt: the chat template's markers stay apart from what people wrote.

A conversation is rendered by the template in the model's file (jinja2, sandboxed, as transformers renders it). Only markers that the
template itself writes become special tokens. A marker's text inside a message is split by a guard character before rendering, so that it
cannot be mistaken for the template's; the guard is taken out again afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, Final

from jinja2 import TemplateError as JinjaTemplateError
from jinja2 import TemplateSyntaxError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qwq_local import card
from qwq_local.errors import EmptyPromptError, PromptError, TemplateError

Message = Mapping[str, Any]
ROLES: Final = ("system", "user", "assistant", "tool")
_GUARDS: Final = tuple(map(chr, range(0xFDD0, 0xFDF0)))
"""Noncharacters: Unicode keeps them free for a program's own use, and no normalisation touches them."""


_TEMPLATE_FAULTS: Final = (
    JinjaTemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template can raise that is its own fault or the conversation's."""


@dataclass(frozen=True)
class Segment:
    """A run of the prompt: one special token's text, or ordinary text of any length."""

    text: str
    is_marker: bool = False


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation; `opens_thinking` tells whether the reply begins inside a thought."""

    segments: tuple[Segment, ...]
    opens_thinking: bool

    @property
    def text(self) -> str:
        """The prompt as one string, as other tools would show it."""
        return "".join(segment.text for segment in self.segments)

    def without_thought(self) -> Prompt:
        """The same with its thought closed before it has begun, so that the answer follows at once."""
        if not self.opens_thinking:
            return self
        closing = (Segment("\n"), Segment(card.END_THINK, is_marker=True), Segment("\n\n"))
        return Prompt((*self.segments, *closing), opens_thinking=False)


class _JsonText(str):
    """A tool call's arguments that arrived as JSON text: a template's tojson leaves them as they are."""

    __slots__ = ()


def _to_json(value: object, indent: int | None = None, **_: object) -> str:
    return str(value) if isinstance(value, _JsonText) else json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> str:
    raise JinjaTemplateError(message)


class ChatTemplate:
    """A chat template, bound to the markers of a vocabulary.

    Raises TemplateError where the template cannot be parsed.
    """

    def __init__(self, source: str, markers: Iterable[str]) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(source)
        except (TemplateSyntaxError, RecursionError) as error:
            where = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
            raise TemplateError(
                f"The chat template cannot be parsed: {error}{where}.",
                hint="The file was made with a faulty template; convert it again, or get another copy.",
            ) from error
        self._markers = sorted(markers, key=len, reverse=True)
        self._marker = re.compile("|".join(map(re.escape, self._markers)) or "(?!)")
        self._marker_start = re.compile(
            "|".join(f"{re.escape(marker[0])}(?={re.escape(marker[1:])})" for marker in self._markers) or "(?!)"
        )

    @classmethod
    def qwq(cls, markers: Iterable[str]) -> ChatTemplate:
        """QwQ's own format, for files that carry no template."""
        return cls(resources.files("qwq_local").joinpath("chat_template.jinja").read_text("utf-8"), markers)

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None, *, is_history: bool = False) -> Prompt:
        """Render a conversation up to the point where the reply begins, inside a forced thought.

        With `is_history` it ends with its last message, as that of a later turn will begin. Raises PromptError for messages that are
        malformed, EmptyPromptError, and TemplateError where the template refuses them.
        """
        clean = [_clean_message(index, message) for index, message in enumerate(messages)]
        _refuse_empty(clean)
        guard = _unused_guard(clean, tools)
        protect = partial(self._marker_start.sub, lambda match: match[0] + guard)
        try:
            text = self._template.render(
                messages=_map_strings(clean, protect),
                tools=_map_strings(tools, protect) if tools else None,
                add_generation_prompt=not is_history,
                enable_thinking=True,
            )
        except _TEMPLATE_FAULTS as error:
            raise TemplateError(
                f"The chat template refuses this conversation: {error}",
                hint="Check the order of roles, and that every tool result follows its call.",
            ) from error
        _refuse_half_characters(text)
        segments = [Segment(part.text.replace(guard, ""), part.is_marker) for part in self._split(text)]
        return Prompt(tuple(segments), opens_thinking=False) if is_history else self._force_thinking(segments)

    def raw(self, text: str) -> Prompt:
        """A text that is a whole prompt already: the markers in it count as if the template had written them. Raises PromptError."""
        if not text:
            raise EmptyPromptError("The prompt is empty.", hint="Send a text to go on with.")
        _refuse_half_characters(text)
        return Prompt(tuple(self._split(text)), opens_thinking=False)

    def _split(self, text: str) -> Iterable[Segment]:
        end = 0
        for match in self._marker.finditer(text):
            if match.start() > end:
                yield Segment(text[end : match.start()])
            yield Segment(match[0], is_marker=True)
            end = match.end()
        if end < len(text):
            yield Segment(text[end:])

    def _force_thinking(self, segments: list[Segment]) -> Prompt:
        """QwQ's first guideline: the reply begins with a thought, also where an older template forgot it."""
        last_marker = next((segment.text for segment in reversed(segments) if segment.is_marker), "")
        if last_marker not in (card.THINK, card.END_THINK) and card.THINK in self._markers:
            segments = [*segments, Segment(card.THINK, is_marker=True), Segment("\n")]
            last_marker = card.THINK
        return Prompt(tuple(segments), opens_thinking=last_marker == card.THINK)


def _clean_message(index: int, message: Message) -> dict[str, Any]:
    """A message as templates expect it: text content, no thoughts, arguments of tool calls as objects or JSON text."""
    if not isinstance(message, Mapping):
        raise PromptError(f"messages[{index}] is {type(message).__name__}.", hint='Send {"role": …, "content": …} objects.')
    role = message.get("role")
    if role not in ROLES:
        raise PromptError(f"messages[{index}].role is {role!r}.", hint=f"Use one of {', '.join(ROLES)}.")
    clean = {key: value for key, value in message.items() if key not in ("reasoning_content", "reasoning")}
    clean["content"] = _content_text(index, message)
    if role == "assistant":
        clean["content"] = without_thoughts(clean["content"])
    if message.get("tool_calls"):
        clean["tool_calls"] = [_clean_call(call) for call in message["tool_calls"]]
    return clean


def without_thoughts(content: str) -> str:
    """An earlier answer as the next turn may see it: what follows the last `</think>` (QwQ's third guideline)."""
    return content.rsplit(card.END_THINK, 1)[-1].lstrip("\n")


def _content_text(index: int, message: Message) -> str:
    content = message.get("content")
    if content is None and (message.get("role") == "assistant"):
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    raise PromptError(
        f"messages[{index}].content is {type(content).__name__}, and QwQ reads text only.",
        hint='Send a string, or a list of {"type": "text", "text": …} parts.',
    )


def _clean_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if isinstance(function, Mapping):
        return {**call, "function": _clean_call(function)}
    arguments = call.get("arguments")
    return {**call, "arguments": _JsonText(arguments)} if isinstance(arguments, str) else dict(call)


def _refuse_empty(messages: Sequence[Message]) -> None:
    if not messages:
        raise EmptyPromptError("There are no messages.", hint="Ask something.")
    last = messages[-1]
    if last["role"] == "user" and not last["content"].strip():
        raise EmptyPromptError("The question is empty.", hint='Ask something: qwq ask "What is 47 + 85?"')


def _refuse_half_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The messages hold {text[error.start]!r}, which no UTF-8 text can hold.",
            hint="Send valid Unicode; on a command line, set the terminal and the shell to UTF-8.",
        ) from error


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(value, str):
        return type(value)(change(value))
    if isinstance(value, Mapping):
        return {change(str(key)): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value


def _unused_guard(*values: object) -> str:
    text = json.dumps(values, ensure_ascii=False, default=str)
    guard = next((guard for guard in _GUARDS if guard not in text), None)
    if guard is None:
        raise PromptError("The messages use every Unicode noncharacter.", hint="Remove U+FDD0 to U+FDEF from the text.")
    return guard
