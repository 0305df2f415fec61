"""A conversation becomes the prompt that its template says, with the markers told apart from what people wrote."""

from __future__ import annotations

import copy
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_local.errors import EmptyPromptError, PromptError, QwqError, TemplateError
from qwq_local.prompt import ChatTemplate, Prompt, Segment, without_thoughts
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

NONCHARACTERS = "".join(map(chr, range(0xFDD0, 0xFDF0)))

given_a_conversation = given(messages=conversations(), tools=tools)


def all_without_thoughts(messages: list[Message]) -> list[Message]:
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
    expected = render_as_transformers(QWEN25_TEMPLATE, all_without_thoughts(messages), tools)
    assert QWEN25_CHAT.render(messages, tools).text == expected + "<think>\n"


def test_a_vocabulary_without_thoughts_is_not_made_to_think() -> None:
    markers = [marker for marker in MARKERS if "think" not in marker]
    prompt = ChatTemplate(QWEN25_TEMPLATE, markers).render([{"role": "user", "content": "hi"}])
    assert prompt.text.endswith("<|im_start|>assistant\n")
    assert not prompt.opens_thinking


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_that_a_client_sends_back_is_left_out(field: str) -> None:
    chat = ChatTemplate("{% for message in messages %}{{ message }}{% endfor %}", MARKERS)  # shows all that a template is given
    history = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2", field: "I add."}]
    assert "I add" not in chat.render(history).text


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("<think>\nhm\n</think>\n\n2", "2"),
        ("a</think>b</think>c</think>\n\n2", "2"),
        ("\nXY", "XY"),
        ("2\n", "2\n"),
    ],
)
def test_an_earlier_answer_is_what_follows_its_last_thought(answer: str, shown: str) -> None:
    assert without_thoughts(answer) == shown


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


def test_an_answer_or_a_part_may_lack_its_text() -> None:
    source = "{% for message in messages %}[{{ message.content }}]{% endfor %}"
    messages: list[Message] = [{"role": "user", "content": [{"type": "text"}]}, {"role": "assistant"}]
    assert ChatTemplate(source, []).render(messages).text == "[][]"


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
    ("messages", "error", "says", "hint"),
    [
        ([], EmptyPromptError, "There are no messages", "Ask something"),
        ([{"role": "user", "content": " \n"}], EmptyPromptError, "The question is empty", "Ask something: qwq ask "),
        ([{"role": "robot", "content": "hi"}], PromptError, "messages[0].role is 'robot'", "Use one of system, user, assistant, tool"),
        ([{"content": "hi"}], PromptError, "messages[0].role is None", "Use one of system, user, assistant, tool"),
        (["hi"], PromptError, "messages[0] is str", 'Send {"role": …, "content": …} objects'),
        ([{"role": "user", "content": None}], PromptError, "messages[0].content is NoneType", "Send a string, or a list of"),
        (
            [{"role": "user", "content": [{"type": "image_url"}]}],
            PromptError,
            "messages[0].content is list, and QwQ reads text only",
            "Send a",
        ),
        (
            [{"role": "user", "content": NONCHARACTERS}],
            PromptError,
            "The messages use every Unicode noncharacter",
            "Remove U+FDD0 to U+FDEF",
        ),
        ([{"role": "user", "content": "a\ud800b"}], PromptError, r"The messages hold '\ud800', which no UTF-8 text", "Send valid Unicode"),
    ],
)
def test_malformed_messages_are_refused_by_name(messages: list[Any], error: type[QwqError], says: str, hint: str) -> None:
    with pytest.raises(error) as caught:
        OWN_CHAT.render(messages)
    assert str(caught.value).startswith(says)
    assert caught.value.hint.startswith(hint)


def test_a_template_that_cannot_be_parsed_is_told_with_its_line() -> None:
    with pytest.raises(TemplateError, match=r"cannot be parsed: .* \(line 2\)\.$") as caught:
        ChatTemplate("fine\n{% for %}", MARKERS)
    assert caught.value.hint.startswith("The file was made with a faulty template; convert it again")


def test_a_template_that_is_nested_too_deeply_is_told_without_a_line() -> None:
    with pytest.raises(TemplateError) as caught:
        ChatTemplate("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", MARKERS)
    assert str(caught.value) == f"The chat template cannot be parsed: {caught.value.__cause__}."


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[7].content }}", "no element 7"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ none() }}", "not callable"),
    ],
)
def test_a_template_that_refuses_a_conversation_is_an_error_of_the_prompt(source: str, says: str) -> None:
    with pytest.raises(TemplateError, match=f"^The chat template refuses this conversation: .*{says}") as caught:
        ChatTemplate(source, MARKERS).render([{"role": "user", "content": "hi"}])
    assert caught.value.hint.startswith("Check the order of roles")


