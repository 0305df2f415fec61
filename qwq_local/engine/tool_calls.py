"""Tool calls, read while they are written: `<tool_call>`, a JSON object of "name" and "arguments", `</tool_call>`. Pure."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, Final

from qwq_local import card
from qwq_local.engine.request import Answering, ToolCallDelta, ToolCallDropped, ToolCallStarted

ToolEvent = ToolCallStarted | ToolCallDelta | ToolCallDropped | Answering

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NAME_FIRST: Final = re.compile(
    r'[ \t\n\r]*\{[ \t\n\r]*"name"[ \t\n\r]*:[ \t\n\r]*("(?:[^"\\]|\\.)*")[ \t\n\r]*,[ \t\n\r]*"arguments"[ \t\n\r]*:[ \t\n\r]*(?=\{)'
)
"""How QwQ writes a call up to its arguments; in another order a call is only told once it is whole."""
_STRUCTURE: Final = re.compile(r'["\\{}]')
_NESTING: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|([\[{])|[\]}]', re.DOTALL)
"""A string, whole or cut off, or a bracket; the group is one that opens."""
MAX_DEPTH: Final = 500
"""Brackets within brackets of a call. How many Python can read differs by its version, and some that can could overrun a thread's stack."""


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant)
"""Numbers are only checked, and Python's integers refuse to be read where they are very long."""


class ToolCallParser:
    """Reads the calls of one answer, and tells of each as soon as its name is known.

    The answer's tokens say where a call begins and ends; the bytes between go to `push`. The pieces of a call's arguments, put together,
    are the text that the model wrote for them, or `{}` where it wrote none. What is no call comes back as Answering, its markers with it;
    so does what was told of as a call before it proved to be none, after ToolCallDropped.
    """

    def __init__(self) -> None:
        self._n_started = 0
        self._call: _Call | None = None

    @property
    def is_open(self) -> bool:
        """Whether a call has begun and not ended."""
        return self._call is not None

    def begin(self) -> list[ToolEvent]:
        """The marker `<tool_call>`; one within a call ends that first."""
        events = self.cut()
        self._call = _Call(self._n_started)
        return events

    def push(self, data: bytes) -> list[ToolEvent]:
        """Bytes of the call, cut anywhere."""
        assert self._call is not None, "there is no call to go on with"
        return self._call.push(data)

    def end(self) -> list[ToolEvent]:
        """The marker `</tool_call>`."""
        return self._close(card.END_TOOL_CALL)

    def cut(self) -> list[ToolEvent]:
        """The answer is over: a call that lacks only its end marker counts."""
        return self._close("") if self._call else []

    def _close(self, marker: str) -> list[ToolEvent]:
        assert self._call is not None, "there is no call to end"
        call, self._call = self._call, None
        events = call.close(marker)
        self._n_started += call.is_started
        return events


class _Call:
    """One call. From `_start` to `_end` are the arguments that have been told of; `_scanned` is how far braces have been counted."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._name = ""
        self._start = self._end = 0
        self._depth = 0
        self._in_string = False
        self._scanned = 0
        self.is_started = False

    def push(self, data: bytes) -> list[ToolEvent]:
        self._text += self._decode(data)
        if not self.is_started:
            return self._start_early()
        return self._go_on()

    def close(self, marker: str) -> list[ToolEvent]:
        self._text += self._decode(b"", True)
        try:
            name, start, end = _parse(self._text)
        except (RecursionError, ValueError):
            return self._drop(marker)
        if not self.is_started:
            self.is_started = True
            return [ToolCallStarted(self._index, name), ToolCallDelta(self._index, self._text[start:end] or "{}")]
        return [] if (name, start, end) == (self._name, self._start, self._end) else self._drop(marker)

    def _drop(self, marker: str) -> list[ToolEvent]:
        text = Answering(card.TOOL_CALL + self._text + marker)
        return [ToolCallDropped(self._index), text] if self.is_started else [text]

    def _start_early(self) -> list[ToolEvent]:
        head = _NAME_FIRST.match(self._text)
        if head is None:
            return []
        try:
            self._name = _read_name(self._text, head.start(1))
        except ValueError:
            return []
        self.is_started = True
        self._start = self._end = self._scanned = head.end()
        return [ToolCallStarted(self._index, self._name), *self._go_on()]

    def _go_on(self) -> list[ToolEvent]:
        """What has come of the arguments since the last time: up to the brace that closes them."""
        told, self._end = self._end, self._find_end()
        return [ToolCallDelta(self._index, self._text[told : self._end])] if self._end > told else []

    def _find_end(self) -> int:
        if self._end > self._start and not self._depth:
            return self._end
        for found in _STRUCTURE.finditer(self._text, self._scanned):
            position, character = found.start(), found[0]
            if position < self._scanned:
                continue
            self._scanned = position + 1
            if character == "\\":
                self._scanned += 1
            elif character == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if character == "{" else -1
                if not self._depth:
                    return position + 1
        self._scanned = max(self._scanned, len(self._text))
        return len(self._text)


def _parse(text: str) -> tuple[str, int, int]:
    """A call's name, and where its arguments start and end in the text; nowhere (0, 0) if there are none. Raises ValueError."""
    members: dict[str, tuple[Any, int, int]] = {}
    _check_depth(text)
    position = _after(text, _space(text, 0), "{")
    while True:
        key, position = _DECODER.raw_decode(text, _space(text, position))
        start = _space(text, _after(text, _space(text, position), ":"))
        value, position = _DECODER.raw_decode(text, start)
        if not isinstance(key, str) or key in members:
            raise ValueError(f"{key!r} is no name of a member")
        members[key] = value, start, position
        position = _space(text, position)
        if not text.startswith(",", position):
            break
        position += 1
    if _space(text, _after(text, position, "}")) != len(text):
        raise ValueError("there is more than an object")
    name, name_start, _ = members.get("name", ("", 0, 0))
    arguments, start, end = members.get("arguments", ({}, 0, 0))
    if not name or not isinstance(arguments, dict):
        raise ValueError("it is not a call")
    return _read_name(text, name_start), start, end


def _check_depth(text: str) -> None:
    depth = 0
    for found in _NESTING.finditer(text):
        if not found[0].startswith('"'):
            depth += 1 if found[1] else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _read_name(text: str, start: int) -> str:
    """The string at this place, which must be one that UTF-8 can hold. Raises ValueError."""
    name, _ = _DECODER.raw_decode(text, start)
    if not isinstance(name, str):
        raise ValueError("the name is no text")  # noqa: TRY004 - the model's mistake, like the others
    name.encode("utf-8")
    return name


def _space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    assert space is not None, "it matches nothing as well"
    return space.end()


def _after(text: str, position: int, character: str) -> int:
    if not text.startswith(character, position):
        raise ValueError(f"{character} is missing")
    return position + 1
