from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwq_local.desktop.instance import RUNNING_NAME, Running, announce, only_app, running_app
from qwq_local.errors import QwqError

HOLDER = """
import sys, time
from pathlib import Path
from qwq_local.desktop.instance import announce, only_app
with only_app(Path(sys.argv[1])) as is_only:
    announce(Path(sys.argv[1]), "http://127.0.0.1:1")
    print(is_only, flush=True)
    time.sleep(100)
"""


def test_the_second_app_learns_where_the_page_of_the_first_is(tmp_path: Path) -> None:
    with only_app(tmp_path / "desktop") as is_only:
        assert is_only
        announce(tmp_path / "desktop", "http://127.0.0.1:17327")
        with only_app(tmp_path / "desktop") as second:
            assert not second
            assert running_app(tmp_path / "desktop") == Running(os.getpid(), "http://127.0.0.1:17327")
        assert (tmp_path / "desktop" / RUNNING_NAME).is_file(), "the second takes nothing away"
    assert not (tmp_path / "desktop" / RUNNING_NAME).exists()


def test_what_a_killed_app_leaves_is_not_taken_for_one_that_runs(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"True\n"
        with only_app(tmp_path) as is_only:
            assert not is_only
        holder.kill()
    assert (tmp_path / RUNNING_NAME).is_file()
    with only_app(tmp_path) as is_only:
        assert is_only
        assert not (tmp_path / RUNNING_NAME).exists(), "nobody is sent to where nothing is"


@pytest.mark.parametrize("left", ["", "{", "[]", json.dumps({"pid": "x", "address": "y"})])
def test_an_app_that_never_says_where_its_page_is_is_named(tmp_path: Path, left: str) -> None:
    (tmp_path / RUNNING_NAME).write_text(left)
    with pytest.raises(QwqError, match="has not said where its page is") as caught:
        running_app(tmp_path, patience_seconds=0.1)
    assert str(tmp_path) in caught.value.hint


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QwqError, match="file/desktop cannot be written") as caught, only_app(tmp_path / "file/desktop"):
        pass
    assert "QWQ_DATA" in caught.value.hint


def test_a_full_disk_is_told_when_the_page_is_announced(tmp_path: Path) -> None:
    (tmp_path / f"{RUNNING_NAME}.new").symlink_to("/dev/full")
    with pytest.raises(QwqError, match="No space left on device"):
        announce(tmp_path, "http://127.0.0.1:1")
