"""`qwq history`: what was said, found again and taken elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwq_local.history import CHATS_FILE, History
from tests.programs import Qwq, assert_told


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two chats in a history of their own, the second said later."""
    monkeypatch.setenv("QWQ_DATA", str(tmp_path))
    made = []
    with History.open(tmp_path / CHATS_FILE) as history:
        for question, answer in (("What is 47 + 85?", "**132**"), ("Primes\x1b]0;owned\x07?", "2, 3, 5")):
            chat_id = history.start()
            draft = history.begin(chat_id, history.say(chat_id, "user", question), "demo")
            draft.think("carry 1")
            draft.say(answer)
            draft.finish("whole")
            made.append(chat_id)
    return made


def test_chats_are_listed_the_latest_first(qwq: Qwq, ids: list[str]) -> None:
    first, second = qwq("history", "list").out.splitlines()
    assert first.startswith(ids[1])
    assert first.endswith("2 messages  Primes]0;owned?")
    assert second.endswith("2 messages  What is 47 + 85?")
    assert [chat["id"] for chat in json.loads(qwq("history", "list", "-n", "1", "--json").out)["chats"]] == [ids[1]]


def test_words_are_found(qwq: Qwq, ids: list[str]) -> None:
    line, snippet = qwq("history", "search", "47", "85").out.splitlines()
    assert line.startswith(ids[0])
    assert snippet.strip() == "What is 47 + 85?"
    assert [chat["spans"] for chat in json.loads(qwq("history", "search", "132", "--json").out)["chats"]] == [[[2, 5]]]
    ended = qwq("history", "search", "nothing")
    assert (ended.code, ended.out, ended.err) == (0, "", "No chat says 'nothing'.\n")


def test_a_chat_is_shown_and_exported(qwq: Qwq, ids: list[str], tmp_path: Path) -> None:
    shown = qwq("history", "show", ids[0][:5]).out
    assert "## Answer (demo)\n\n**132**\n" in shown
    assert "carry" not in shown
    assert "> carry 1" in qwq("history", "show", ids[0], "--thoughts").out
    markdown, whole = tmp_path / "chat.md", tmp_path / "chat.json"
    assert qwq("history", "export", ids[0], "--out", markdown).out == f"{markdown}\n"
    assert markdown.read_text("utf-8") == shown
    qwq("history", "export", ids[0], "--out", whole)
    assert json.loads(whole.read_text("utf-8"))["messages"][1]["reasoning"] == "carry 1"
    assert json.loads(qwq("history", "export", ids[0], "--format", "json").out)["id"] == ids[0]


def test_a_file_is_never_overwritten_unasked(qwq: Qwq, ids: list[str], tmp_path: Path) -> None:
    out = tmp_path / "chat.md"
    out.write_text("mine", "utf-8")
    assert_told(qwq("history", "export", ids[0], "--out", out), 2, str(out), "already")
    assert out.read_text("utf-8") == "mine"
    assert qwq("history", "export", ids[0], "--out", out, "--force").code == 0
    assert_told(qwq("history", "export", ids[0], "--out", tmp_path), 2, str(tmp_path))


def test_chats_are_removed_where_that_is_allowed(qwq: Qwq, ids: list[str]) -> None:
    assert_told(qwq("history", "rm", ids[0]), 1, "Nobody can be asked")
    assert_told(qwq("history", "rm", "--yes", ids[0], "zz"), 1, "There is no chat 'zz'")
    assert len(qwq("history", "list").out.splitlines()) == 2
    assert qwq("history", "rm", "--yes", *ids).code == 0
    ended = qwq("history", "list")
    assert (ended.out, ended.err) == ("", "No chats yet: qwq chat\n")


def test_a_chat_is_continued_with_the_model_that_answered_last(qwq: Qwq, ids: list[str], tmp_path: Path) -> None:
    ended = qwq("history", "continue", ids[0], "--seed", "1", "--no-thoughts", stdin=b"What is 30 + 12?\n")
    assert ended.code == 0, ended
    with History.open(tmp_path / CHATS_FILE) as history:
        *before, question, answer = history.get(ids[0]).path()
    assert [message.content for message in before] == ["What is 47 + 85?", "**132**"]
    assert (question.content, answer.content.strip(), answer.model) == ("What is 30 + 12?", ended.out.strip().splitlines()[-1], "demo")
    assert_told(qwq("history", "continue", "zz"), 1, "There is no chat 'zz'")
