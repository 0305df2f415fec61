"""A build is tried: it loads, sees the GPU, puts every layer there and writes a token, or it is refused with what it did not do."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from qwq_local.doctor import facts
from qwq_local.doctor.running import Ended, Order, run
from qwq_local.doctor.trial import PROGRAM, Expected, Sought, judge, trial
from qwq_local.errors import TrialError
from qwq_local.llama._trial import describe_trial
from tests.doctor.installs import ON_GPU, TRIAL

GEFORCE = Sought("NVIDIA", "NVIDIA GeForce RTX 3090")
RTX = Expected(offloads=True, gpus=(GEFORCE,))
RADEON = Expected(offloads=True, gpus=(Sought("AMD"),))
BOTH = Expected(offloads=True, gpus=(Sought("NVIDIA", "NVIDIA GeForce GTX 1080"), GEFORCE))


def seeing(description: str, **said: object) -> dict[str, Any]:
    return {"version": "1", **ON_GPU, "devices": [{"name": "Vulkan0", "description": description, "kind": "gpu"}], **said}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"version": "1", **TRIAL}, Expected()),
        ({"version": "1", **ON_GPU}, RTX),
        ({"version": "1", **ON_GPU}, Expected(offloads=True)),
        (seeing("AMD Radeon RX 7900 XTX (RADV NAVI31)", placed={"Vulkan0": 21}), RADEON),
        (seeing("Apple M4 Max", placed={"Vulkan0": 21}), Expected(offloads=True, gpus=(Sought("Apple", "Apple M4"),))),
        ({"version": "1", **ON_GPU}, BOTH),
        (seeing("AMD Radeon RX 7900 XTX", placed={"Vulkan0": 21}), replace(RADEON, gpus=(GEFORCE, *RADEON.gpus))),
    ],
)
def test_a_build_that_does_what_is_expected_is_taken(said: dict[str, Any], wanted: Expected) -> None:
    assert "21 on " in judge(said, wanted).devices


@pytest.mark.parametrize(
    ("said", "wanted", "says"),
    [
        ({"version": "1", **TRIAL}, RTX, "uses no GPU: it was built for the CPU alone"),
        ({"version": "1", **TRIAL, "offloads": True}, RTX, "sees no GPU"),
        (seeing("llvmpipe (LLVM 15.0.6, 256 bits)"), RADEON, "sees llvmpipe.*and no GPU of AMD's"),
        (seeing("Intel(R) Graphics"), RTX, "sees Intel.*and no NVIDIA GeForce RTX 3090"),
        (seeing("Intel(R) Graphics"), BOTH, "sees Intel.*and no NVIDIA GeForce GTX 1080 or NVIDIA GeForce RTX 3090"),
        ({"version": "1", **ON_GPU, "placed": {"CUDA0": 18, "CPU": 3}}, RTX, "leaves 3 of the built-in model's weights in RAM"),
        ({"version": "1", **ON_GPU, "placed": {}}, RTX, "in RAM"),
    ],
)
def test_a_build_that_does_not_is_refused_with_what_it_lacks(said: dict[str, Any], wanted: Expected, says: str) -> None:
    with pytest.raises(TrialError, match=says) as caught:
        judge(said, wanted)
    assert "--build" in caught.value.hint


def test_the_installed_build_computes_and_tells_where_its_weights_stand() -> None:
    said = describe_trial()
    assert said["version"] == llama_cpp.__version__
    assert sum(said["placed"].values()) > 0
    assert set(said["placed"]) <= {device["name"] for device in said["devices"]}
    assert said["token"]


@pytest.mark.parametrize("printed", ["ggml_cuda_init: found 1 device\n{}\n", "{}\nbye\n", "[1]\n{}\n[2]\n3\nnull\n"])
def test_what_libraries_print_around_the_answer_is_no_part_of_it(tmp_path: Path, printed: str) -> None:
    said = json.dumps({"version": "1", "file": str(tmp_path / "llama_cpp.py"), **TRIAL})
    assert trial(lambda _: Ended(0, printed.format(said)), Expected(), tmp_path).devices == "21 on CPU"
    assert facts.read_build(0, printed.format('{"offloads": true, "features": [], "cuda": null}'), "").offloads


def test_a_build_that_ends_without_an_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="does not run here: it ended without an answer") as caught:
        trial(lambda _: Ended(0, "hello\n"), Expected(), tmp_path)
    assert caught.value.hint
    assert facts.read_build(0, "hello\n", "").failure == "it ended without an answer"


def test_the_answer_of_a_real_trial_stands_in_a_line_of_its_own() -> None:
    for program in (PROGRAM, facts.BUILD_PROGRAM):
        loud = f"import runpy, sys; sys.stdout.write('a library'); runpy.run_module({program!r}, run_name='__main__')"
        ended = run(Order((sys.executable, "-c", loud)))
        assert ended.answer is not None
        assert "offloads" in ended.answer


@pytest.mark.slow
def test_a_build_in_a_folder_of_its_own_is_the_one_that_is_tried(tmp_path: Path) -> None:
    assert trial(run, Expected(), Path(llama_cpp.__file__).parents[1]).version == llama_cpp.__version__
    (tmp_path / "llama_cpp").mkdir()
    (tmp_path / "llama_cpp/__init__.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')\n")
    with pytest.raises(TrialError, match=r"libcudart\.so\.12") as caught:
        trial(run, Expected(), tmp_path, is_aside=True)
    assert caught.value.lacks_cuda
    with pytest.raises(TrialError, match="before the one in"):
        trial(run, Expected(), tmp_path)


def test_what_lies_in_the_folder_that_one_stands_in_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "llama_cpp"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(tmp_path)
    assert not facts.build_facts().failure
    assert trial(run, Expected(), Path(llama_cpp.__file__).parents[1]).token


def test_on_windows_any_library_that_lacks_is_taken_for_one_of_cuda(tmp_path: Path) -> None:
    said = "FileNotFoundError: Could not find module 'C:\\\\x\\\\llama.dll' (or one of its dependencies)."
    with pytest.raises(TrialError) as caught:
        trial(lambda _: Ended(1, "", said), RTX, tmp_path)
    assert caught.value.lacks_cuda
