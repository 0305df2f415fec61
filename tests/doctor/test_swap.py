"""llama.cpp exchanged: whatever happens, and wherever it is killed, what was there before is there still, or comes back byte for byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from filelock import FileLock

from qwq_local.doctor import facts, site
from qwq_local.doctor.condition import Packager, Unfinished
from qwq_local.doctor.fetch import Source
from qwq_local.doctor.remedy import Choice
from qwq_local.doctor.running import Ended
from qwq_local.doctor.site import find_site
from qwq_local.doctor.swap import Swapper, Wish
from qwq_local.doctor.trial import Expected, Sought
from qwq_local.errors import InstallationError, TrialError
from tests.doctor.installs import CPU, NEW, OLD, ON_GPU, Place, contents, install, installing
from tests.doctor.test_diagnosis import SYSTEM

CUDA = Wish(Choice("cu124"), Expected(offloads=True, gpus=(Sought("NVIDIA", "NVIDIA GeForce RTX 3090"),)), Source())
VULKAN = replace(CUDA, choice=Choice("vulkan"))
NO_CUDA = Ended(1, "", "OSError: libcudart.so.12: cannot open shared object file\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


def test_an_exchange_puts_the_new_build_in_place_and_undo_brings_every_byte_of_the_old_one_back(place: Place) -> None:
    before = contents(place.site)
    done = place.swapper().exchange([CPU])
    assert (done.before, done.tried.version, place.version()) == (OLD, NEW, NEW)
    assert {"llama_cpp/of_the_new.py", "include/another.h"} <= contents(place.site).keys()
    assert not {"llama_cpp/of_the_old.py", "llama_cpp/lib/libmine.so", f"llama_cpp_python-{OLD}.dist-info"} & contents(place.site).keys()
    undone = place.swapper().undo()
    assert (undone.before, place.version()) == (NEW, OLD)
    assert contents(place.site) == before
    with pytest.raises(InstallationError, match="nothing to undo"):
        place.swapper().undo()


def test_nothing_is_touched_before_the_new_build_has_been_tried(place: Place) -> None:
    before = contents(place.site)
    seen: list[bool] = []

    def pip(target: Path) -> Ended:
        install(target, NEW)
        seen.append(contents(place.site).items() >= before.items())
        return Ended(0)

    place.run.pip = pip
    place.run.tried = [Ended(-4)]
    with pytest.raises(TrialError, match="does not run here: Illegal instruction"):
        place.swapper().exchange([CPU])
    assert seen == [True]
    assert contents(place.site) == before
    assert place.swapper().mend() is None


def test_undo_goes_back_by_one_exchange_and_keeps_no_wheel_of_those_before(place: Place) -> None:
    place.swapper().exchange([CPU])
    place.run.pip = installing("0.3.41")
    place.swapper().exchange([VULKAN_ON_CPU])
    assert len(list(place.data.rglob("*.whl"))) == 1
    place.swapper().undo()
    assert place.version() == NEW
    assert not list(place.data.rglob("*.whl"))


VULKAN_ON_CPU = replace(CPU, choice=Choice("vulkan"))


HELD: list[FileLock] = []


def hold(place: Place) -> None:
    place.swapper().exchange([CPU])
    place.swapper().undo()
    HELD.append(FileLock(next(place.data.rglob("lock"))))
    HELD[-1].acquire()


FAILURES: dict[str, tuple[Callable[[Place], object], str]] = {
    "pip is killed": (lambda place: setattr(place.run, "pip", lambda _: Ended(-9)), "cpu could not be fetched: Killed"),
    "the disk is full when pip writes": (
        lambda place: setattr(place.run, "pip", lambda _: Ended(1, "", "OSError: [Errno 28] No space left on device")), "The disk is full",
    ),
    "the new build crashes where it is tried": (lambda place: setattr(place.run, "tried", [Ended(-11)]), "Segmentation fault"),
    "the new build does not answer": (lambda place: setattr(place.run, "tried", [Ended(None)]), "it did not end in time"),
    "it crashes in its place": (lambda place: setattr(place.run, "tried", [None, Ended(-11)]), "Segmentation fault"),
    "the old one cannot be kept": (lambda place: place.data.write_text(""), "data"),
    "another is at it": (hold, "Another qwq doctor is exchanging"),
    "a library of the user's own is loaded": (
        lambda _: os.environ.update(LLAMA_CPP_LIB_PATH="/opt/mine"), "LLAMA_CPP_LIB_PATH is /opt/mine",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAILURES)
def test_whatever_fails_leaves_the_old_build_as_it_was(place: Place, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", "")
    cause, says = FAILURES[fault]
    before = contents(place.site)
    cause(place)
    try:
        with pytest.raises(InstallationError, match=says) as caught:
            place.swapper().exchange([CPU])
    finally:
        while HELD:
            HELD.pop().release()
    assert caught.value.hint
    assert contents(place.site) == before
    assert not list(place.data.rglob("going.json")) if place.data.is_dir() else True


def test_a_ctrl_c_while_pip_works_leaves_the_old_build_as_it_was(place: Place) -> None:
    def interrupted(target: Path) -> Ended:
        install(target, NEW)
        raise KeyboardInterrupt

    before = contents(place.site)
    place.run.pip = interrupted
    with pytest.raises(KeyboardInterrupt):
        place.swapper().exchange([CPU])
    assert contents(place.site) == before


def test_wherever_it_is_killed_the_next_run_recognizes_and_mends_it(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, move = contents(place.site), os.replace
    states: list[Path] = []

    def watched(*arguments: str) -> None:  # what lies on the disk before each rename is what a kill there leaves
        states.append(shutil.copytree(place.folder, tmp_path / f"state-{len(states)}"))
        move(*arguments)

    monkeypatch.setattr(os, "replace", watched)
    place.swapper().exchange([CPU])
    monkeypatch.undo()
    assert len(states) > 20
    for state in states:
        shutil.rmtree(place.folder)
        shutil.copytree(state, place.folder)
        told = place.swapper().mend()
        assert (told is None) == (not list(state.rglob("going.json")))
        assert contents(place.site) == before
        assert place.swapper().mend() is None


def test_an_exchange_that_was_broken_off_must_be_mended_first(place: Place) -> None:
    place.swapper().exchange([CPU])
    done = next(place.data.rglob("done.json"))
    (done.parent / "going.json").write_text(done.read_text().replace("done", "going"))
    with pytest.raises(InstallationError, match="broken off before"):
        place.swapper().exchange([CPU])
    assert "is back in its place" in (place.swapper().mend() or "")
    assert place.version() == OLD


def test_an_exchange_that_was_broken_off_is_seen_unless_a_process_is_still_at_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "find_site", lambda: place.site)
    monkeypatch.setenv("QWQ_DATA", str(place.data))
    assert facts.unfinished() is None
    place.swapper().exchange([CPU])
    done = next(place.data.rglob("done.json"))
    done.rename(done.with_name("going.json"))
    assert facts.unfinished() == Unfinished("cpu", has_begun=True)
    with FileLock(done.with_name("lock")):
        assert facts.unfinished() is None
    done.with_name("going.json").write_text("[]")
    with pytest.raises(InstallationError, match=r"going\.json cannot be read"):
        facts.unfinished()


def test_where_there_was_none_before_a_failure_leaves_none_and_undo_says_so(place: Place) -> None:
    shutil.rmtree(place.site / "llama_cpp")
    shutil.rmtree(place.site / f"llama_cpp_python-{OLD}.dist-info")
    before = contents(place.site)
    place.run.tried = [None, Ended(-11)]
    with pytest.raises(TrialError):
        place.swapper().exchange([CPU])
    assert contents(place.site) == before
    assert place.swapper().exchange([CPU]).before == ""
    with pytest.raises(InstallationError, match="nothing to put back"):
        place.swapper().undo()


def test_a_file_of_another_package_that_is_in_the_way_comes_back(place: Place) -> None:
    (place.site / "llama_cpp").with_name("lib").mkdir()
    (place.site / "lib/libggml.so").write_text("another package's\n")
    before = contents(place.site)
    place.run.pip = installing(NEW, {"lib/libggml.so": "the build's"})
    place.swapper().exchange([CPU])
    assert (place.site / "lib/libggml.so").read_text() == "the build's"
    place.swapper().undo()
    assert contents(place.site) == before


def test_a_damaged_wheel_is_not_put_back(place: Place) -> None:
    place.swapper().exchange([CPU])
    wheel = next(place.data.rglob("*.whl"))
    kept = bytearray(wheel.read_bytes())
    kept[len(kept) // 3] ^= 0xFF
    wheel.write_bytes(kept)
    after = contents(place.site)
    with pytest.raises(InstallationError, match=r"whl (is damaged|cannot be read)"):
        place.swapper().undo()
    assert contents(place.site) == after


def test_a_build_for_cuda_without_cudas_libraries_makes_way_for_one_that_needs_none(place: Place) -> None:
    place.run.said = {**ON_GPU, "version": NEW}
    place.run.tried = [NO_CUDA]
    assert place.swapper().exchange([CUDA, VULKAN]).build == "vulkan"
    assert any("libcudart.so.12" in told for told in place.told)
    place.run.tried = [Ended(-11)]
    with pytest.raises(TrialError, match="Segmentation fault"):
        place.swapper().exchange([CUDA, VULKAN])


def test_what_another_program_installed_is_left_to_it(place: Place) -> None:
    info = place.site / f"llama_cpp_python-{OLD}.dist-info"
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    with pytest.raises(InstallationError, match="editable"):
        place.swapper().exchange([CPU])
    (info / "RECORD").unlink()
    (info / "INSTALLER").write_text("conda\n")
    with pytest.raises(InstallationError, match="conda installed llama-cpp-python"):
        place.swapper().exchange([CPU])
    assert place.run.orders == []


def test_what_hinders_is_told_before_anything_begins(place: Place) -> None:
    hindered = replace(SYSTEM, packager=Packager(problem="/usr is managed by the system.", remedy="pipx install qwq-local"))
    with pytest.raises(InstallationError, match="managed by the system") as caught:
        Swapper(hindered, place.data, place.told.append, place.run, place.site).exchange([CPU])
    assert caught.value.hint == "pipx install qwq-local"
    assert place.run.orders == []


def test_the_steps_are_told_in_their_order_and_nothing_is_done(place: Place) -> None:
    before = contents(place.folder)
    fetch, trial, keep, exchange, again = place.swapper().steps(CUDA)
    assert f"--target '{place.site}/~qwq-new'" in fetch or f"--target {place.site}/~qwq-new" in fetch
    assert "see NVIDIA GeForce RTX 3090, put every layer of the built-in model on it" in trial
    assert f"llama-cpp-python {OLD}" in keep
    assert str(place.site) in exchange
    assert "put the old one back" in again
    assert contents(place.folder) == before
    place.swapper().exchange([CPU])
    after = contents(place.folder)
    assert any(OLD in step for step in place.swapper().undo_steps())
    assert contents(place.folder) == after


def test_a_record_that_cannot_be_read_is_named(place: Place) -> None:
    place.swapper().exchange([CPU])
    record = next(place.data.rglob("done.json"))
    record.write_text("{")
    with pytest.raises(InstallationError, match=r"done\.json cannot be read"):
        place.swapper().undo()


def test_a_rollback_that_is_itself_refused_keeps_what_the_old_build_is_put_back_from(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(place.site)
    place.run.tried = [None, Ended(-11)]
    move = site._move

    def refuse(source: Path, target: Path) -> None:  # as a scanner that holds the new library
        if source.name == "libllama.so" and site.STAGE in target.parts:
            raise PermissionError(13, "Permission denied", str(source))
        move(source, target)

    monkeypatch.setattr(site, "_move", refuse)
    with pytest.raises((InstallationError, TrialError)):
        place.swapper().exchange([CPU])
    assert contents(place.site) != before
    monkeypatch.setattr(site, "_move", move)
    assert place.swapper().mend() is not None
    assert contents(place.site) == before


def test_a_source_folder_on_the_search_path_is_not_taken_for_the_installed_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(name: str) -> None:
        raise PackageNotFoundError(name)

    source = tmp_path / "checkout/llama_cpp"
    source.mkdir(parents=True)
    (source / "__init__.py").touch()
    spec = ModuleSpec("llama_cpp", None, is_package=True)
    spec.submodule_search_locations = [str(source)]
    monkeypatch.setattr(site, "distribution", lack)
    monkeypatch.setattr(site, "find_spec", lambda _: spec)
    assert find_site() != source.parent
    assert find_site().name in {"site-packages", "dist-packages"}


def test_an_environment_is_the_same_one_through_a_link(place: Place, tmp_path: Path) -> None:
    place.swapper().exchange([CPU])
    link = tmp_path / "link"
    link.symlink_to(place.site, target_is_directory=True)
    assert Swapper(SYSTEM, place.data, place.told.append, place.run, link).undo().before == NEW
    assert place.version() == OLD
