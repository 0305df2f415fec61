"""Transfers that go wrong in every way: what arrives has the right content or no name, and what is here is not fetched again."""

from __future__ import annotations

import random
import shutil
import threading
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from qwq_local.errors import HubError, QwqError, StoreError
from qwq_local.models import download
from qwq_local.models.download import PullProgress, local_name, part_path
from qwq_local.models.hub import Hub
from qwq_local.models.record import Record, read_record
from tests.hub_server import COMMIT, Fault, HubServer, random_fault, sha256
from tests.programs import posix
from tests.pulling import CONTENT, REPOSITORY, SHARDS, Ears, bring, parts

CUTS = [0, 1, 16_383, 350_000, len(CONTENT) - 1]


def test_a_model_in_parts_comes_whole(server: HubServer, tmp_path: Path) -> None:
    ears = Ears()
    first = bring(server, tmp_path, "Q8_0", ears)
    assert first.name == "QwQ-32B-Q8_0-00001-of-00003.gguf"
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.gguf"))] == list(SHARDS.values())
    assert ears.progress[-1].done_bytes == ears.progress[-1].total_bytes == sum(map(len, SHARDS.values()))


@pytest.mark.parametrize("after", CUTS)
@pytest.mark.parametrize("kind", ["cut", "reset", "end early"])
def test_a_connection_cut_at_any_byte_is_taken_up_there(server: HubServer, tmp_path: Path, kind: str, after: int) -> None:
    server.fail(("storage", Fault(kind, after=after)))  # type: ignore[arg-type]
    ears = Ears()
    assert bring(server, tmp_path, ears=ears).read_bytes() == CONTENT
    assert ears.slept == [1]
    assert server.sent_bytes == len(CONTENT) or kind == "reset"
    storage = [request.range for request in server.requests if request.place == "storage"]
    assert storage[0] is None
    assert storage[1:] == [f"bytes={after}-" if after else None] or kind == "reset"


def test_a_stalled_connection_is_left_and_taken_up(server: HubServer, tmp_path: Path) -> None:
    server.fail(("storage", Fault("stall", after=100_000)))
    ears = Ears()
    assert bring(server, tmp_path, ears=ears).read_bytes() == CONTENT
    assert "failed" in ears.notices[0]
    assert server.sent_bytes == len(CONTENT)


def test_what_an_earlier_pull_left_is_kept_and_checked_again(server: HubServer, tmp_path: Path) -> None:
    server.fail(("storage", Fault("cut", after=200_000)), ("resolve", Fault("status", 404, "EntryNotFound")))
    with pytest.raises(HubError, match="lost the file"):
        bring(server, tmp_path)
    (part,) = parts(tmp_path)
    assert part.read_bytes() == CONTENT[:200_000]
    assert not list(tmp_path.glob("*.gguf"))
    ears = Ears()
    assert bring(server, tmp_path, ears=ears).read_bytes() == CONTENT
    assert server.sent_bytes == len(CONTENT)
    assert ears.progress[0] == PullProgress("checking", 200_000, len(CONTENT))


