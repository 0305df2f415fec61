"""Who answers: a loaded model and an endpoint say the same of the same question."""

from __future__ import annotations

import pytest

from qwq_local.errors import PromptError, QwqError, SettingsError
from qwq_local.evaluation.answerers import Endpoint, LoadedModel, without_thought
from qwq_local.evaluation.question import Question
from qwq_local.grading import WantsCalls, WantsMaths
from qwq_local.runtime import QwQ
from tests.nano.tasks import ADD_TOOL
from tests.serving import Endpoint as Server

SUM = Question("sum", ({"role": "user", "content": "What is 47 + 85?"},), WantsMaths("132"))
CALL = Question("call", ({"role": "user", "content": "Use the tool to add 12 and 30."},), WantsCalls(()), tools=(ADD_TOOL,))


@pytest.mark.parametrize("asked", [SUM, CALL], ids=["sum", "call"])
def test_a_model_answers_alike_here_and_behind_an_endpoint(demo: QwQ, endpoint: Server, asked: Question) -> None:
    options = {"max_tokens": 200, "temperature": 0.6}
    with Endpoint(endpoint.url + "/v1", None) as there:
        far = there.ask(asked, 3, options)
    near = LoadedModel(demo).ask(asked, 3, options)
    assert near.given == far.given
    assert (near.prompt_tokens, near.completion_tokens, near.reasoning_tokens) == (
        far.prompt_tokens,
        far.completion_tokens,
        far.reasoning_tokens,
    )
    assert near.given.content or near.given.calls


def test_an_endpoint_that_is_not_there_is_named(endpoint: Server) -> None:
    with pytest.raises(QwqError, match=r"127\.0\.0\.1:9/v1 does not answer"):
        Endpoint("http://127.0.0.1:9/v1", None)
    with pytest.raises(QwqError, match="404"):
        Endpoint(endpoint.url + "/nowhere", None)
    with pytest.raises(SettingsError, match="no address"):
        Endpoint("127.0.0.1:8080", None)


def test_what_an_endpoint_refuses_is_about_the_question(endpoint: Server) -> None:
    with Endpoint(endpoint.url + "/v1", "nobody") as there, pytest.raises(PromptError, match="404"):
        there.ask(SUM, 1, {})


def test_a_thought_left_in_the_text_is_not_graded() -> None:
    assert without_thought("<think>\\boxed{1}</think>\n\\boxed{2}") == "\n\\boxed{2}"
    assert without_thought("\\boxed{2}") == "\\boxed{2}"
