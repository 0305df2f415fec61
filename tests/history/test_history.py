"""Chats in their file: kept as they grow, found again, and never lost to a fault."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import ChatNotFoundError, HistoryError
from qwq_local.history import Chat, History, conversation, to_json, to_markdown
from qwq_local.history import file as history_file
from qwq_local.history.history import LOST_SECONDS
from qwq_local.history.schema import MIGRATIONS
from tests.programs import posix
from tests.waiting import wait_until


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "chats.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    with History.open(path) as opened:
        yield opened


def talk(history: History, *turns: tuple[str, str]) -> str:
    """A chat of questions and answers; its id."""
    chat_id, at = history.start(), None
    for question, answer in turns:
        draft = history.begin(chat_id, history.say(chat_id, "user", question, at), "demo")
        draft.think("Hm.")
        draft.say(answer)
        draft.finish("whole", finish_reason="stop", usage={"completion_tokens": 7})
        at = draft.id
    return chat_id


def read_all(history: History) -> list[Chat]:
    return [history.get(chat.id) for chat in history.latest(limit=100)]


def said(chat: Chat) -> list[str]:
    return [message.content for message in chat.path()]


# What was said


def test_a_chat_is_found_as_it_was_said_also_by_the_next_program(path: Path) -> None:
    with History.open(path) as history:
        chat_id = talk(history, ("What is 47 + 85?", "132"), ("And twice that?", "264"))
    with History.open(path) as history:
        chat = history.get(chat_id[:6])
    assert said(chat) == ["What is 47 + 85?", "132", "And twice that?", "264"]
    assert chat.title == "What is 47 + 85?"
    answer = chat.path()[-1]
    assert (answer.state, answer.reasoning, answer.n_tokens, answer.model) == ("whole", "Hm.", 7, "demo")
    assert conversation("Be brief.", chat.path())[:3] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 47 + 85?"},
        {"role": "assistant", "content": "132"},
    ]


def test_an_answer_in_the_making_can_be_read_by_others(path: Path, history: History) -> None:
    chat_id = history.start()
    draft = history.begin(chat_id, history.say(chat_id, "user", "Why?"))
    draft.think("Let me see.")
    with History.open(path) as other:
        wait_until(lambda: other.get(chat_id).path()[-1].reasoning == "Let me see.")
        assert other.get(chat_id).path()[-1].state == "writing"
        assert other.latest()[0].is_writing
        draft.say("Because.")
        draft.finish("stopped")
        message = other.get(chat_id).path()[-1]
    assert (message.state, message.content, message.reasoning, message.n_tokens) == ("stopped", "Because.", "Let me see.", 2)


def test_edits_and_second_answers_stand_beside_what_they_replace(history: History) -> None:
    chat_id = talk(history, ("a", "A"), ("b", "B"))
    first, answer, second, _ = history.get(chat_id).path()
    edited = history.say(chat_id, "user", "b2", answer.id)
    chat = history.get(chat_id)
    assert said(chat) == ["a", "A", "b2"]
    assert chat.siblings(edited) == [second.id, edited]
    assert chat.siblings(first.id) == [first.id]
    history.set_leaf(chat_id, chat.latest_leaf(second.id))
    assert said(history.get(chat_id)) == ["a", "A", "b", "B"]


def test_an_answer_that_never_said_anything_is_not_asked_with_again(history: History) -> None:
    chat_id = history.start()
    draft = history.begin(chat_id, history.say(chat_id, "user", "a"))
    draft.think("…")
    draft.finish("stopped")
    history.say(chat_id, "user", "b", draft.id)
    assert [message["content"] for message in conversation("", history.get(chat_id).path())] == ["a", "b"]


def test_calls_of_tools_and_their_results_are_kept(history: History) -> None:
    chat_id = history.start()
    draft = history.begin(chat_id, history.say(chat_id, "user", "Weather?"))
    draft.finish("whole", tool_calls=[{"name": "get_weather", "arguments": "{}"}])
    history.say(chat_id, "tool", "18C", draft.id)
    _, call, result = conversation("", history.get(chat_id).path())
    assert call["tool_calls"] == [{"type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]
    assert result == {"role": "tool", "content": "18C"}


# The list


def test_the_latest_chats_come_first_and_the_list_goes_on_from_any_of_them(path: Path) -> None:
    with History.open(path, clock=Clock()) as history:
        ids = [talk(history, (f"question {number}", "answer")) for number in range(5)]
        history.start()  # in which nothing is said
        first = history.latest(limit=2)
        rest = history.latest(limit=9, before=first[-1].updated_at)
        assert [chat.id for chat in (*first, *rest)] == ids[::-1]
        assert {chat.n_messages for chat in rest} == {2}


def test_chats_of_one_moment_are_all_listed_page_by_page(path: Path) -> None:
    with History.open(path, clock=lambda: 1_000_000.0) as history:
        made = {talk(history, (f"question {number}", "A")) for number in range(5)}
        found = history.latest(limit=2)
        while more := history.latest(limit=2, before=found[-1].updated_at, before_id=found[-1].id):
            found += more
    assert len(found) == 5
    assert {chat.id for chat in found} == made


def test_titles_options_and_system_messages_can_be_changed_and_chats_deleted(history: History) -> None:
    chat_id = talk(history, ("  What is\tthis?\nIt is long.", "A"))
    assert history.get(chat_id).title == "What is this?"
    history.rename(chat_id, "This")
    history.set_system(chat_id, "Be brief.")
    history.set_options(chat_id, {"temperature": 0.5})
    chat = history.get(chat_id)
    assert (chat.title, chat.system, chat.options) == ("This", "Be brief.", {"temperature": 0.5})
    history.delete(chat_id)
    assert (history.latest(), history.search("long")) == ([], [])


def test_what_is_not_there_is_named(history: History) -> None:
    chat_id = talk(history, ("a", "A"))
    for ask in (lambda: history.get("zz"), lambda: history.get(""), lambda: history.delete("zz"), lambda: history.rename("zz", "x")):
        with pytest.raises(ChatNotFoundError):
            ask()
    for wrong in (
        lambda: history.say("zz", "user", "x"),
        lambda: history.say(chat_id, "user", "x", 99),
        lambda: history.set_leaf(chat_id, 99),
    ):
        with pytest.raises(ChatNotFoundError):
            wrong()
    assert said(history.get(chat_id)) == ["a", "A"]


def test_whoever_has_another_key_sees_other_chats(history: History) -> None:
    mine, yours = history.start(owner="me"), history.start(owner="you")
    for chat_id in (mine, yours):
        history.say(chat_id, "user", "secret words")
    assert [chat.id for chat in history.latest(owner="me")] == [mine]
    assert [found.summary.id for found in history.search("secret", owner="me")] == [mine]
    with pytest.raises(ChatNotFoundError):
        history.get(yours, "me")
    assert len(history.latest()) == 2


# Search


def test_words_are_found_wherever_they_stand_in_a_message_or_a_title(history: History) -> None:
    primes = talk(history, ("List prime numbers.", "2, 3, 5"), ("More!", "7 and 11"))
    weather = talk(history, ("東京の天気は", "晴れです 50%_off"))
    found = history.search("PRIME umber")
    assert [one.summary.id for one in found] == [primes]
    assert [found[0].snippet[start:end] for start, end in found[0].spans] == ["prime", "umber"]
    for words in ("東京", "天気は", "%_", "で"):
        assert [one.summary.id for one in history.search(words)] == [weather], words
    history.rename(weather, "Tokyo")
    assert [one.summary.id for one in history.search("tok")] == [weather]
    for words in ("prime 11", "nothing", " ", '"', "' OR 1", "pr_me", "Hm."):
        assert history.search(words) == [], words


@given(st.text(min_size=1), st.text(max_size=8))
def test_any_text_can_be_said_and_any_be_searched(text: str, words: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    words = words.encode("utf-8", "replace").decode()
    with History.open(None) as history:
        chat_id = talk(history, (text, "x"))
        assert history.get(chat_id).path()[0].content == text
        for found in history.search(words):
            assert found.summary.id == chat_id
        if len(piece := text.split()[0] if text.split() else "") >= 3 and piece.isascii() and "\0" not in text:
            assert history.search(piece)


# Export


def test_a_chat_is_exported_as_it_reads_and_as_it_is(history: History) -> None:
    chat_id = talk(history, ("What is 47 + 85?", "**132**"))
    chat = history.get(chat_id)
    plain, whole = to_markdown(chat), to_markdown(chat, with_thoughts=True)
    assert "## Question\n\nWhat is 47 + 85?\n\n## Answer (demo)\n\n**132**\n" in plain
    assert "> Hm.\n\n**132**" in whole
    assert [message["content"] for message in to_json(chat)["messages"]] == ["What is 47 + 85?", "**132**"]


# Faults


WRITER = """
import sys, time
from pathlib import Path
from qwq_local.history import History
history = History.open(Path(sys.argv[1]))
chat_id = history.start()
draft = history.begin(chat_id, history.say(chat_id, "user", "Count."))
print(chat_id, flush=True)
for number in range(10**6):
    draft.say(f"{number} ")
    print(number, flush=True)
    time.sleep(0.002)