@pytest.mark.parametrize("size_bytes", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_whole_or_longer_needs_no_transfer(server: HubServer, tmp_path: Path, size_bytes: int) -> None:
    record = Hub(server.url).find("Q4_K_M", [REPOSITORY])[0]
    part = part_path(tmp_path / local_name(record), record)
    part.parent.mkdir()
    part.write_bytes((CONTENT + b"12345")[:size_bytes])
    if size_bytes > len(CONTENT):
        with pytest.raises(HubError, match="arrived damaged"):
            bring(server, tmp_path)
    assert bring(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_byte_never_gets_the_good_name(server: HubServer, tmp_path: Path) -> None:
    server.fail(("storage", Fault("wrong byte", after=123_456)))
    with pytest.raises(HubError, match="arrived damaged") as caught:
        bring(server, tmp_path)
    assert "same command again" in caught.value.hint
    assert not list(tmp_path.glob("*.gguf"))
    assert not parts(tmp_path)
    assert bring(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["no range", "wrong range"])
def test_a_server_that_minds_no_range_is_seen_through(server: HubServer, tmp_path: Path, kind: str) -> None:
    server.fail(("storage", Fault("cut", after=300_000)), ("storage", Fault(kind)))  # type: ignore[arg-type]
    assert bring(server, tmp_path).read_bytes() == CONTENT


def test_a_disk_without_room_is_told_before_a_byte_is_fetched(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(StoreError, match=r"0.0 GB are free") as caught:
        bring(server, tmp_path)
    assert "QWQ_MODELS" in caught.value.hint
    assert server.sent_bytes == 0


def test_a_disk_that_fills_up_meanwhile_is_told_and_the_part_stays(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = download._Part.append
    room = [400_000]

    def write_while_there_is_room(part: download._Part, chunk: bytes) -> None:
        room[0] -= len(chunk)
        if room[0] < 0:
            part._file.close()
            part._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - the part closes it
        real(part, chunk)

    monkeypatch.setattr(download._Part, "append", write_while_there_is_room)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        bring(server, tmp_path)
    assert "What was fetched stays" in caught.value.hint
    monkeypatch.setattr(download._Part, "append", real)
    (part,) = parts(tmp_path)
    kept = part.read_bytes()
    assert CONTENT.startswith(kept)
    assert len(kept) > 300_000
    assert bring(server, tmp_path).read_bytes() == CONTENT


@posix
def test_a_file_system_that_takes_no_file_so_large_is_told(server: HubServer, tmp_path: Path) -> None:
    resource = import_module("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        with pytest.raises(StoreError, match="File too large") as caught:
            bring(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "FAT32" in caught.value.hint
    assert parts(tmp_path)[0].read_bytes() == CONTENT[:400_000]


def test_a_folder_that_cannot_be_written_is_named(server: HubServer, tmp_path: Path) -> None:
    in_the_way = tmp_path / "models"
    in_the_way.write_text("a file")
    with pytest.raises(StoreError, match="cannot take the file") as caught:
        bring(server, in_the_way)
    assert "QWQ_MODELS" in caught.value.hint


def test_two_pulls_at_once_fetch_the_file_once(server: HubServer, tmp_path: Path) -> None:
    server.fail(("storage", Fault("stall", after=300_000)))
    ears = [Ears(), Ears()]
    threads = [threading.Thread(target=bring, args=(server, tmp_path, "Q4_K_M", each)) for each in ears]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "QwQ-32B-Q4_K_M.gguf").read_bytes() == CONTENT
    assert server.sent_bytes == len(CONTENT)
    assert sum("Another qwq pull" in notice for each in ears for notice in each.notices) == 1


def test_a_file_that_is_there_is_adopted_if_it_is_the_same_and_kept_if_not(server: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "QwQ-32B-Q4_K_M.gguf"
    path.write_bytes(CONTENT)
    assert bring(server, tmp_path) == path
    assert read_record(path) is not None
    path.write_bytes(CONTENT[::-1][:-1])
    with pytest.raises(StoreError, match="is not the file that") as caught:
        bring(server, tmp_path)
    assert "qwq rm" in caught.value.hint
    assert path.read_bytes() == CONTENT[::-1][:-1]
    assert server.sent_bytes == 0


@pytest.mark.parametrize(
    ("called", "local"),
    [
        ("qwq-32b-q4_k_m.gguf", "QwQ-32B-Q4_K_M.gguf"),
        ("sub/Qwen_QwQ-32B-bf16-00002-of-00002.gguf", "QwQ-32B-BF16-00002-of-00002.gguf"),
        ("../../etc/x.gguf", "x.gguf"),
        ("..\\..\\x-q8_0.gguf", "x-Q8_0.gguf"),
    ],
)
def test_a_file_gets_a_name_of_ours_and_never_a_path(called: str, local: str) -> None:
    assert local_name(Record("a/b", COMMIT, called, 1, "0" * 64)) == local


@pytest.mark.slow
def test_a_hundred_pulls_with_random_faults_end_with_the_file_or_an_error_and_a_part(server: HubServer, tmp_path: Path) -> None:
    random_faults = random.Random(20_260_304)
    server.pace_seconds = 0.0002
    server.next_fault = lambda place: random_fault(place, random_faults, len(CONTENT))
    ends: Counter[str] = Counter()
    thrown_away_bytes = needed_bytes = 0
    for number in range(100):
        folder = tmp_path / str(number % 7)
        name = random_faults.choice(["Q4_K_M", "IQ3_M"])
        try:
            path = bring(server, folder, name)
        except QwqError as error:
            ends["error" if error.hint else "error without a hint"] += 1
            thrown_away_bytes += len(CONTENT) if "arrived damaged" in str(error) else 0
        else:
            assert sha256(path.read_bytes()) == sha256(CONTENT if name == "Q4_K_M" else CONTENT[::-1])
            ends["file"] += 1
            needed_bytes += len(CONTENT)
            path.unlink()
    for path in tmp_path.glob("*/*.gguf"):
        raise AssertionError(f"{path} was left")
    for part in tmp_path.glob("*/.partial/*.part"):
        assert any(content.startswith(part.read_bytes()) for content in (CONTENT, CONTENT[::-1]))
        needed_bytes += part.stat().st_size
    assert ends.keys() == {"file", "error"}
    assert min(ends.values()) > 10
    assert server.sent_bytes - needed_bytes - thrown_away_bytes < 0.05 * needed_bytes
