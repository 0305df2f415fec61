from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwq_local.desktop import instance
from qwq_local.desktop.instance import JOINED_NAME, RUNNING_NAME, Running, announce, joined, only_app, stand_down
from qwq_local.errors import QwqError
from tests.waiting import soon, wait_until

HOLDER = """
import sys, time
from pathlib import Path
from qwq_local.desktop.instance import announce, only_app
with only_app(Path(sys.argv[1]), "chromium") as running:
    announce(Path(sys.argv[1]), "http://127.0.0.1:1")
    print(running, flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def page() -> Iterator[str]:
    """The address of a server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def start_holder(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    """An app whose server is gone, and which ends after so many seconds."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, folder, str(seconds)], stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"None\n"
    return holder


def test_the_second_app_learns_where_the_page_of_the_first_is(tmp_path: Path, page: str) -> None:
    with only_app(tmp_path / "desktop", "chromium") as running:
        assert running is None
        announce(tmp_path / "desktop", page)
        with only_app(tmp_path / "desktop", "chromium") as second:
            assert second == Running(os.getpid(), page)
        assert (tmp_path / "desktop" / RUNNING_NAME).is_file(), "the second takes nothing away"
    assert [path.name for path in (tmp_path / "desktop").iterdir()] == ["lock"]


def test_what_cannot_be_deleted_while_another_start_reads_it_says_nothing_any_more(
    tmp_path: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: bool) -> None:
        raise PermissionError(13, "The process cannot access the file because it is being used by another process", str(path))

    with only_app(tmp_path, "chromium"):
        announce(tmp_path, page)
        with monkeypatch.context() as windows:
            windows.setattr(Path, "unlink", refuse)
            stand_down(tmp_path)
        with pytest.raises(QwqError, match="has not said where its page is"), only_app(tmp_path, "chromium", 0.2):
            pass


def test_the_first_app_learns_where_those_that_join_it_show_the_page(tmp_path: Path, page: str) -> None:
    with only_app(tmp_path, "chromium"):
        assert joined(tmp_path) == []
        announce(tmp_path, page)
        for browser in ("chromium", "default", "/opt/a \udcff browser"):
            with only_app(tmp_path, browser):
                pass
        assert joined(tmp_path) == ["chromium", "default", "/opt/a \udcff browser"]
    with only_app(tmp_path, "chromium"):
        assert joined(tmp_path) == []


def test_an_app_that_ends_just_when_it_is_joined_either_learns_of_it_or_is_not_joined(
    tmp_path: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = instance._answers

    def answers_and_stands_down(address: str) -> bool:
        is_there = answers(address)
        stand_down(tmp_path)
        seen_by_first.append(joined(tmp_path))
        return is_there

    seen_by_first: list[list[str]] = []
    with only_app(tmp_path, "chromium"):
        announce(tmp_path, page)
        monkeypatch.setattr(instance, "_answers", answers_and_stands_down)
        with pytest.raises(QwqError, match="has not said"), only_app(tmp_path, "firefox", patience_seconds=0.2):
            pass
        assert seen_by_first == [[]], "it may end"
        assert joined(tmp_path) == ["firefox"]


def test_a_full_disk_is_told_to_who_joins(tmp_path: Path, page: str) -> None:
    with only_app(tmp_path, "chromium"):
        announce(tmp_path, page)
        (tmp_path / JOINED_NAME).symlink_to("/dev/full")
        with pytest.raises(QwqError, match="No space left on device"), only_app(tmp_path, "chromium"):
            pass


def test_what_a_killed_app_leaves_is_not_taken_for_one_that_runs(tmp_path: Path) -> None:
    with start_holder(tmp_path, 100) as holder:
        holder.kill()
    assert (tmp_path / RUNNING_NAME).is_file()
    with only_app(tmp_path, "chromium") as running:
        assert running is None
        assert not (tmp_path / RUNNING_NAME).exists(), "nobody is sent to where nothing is"


def test_an_app_whose_server_is_gone_is_not_joined_but_followed(tmp_path: Path) -> None:
    with start_holder(tmp_path, 1) as holder, only_app(tmp_path, "chromium") as running:
        assert running is None
        assert holder.wait() == 0


def test_an_app_that_is_killed_while_another_waits_for_it_is_followed(tmp_path: Path) -> None:
    with start_holder(tmp_path, 100) as holder:
        killing = threading.Timer(0.5, holder.kill)
        killing.start()
        with only_app(tmp_path, "chromium") as running:
            assert running is None
        killing.join()


def test_an_app_that_stood_down_is_not_joined_though_its_server_answers(tmp_path: Path, page: str) -> None:
    with only_app(tmp_path, "chromium"):
        announce(tmp_path, page)
        stand_down(tmp_path)
        with pytest.raises(QwqError, match="has not said where its page is"), only_app(tmp_path, "chromium", patience_seconds=0.2):
            pass


def test_of_two_that_start_while_a_former_one_ends_one_follows_it_and_the_other_joins(tmp_path: Path, page: str) -> None:
    found: list[Running | None] = []
    all_done = threading.Event()

    def start() -> None:
        with only_app(tmp_path, "chromium") as running:
            found.append(running)
            if running is None:
                announce(tmp_path, page)
                assert all_done.wait(30)

    with only_app(tmp_path, "chromium"):
        later = [threading.Thread(target=start) for _ in range(2)]
        for thread in later:
            thread.start()
        time.sleep(0.2)
        assert not found, "nothing answers yet"
    wait_until(lambda: len(found) == 2)
    all_done.set()
    for thread in later:
        soon(thread.join)
    assert found == [None, Running(os.getpid(), page)]


@pytest.mark.parametrize("left", ["", "{", "[]", json.dumps({"pid": "x", "address": "y"}), json.dumps({"pid": 1, "address": "http://x:y"})])
def test_an_app_that_never_says_where_its_page_is_is_named(tmp_path: Path, left: str) -> None:
    with only_app(tmp_path, "chromium"):
        (tmp_path / RUNNING_NAME).write_text(left)
        with (
            pytest.raises(QwqError, match="has not said where its page is") as caught,
            only_app(tmp_path, "chromium", patience_seconds=0.1),
        ):
            pass
    assert str(tmp_path) in caught.value.hint


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QwqError, match="file/desktop cannot be written") as caught, only_app(tmp_path / "file/desktop", "chromium"):
        pass
    assert "QWQ_DATA" in caught.value.hint


def test_a_full_disk_is_told_when_the_page_is_announced(tmp_path: Path) -> None:
    (tmp_path / f"{RUNNING_NAME}.new").symlink_to("/dev/full")
    with pytest.raises(QwqError, match="No space left on device"):
        announce(tmp_path, "http://127.0.0.1:1")
