"""What was tuned is kept by file and machine, taken back, and never in the way of a load."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import SettingsError
from qwq_local.machine import tuned
from qwq_local.machine.tuned import AllKept, Kept, TunedFor
from qwq_local.settings import KvType
from qwq_local.tuning import Layout, Tuning, tuning_of

KEY = TunedFor("q.gguf", 10**9, "cpu", "a CPU, 2 threads, llama.cpp")
FOUND = Kept(KEY, Tuning(n_threads=1, layout="repacked"), {"decode": 1.2}, "2026-11-30")

TUNINGS = st.builds(
    Tuning,
    n_threads=st.none() | st.integers(1, 512),
    n_threads_batch=st.none() | st.integers(1, 512),
    n_ubatch=st.integers(32, 4096),
    flash_attention=st.booleans(),
    layout=st.sampled_from(["auto", "plain", "repacked"]),
    is_mapped=st.booleans(),
    offloads_batches=st.booleans(),
)


def test_what_is_kept_is_found_for_the_same_file_and_machine_only(tmp_path: Path) -> None:
    assert tuned.read(tmp_path / "new") == AllKept()
    tuned.keep(tmp_path / "new", FOUND)
    kept = tuned.read(tmp_path / "new")
    assert kept.find(KEY) == FOUND
    for other in (
        replace(KEY, file_name="r.gguf"),
        replace(KEY, file_bytes=10**9 + 1),
        replace(KEY, kind="gpu"),
        replace(KEY, machine="another"),
    ):
        assert kept.find(other) is None


def test_a_later_tuning_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    other = replace(FOUND, key=replace(KEY, machine="another"))
    for found in (FOUND, other, replace(FOUND, tuning=Tuning())):
        tuned.keep(tmp_path, found)
    kept = tuned.read(tmp_path)
    assert len(kept.entries) == 2
    assert (kept.find(KEY), kept.find(other.key)) == (replace(FOUND, tuning=Tuning()), other)


def test_what_is_meant_is_forgotten(tmp_path: Path) -> None:
    other = replace(FOUND, key=replace(KEY, file_name="r.gguf"))
    tuned.keep(tmp_path, FOUND)
    tuned.keep(tmp_path, other)
    assert tuned.forget(tmp_path, lambda kept: kept.key.file_name == "q.gguf") == 1
    assert tuned.read(tmp_path).entries == (other,)
    assert tuned.forget(tmp_path, lambda kept: kept.key.file_name == "q.gguf") == 0
    assert tuned.forget(tmp_path, lambda _: True) == 1
    assert tuned.forget(tmp_path / "none", lambda _: True) == 0
    assert not (tmp_path / "none").exists()


@given(tuning=TUNINGS)
def test_every_tuning_survives_the_file(tuning: Tuning, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("kept")
    tuned.keep(folder, replace(FOUND, tuning=tuning))
    assert tuned.read(folder).find(KEY) == replace(FOUND, tuning=tuning)


def _row(**changes: Any) -> dict[str, Any]:
    return {"file_name": "q", "file_bytes": 1, "kind": "cpu", "machine": "m", "tuning": {}, "gains": {}, "date": ""} | changes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "tuned": []}',
        '{"version": 1}',
        '{"version": 1, "tuned": 3}',
        '{"version": 1, "tuned": [3]}',
        *(
            json.dumps({"version": 1, "tuned": [row]})
            for row in (
                _row(tuning={"n_ubatch": 1}),
                _row(tuning={"n_ubatch": "512"}),
                _row(tuning={"n_threads": True}),
                _row(tuning={"layout": "round"}),
                _row(tuning={"flash_attention": 1}),
                _row(tuning={"unknown": 1}),
                _row(tuning=[]),
                _row(gains=[1]),
                _row(file_bytes="many"),
            )
        ),
        "\udcff",
    ],
)
def test_a_damaged_or_other_file_is_a_problem_and_no_tuning(tmp_path: Path, text: str) -> None:
    path = tmp_path / tuned.FILE_NAME
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    kept = tuned.read(tmp_path)
    assert kept.entries == ()
    assert str(path) in kept.problem
    tuned.keep(tmp_path, FOUND)
    assert tuned.read(tmp_path) == AllKept((FOUND,))


def test_forgetting_all_mends_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / tuned.FILE_NAME).write_text("{")
    assert tuned.forget(tmp_path, lambda _: True) == 0
    assert tuned.read(tmp_path) == AllKept()


def test_readers_beside_writers_find_a_whole_file_always(tmp_path: Path) -> None:
    def write() -> None:
        for number in range(100):
            tuned.keep(tmp_path, replace(FOUND, date=str(number)))

    tuned.keep(tmp_path, FOUND)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        while not writing.done():
            assert tuned.read(tmp_path).problem == ""
    writing.result()
    assert [path.name for path in tmp_path.iterdir()] == [tuned.FILE_NAME]


def test_a_folder_that_cannot_be_written_is_the_callers_to_tell(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        tuned.keep(tmp_path / "file" / "x", FOUND)


# The tuning itself


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_threads": 0}, "n_threads is 0"),
        ({"n_threads_batch": 513}, "n_threads_batch is 513"),
        ({"n_ubatch": 31}, "n_ubatch is 31"),
        ({"layout": "x"}, "layout is 'x'"),
        ({"is_mapped": 0}, "is_mapped is 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Tuning(**wrong)
    with pytest.raises(SettingsError, match=named):
        tuning_of(wrong)


def test_only_what_differs_is_told() -> None:
    assert Tuning().changes == {}
    assert Tuning(n_threads=3, is_mapped=False).changes == {"n_threads": 3, "is_mapped": False}


@pytest.mark.parametrize("layout", ["auto", "plain", "repacked"])
def test_weights_are_shared_by_tunings_that_load_them_alike(layout: Layout) -> None:
    tuning = Tuning(n_threads=3, n_ubatch=64, layout=layout)
    assert tuning.as_loaded == Tuning(layout=layout)
    assert replace(tuning, is_mapped=False).as_loaded != tuning.as_loaded


def test_what_takes_more_memory_can_be_left_out() -> None:
    tuning = Tuning(n_threads=3, n_ubatch=1024, flash_attention=False, layout="plain", offloads_batches=False)
    assert tuning.without_memory == Tuning(n_threads=3, layout="plain")
    assert replace(tuning, n_ubatch=64).without_memory.n_ubatch == 64


def test_flash_attention_is_a_choice_for_f16_only() -> None:
    off = Tuning(flash_attention=False)
    kv_types: tuple[KvType, ...] = ("f32", "f16", "q8_0", "q4_0")
    assert [off.uses_flash_attention(kv_type) for kv_type in kv_types] == [False, False, True, True]
    assert [Tuning().uses_flash_attention(kv_type) for kv_type in kv_types] == [False, True, True, True]
