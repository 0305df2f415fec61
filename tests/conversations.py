"""Conversations of every shape, for hypothesis; and the rendering that transformers would give them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st
from jinja2 import Template
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = dict[str, Any]

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
answers = st.one_of(words, words.map(lambda text: f"<think>\nhm, {text}\n</think>\n\n{text}"))
arguments = st.dictionaries(words, st.one_of(st.integers(), words, st.lists(st.booleans(), max_size=2)), max_size=2)
calls = st.builds(lambda name, args: {"type": "function", "function": {"name": name, "arguments": args}}, words, arguments)
tools = st.lists(
    st.builds(
        lambda name, about: {"type": "function", "function": {"name": name, "description": about, "parameters": {"type": "object"}}},
        words,
        words,
    ),
    max_size=2,
)


def _of(role: str, content: str) -> Message:
    return {"role": role, "content": content}


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """A question, and what the model did with it: an answer, or calls with their results and then an answer."""
    messages = [_of("user", draw(words))]
    if draw(st.booleans()):
        made = draw(st.lists(calls, min_size=1, max_size=3))
        messages.append(_of("assistant", draw(st.one_of(st.just(""), answers))) | {"tool_calls": made})
        messages += [_of("tool", draw(words)) for _ in made]
        if draw(st.booleans()):
            return messages
    return [*messages, _of("assistant", draw(answers))]


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """An optional system message, earlier turns, and something the model has to answer now: a question, or a tool's result."""
    messages = [_of("system", draw(words))] if draw(st.booleans()) else []
    for turn in draw(st.lists(turns(), max_size=3)):
        messages += turn
    if messages and messages[-1]["role"] == "tool" and draw(st.booleans()):
        return messages
    if messages and draw(st.integers(0, 9)) == 0:
        messages.append(_of("system", draw(words)))
    return [*messages, _of("user", draw(words))]


def render_as_transformers(source: str, messages: list[Message], tools: list[Message] | None, **extra: object) -> str:
    """jinja2's own rendering, set up as transformers' `apply_chat_template` does (utils/chat_template_utils.py)."""
    return _compile(source).render(messages=messages, tools=tools, add_generation_prompt=True, **extra)


@cache
def _compile(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return environment.from_string(source)
