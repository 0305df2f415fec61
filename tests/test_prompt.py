"""A conversation becomes the prompt that its template says, with the markers told apart from what people wrote."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_local.errors import EmptyPromptError, PromptError, TemplateError
from qwq_local.prompt import ChatTemplate
from tests.conversations import Message, conversations, render_as_transformers, tools

DATA = Path(__file__).parent / "data" / "templates"
NANO = Path(__file__).parent / "nano" / "checkpoint"
NANO_TEMPLATE: str = json.loads((NANO / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
QWQ_TEMPLATE = (DATA / "QwQ-32B.jinja").read_text("utf-8")
QWEN25_TEMPLATE = (DATA / "Qwen2.5-7B-Instruct.jinja").read_text("utf-8")
MARKERS: list[str] = [token["content"] for token in json.loads((NANO / "tokenizer.json").read_text("utf-8"))["added_tokens"]]

NANO_CHAT = ChatTemplate(NANO_TEMPLATE, MARKERS)
QWQ_CHAT = ChatTemplate(QWQ_TEMPLATE, MARKERS)
QWEN25_CHAT = ChatTemplate(QWEN25_TEMPLATE, MARKERS)
OWN_CHAT = ChatTemplate.qwq(MARKERS)

given_a_conversation = given(messages=conversations(), tools=tools)


def without_thoughts(messages: list[Message]) -> list[Message]:
    clean = copy.deepcopy(messages)
    for message in clean:
        if message["role"] == "assistant":
            message["content"] = message["content"].split("</think>")[-1].lstrip("\n")
    return clean


@settings(max_examples=400, deadline=None)
@given_a_conversation
def test_every_conversation_renders_as_jinja_renders_the_checkpoints_template(messages: list[Message], tools: list[Message]) -> None:
    prompt = NANO_CHAT.render(messages, tools)
    assert prompt.text == render_as_transformers(NANO_TEMPLATE, messages, tools)
    assert prompt.opens_thinking


@settings(max_examples=200, deadline=None)
@given_a_conversation
def test_qwqs_official_template_renders_with_an_open_thought(messages: list[Message], tools: list[Message]) -> None:
    prompt = QWQ_CHAT.render(messages, tools)
    assert prompt.text == render_as_transformers(QWQ_TEMPLATE, messages, tools, enable_thinking=True)
    assert prompt.text.endswith("<|im_start|>assistant\n<think>\n")


@settings(max_examples=200, deadline=None)
@given_a_conversation
def test_our_own_template_renders_as_qwqs_official_one(messages: list[Message], tools: list[Message]) -> None:
    prompt = OWN_CHAT.render(messages, tools)
    assert prompt.text == render_as_transformers(QWQ_TEMPLATE, messages, tools, enable_thinking=True)


@settings(max_examples=200, deadline=None)
@given_a_conversation
def test_qwen25s_template_renders_without_earlier_thoughts_and_forces_one(messages: list[Message], tools: list[Message]) -> None:
    expected = render_as_transformers(QWEN25_TEMPLATE, without_thoughts(messages), tools)
    assert QWEN25_CHAT.render(messages, tools).text == expected + "<think>\n"


def test_a_vocabulary_without_thoughts_is_not_made_to_think() -> None:
    markers = [marker for marker in MARKERS if "think" not in marker]
    prompt = ChatTemplate(QWEN25_TEMPLATE, markers).render([{"role": "user", "content": "hi"}])
    assert prompt.text.endswith("<|im_start|>assistant\n")
    assert not prompt.opens_thinking


def test_reasoning_that_a_client_sends_back_is_left_out() -> None:
    history = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2", "reasoning_content": "I add."},
        {"role": "user", "content": "And 2 + 2?"},
    ]
    assert "I add" not in OWN_CHAT.render(history).text


@pytest.mark.parametrize("source", [NANO_TEMPLATE, QWQ_TEMPLATE, QWEN25_TEMPLATE], ids=["nano", "qwq", "qwen2.5"])
def test_a_calls_arguments_as_json_text_are_not_quoted_again(source: str) -> None:
    def render(arguments: Any) -> str:
        call = {"type": "function", "function": {"name": "add", "arguments": arguments}}
        messages: list[Message] = [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "3"},
        ]
        return ChatTemplate(source, MARKERS).render(messages).text

    assert render('{"a": 1, "b": 2}') == render({"a": 1, "b": 2})


def test_content_may_come_in_text_parts() -> None:
    parts: Message = {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "1 + 1?"}]}
    whole: Message = {"role": "user", "content": "What is 1 + 1?"}
    assert OWN_CHAT.render([parts]) == OWN_CHAT.render([whole])


@given(text=st.lists(st.one_of(st.text(max_size=5), st.sampled_from(MARKERS)), min_size=1).map("".join).filter(str.strip))
def test_what_people_wrote_arrives_letter_for_letter(text: str) -> None:
    prompt = OWN_CHAT.render([{"role": "user", "content": text}])
    assert prompt.segments[1].text == f"user\n{text}"
    assert [segment.text for segment in prompt.segments if segment.is_marker] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
        "<think>",
    ]


@pytest.mark.parametrize(
    ("messages", "error", "says"),
    [
        ([], EmptyPromptError, "no messages"),
        ([{"role": "user", "content": " \n"}], EmptyPromptError, "empty"),
        ([{"role": "robot", "content": "hi"}], PromptError, "messages[0].role is 'robot'"),
        ([{"content": "hi"}], PromptError, "messages[0].role is None"),
        (["hi"], PromptError, "messages[0] is str"),
        ([{"role": "user", "content": None}], PromptError, "messages[0].content is NoneType"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], PromptError, "reads text only"),
        ([{"role": "user", "content": "".join(map(chr, range(0xFDD0, 0xFDF0)))}], PromptError, "noncharacter"),
    ],
)
def test_malformed_messages_are_refused_by_name(messages: list[Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        OWN_CHAT.render(messages)
    assert says in str(caught.value)


def test_a_template_that_cannot_be_parsed_is_told_with_its_line() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        ChatTemplate("fine\n{% for %}", MARKERS)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ none() }}",
    ],
)
def test_a_template_that_refuses_a_conversation_is_an_error_of_the_prompt(source: str) -> None:
    with pytest.raises(TemplateError, match="refuses this conversation"):
        ChatTemplate(source, MARKERS).render([{"role": "user", "content": "hi"}])