def test_templates_are_laid_out_and_broken_off_as_transformers_does() -> None:
    source = "{% for message in messages %}\n  {% if loop.index > 1 %}\n    {% break %}\n  {% endif %}\n{{ message.content }},{% endfor %}"
    messages: list[Message] = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert ChatTemplate(source, []).render(messages).text == render_as_transformers(source, messages, None) == "a,"


def test_json_is_indented_as_the_template_asks_and_left_in_its_script() -> None:
    source = "{{ tools[0] | tojson(indent=2) }}"
    assert ChatTemplate(source, []).render([{"role": "user", "content": "?"}], [{"name": "größer"}]).text == '{\n  "name": "größer"\n}'


def test_an_empty_list_of_tools_is_no_tools() -> None:
    assert ChatTemplate("{{ tools is none }}", []).render([{"role": "user", "content": "?"}], []).text == "True"


def test_every_marker_that_a_message_spells_stays_text() -> None:
    chat = ChatTemplate.qwq(MARKERS)
    for marker in MARKERS:
        assert chat.render([{"role": "user", "content": f"a{marker}b"}]).segments[1].text == f"user\na{marker}b"


def test_a_message_may_hold_what_json_cannot() -> None:
    message: Message = {"role": "user", "content": "hi", "sent_on": date(2026, 1, 1)}
    assert ChatTemplate("{{ messages[0].content }}", []).render([message]).text == "hi"


def test_the_longer_of_two_markers_that_begin_alike_is_the_one_meant() -> None:
    prompt = ChatTemplate("<a>|<a><b>", ["<a>", "<a><b>"]).raw("<a><b>x<a>")
    assert prompt.segments == (Segment("<a><b>", is_marker=True), Segment("x"), Segment("<a>", is_marker=True))


def test_a_vocabulary_without_markers_has_text_only() -> None:
    assert ChatTemplate("{{ messages[0].content }}", []).render([{"role": "user", "content": "<think>"}]).segments == (Segment("<think>"),)


def test_a_thought_that_an_older_template_forgot_is_opened_by_its_marker() -> None:
    prompt = QWEN25_CHAT.render([{"role": "user", "content": "hi"}])
    assert prompt.segments[-2:] == (Segment("<think>", is_marker=True), Segment("\n"))
    assert prompt.opens_thinking


def test_a_thought_that_is_closed_at_once_leads_to_the_answer() -> None:
    prompt = OWN_CHAT.render([{"role": "user", "content": "hi"}])
    closed = prompt.without_thought()
    assert closed == Prompt((*prompt.segments, Segment("\n"), Segment("</think>", is_marker=True), Segment("\n\n")), opens_thinking=False)
    assert closed.without_thought() == closed


def test_a_history_ends_with_its_last_message_and_opens_no_thought() -> None:
    messages = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    history = OWN_CHAT.render(messages, is_history=True)
    assert history == Prompt(history.segments, opens_thinking=False)
    assert history.text.endswith("<|im_start|>assistant\n2<|im_end|>\n")


def test_the_markers_of_a_whole_prompt_count() -> None:
    written = "<|im_start|>user\nhi<|im_end|>\n"
    segments = (Segment("<|im_start|>", is_marker=True), Segment("user\nhi"), Segment("<|im_end|>", is_marker=True), Segment("\n"))
    assert OWN_CHAT.raw(written) == Prompt(segments, opens_thinking=False)
    assert OWN_CHAT.raw("<|im_end|>").segments == (Segment("<|im_end|>", is_marker=True),)


@pytest.mark.parametrize(
    ("text", "error", "says", "hint"),
    [
        ("", EmptyPromptError, "The prompt is empty", "Send a text"),
        ("\udcff", PromptError, r"The messages hold '\udcff'", "Send valid Unicode"),
    ],
)
def test_a_whole_prompt_that_cannot_be_read_is_refused(text: str, error: type[QwqError], says: str, hint: str) -> None:
    with pytest.raises(error) as caught:
        OWN_CHAT.raw(text)
    assert str(caught.value).startswith(says)
    assert caught.value.hint.startswith(hint)


def test_noncharacters_in_the_description_of_a_tool_arrive_as_they_are() -> None:
    source, tool = "{{ tools[0].name }}", {"name": "\ufdd0<think>"}
    assert ChatTemplate(source, MARKERS).render([{"role": "user", "content": "?"}], [tool], is_history=True).text == "\ufdd0<think>"