"""


@posix
def test_a_killed_writer_loses_at_most_a_second(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        chat_id = writer.stdout.readline().strip()
        told = [(time.monotonic(), int(writer.stdout.readline())) for _ in range(600)]
        writer.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        told += [(killed_at, int(line)) for line in writer.stdout.read().split()]
    with History.open(path, clock=lambda: time.time() + LOST_SECONDS) as history:
        message = history.get(chat_id).path()[-1]
    assert message.state == "lost"
    numbers = [int(number) for number in message.content.split()]
    assert numbers == list(range(len(numbers)))
    second_before = max(number for at, number in told if at < killed_at - 1)
    assert numbers[-1] >= second_before


def test_a_writer_that_slept_goes_on(path: Path) -> None:
    with History.open(path) as history:
        chat_id = history.start()
        draft = history.begin(chat_id, history.say(chat_id, "user", "a"))
        draft.say("one ")
        wait_until(lambda: history.get(chat_id).path()[-1].content == "one ")
        with History.open(path, clock=lambda: time.time() + LOST_SECONDS + 1) as other:
            assert other.get(chat_id).path()[-1].state == "lost"
        draft.say("two")
        draft.finish("whole")
        assert (history.get(chat_id).path()[-1].content, history.get(chat_id).path()[-1].state) == ("one two", "whole")
        assert len(history.search("one two")) == 1


def test_two_programs_write_at_once(path: Path) -> None:
    with History.open(path) as one, History.open(path) as two:
        threads = [threading.Thread(target=lambda each=each: [talk(each, ("a", "A")) for _ in range(20)]) for each in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(one.latest(limit=500)) == len(two.latest(limit=500)) == 80


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_holds_no_chats_is_set_aside_and_told(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with History.open(path) as history:
        (notice,) = history.notices
        (aside,) = path.parent.glob("chats.damaged-*.db")
        assert str(aside) in notice
        assert "nothing in it could be read" in notice
        assert aside.read_bytes() == content
        talk(history, ("a", "A"))
    with History.open(path) as history:
        assert (history.notices, len(history.latest())) == ([], 1)


def test_of_a_damaged_file_what_can_be_read_is_taken_over(path: Path) -> None:
    with History.open(path) as history:
        ids = [talk(history, (f"question {number} " + "x" * 3000, "answer")) for number in range(50)]
    damaged = bytearray(path.read_bytes())
    for start in range(40 * 4096, 44 * 4096, 4096):
        damaged[start : start + 100] = os.urandom(100)
    path.write_bytes(damaged)
    with History.open(path) as history:
        (notice,) = history.notices
        saved = history.latest(limit=100)
        assert 30 <= len(saved) < 50
        assert f"{len(saved)} chats could be read" in notice
        assert {chat.id for chat in saved} <= set(ids)
        assert all(said(history.get(chat.id))[1] == "answer" for chat in saved)
    (aside,) = path.parent.glob("chats.damaged-*.db")
    assert aside.read_bytes() == bytes(damaged)


def test_damage_that_is_met_later_has_the_file_looked_through_at_the_next_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "CHECKED_BYTES", 0)
    with History.open(path) as history:
        for number in range(50):
            talk(history, (f"question {number} " + "x" * 3000, "answer"))
    damaged = bytearray(path.read_bytes())
    for start in range(40 * 4096, 44 * 4096, 4096):
        damaged[start : start + 100] = bytes(100)
    path.write_bytes(damaged)
    history = History.open(path)
    assert history.notices == []
    with pytest.raises(HistoryError, match="damaged"):
        read_all(history)
    history.close()
    with History.open(path) as history:
        assert "set aside" in history.notices[0]


def test_chats_of_a_later_version_are_left_alone(path: Path) -> None:
    with History.open(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(HistoryError, match="later version"):
        History.open(path)
    with History.open_anyway(path) as history:
        talk(history, ("a", "A"))
        assert "later version" in history.notices[0]
    with pytest.raises(HistoryError, match="later version"):
        History.open(path)


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match="file"):
        History.open(tmp_path / "file" / "chats.db")


def test_what_a_full_disk_refuses_is_kept_in_memory_and_written_later(path: Path, history: History) -> None:
    chat_id = history.start()
    draft = history.begin(chat_id, history.say(chat_id, "user", "a"))
    (n_pages,) = history._connection.execute("PRAGMA page_count").fetchone()
    history._connection.execute(f"PRAGMA max_page_count = {n_pages}")  # as a disk that is full
    draft.say("x" * 100_000)
    wait_until(lambda: "full" in history.problem)
    with pytest.raises(HistoryError, match="full"):
        history.say(chat_id, "user", "y" * 100_000, draft.id)
    draft.say("z")
    now = history.get(chat_id).path()[-1]
    assert (now.state, now.content) == ("writing", "x" * 100_000 + "z")
    draft.finish("whole", finish_reason="stop")
    now = history.get(chat_id).path()[-1]
    assert (now.state, now.content, now.finish_reason) == ("whole", "x" * 100_000 + "z", "stop")
    history._connection.execute("PRAGMA max_page_count = 1000000")
    wait_until(lambda: not history.problem)
    with History.open(path) as other:
        assert other.get(chat_id).path()[-1].content == "x" * 100_000 + "z"
        assert other.get(chat_id).path()[-1].state == "whole"


def test_what_can_never_be_written_is_told_at_the_end(path: Path) -> None:
    history = History.open(path)
    chat_id = history.start()
    draft = history.begin(chat_id, history.say(chat_id, "user", "a"))
    (n_pages,) = history._connection.execute("PRAGMA page_count").fetchone()
    history._connection.execute(f"PRAGMA max_page_count = {n_pages}")
    draft.say("x" * 100_000)
    with pytest.raises(HistoryError, match="could not be kept"):
        history.close()


@posix
def test_nobody_else_may_read_the_file(path: Path) -> None:
    with History.open(path) as history:
        talk(history, ("a", "A"))
        assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


def test_damage_that_is_met_at_the_start_has_the_file_set_aside_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "CHECKED_BYTES", 0)
    with History.open(path) as history:
        for number in range(50):
            talk(history, (f"question {number} " + "x" * 3000, "answer"))
    damaged = bytearray(path.read_bytes())
    damaged[20 * 4096 :] = bytes(len(damaged) - 20 * 4096)
    path.write_bytes(damaged)
    with History.open(path) as history:
        assert "set aside" in history.notices[0]
        talk(history, ("a", "A"))
