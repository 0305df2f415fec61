"""Whatever state the old build is in, and wherever its exchange is killed, it is kept whole, or what stands in the way is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qwq_local.doctor import site as packages
from qwq_local.doctor.running import Ended
from qwq_local.errors import InstallationError, TrialError
from tests.doctor.installs import CPU, NEW, OLD, Place, contents, install, installing

INFO = f"llama_cpp_python-{OLD}.dist-info"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


def link(target: str) -> Callable[[Path], None]:
    def make(site: Path) -> None:
        folder = site.parent / "elsewhere"
        folder.mkdir()
        (folder / "mine.txt").write_text("mine\n")
        (site / "llama_cpp/lib/link").symlink_to(target.format(elsewhere=folder))

    return make


def without(*names: str) -> Callable[[Path], None]:
    def remove(site: Path) -> None:
        for name in names:
            (site / INFO / name).unlink()

    return remove


def with_file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda site: void((site / INFO / name).write_bytes(content))


def void(_: object) -> None:
    """What a function of tests gives that is for its effect."""


def add_a_row_to_record(site: Path) -> None:
    (site.parent / "elsewhere.txt").write_text("mine\n")
    with (site / INFO / "RECORD").open("a") as file:
        file.write(f"{site.parent / 'elsewhere.txt'},,\n")


def make_a_link_of_a_header(site: Path) -> None:
    (site / "include/llama.h").unlink()
    (site / "include/llama.h").symlink_to("gone.h")


def install_again_from_a_kept_wheel(site: Path) -> None:
    for name in ("RECORD.installed", "TIMES.installed"):
        (site / INFO / name).write_text("what pip leaves of it\n")


STATES: dict[str, Callable[[Path], None]] = {
    "a link to nothing": link("libgone.so.0"),
    "a link to a file": link("libllama.so"),
    "a link to a folder": link("../lib"),
    "a link to another's folder": link("{elsewhere}"),
    "a link that its RECORD names": make_a_link_of_a_header,
    "two dist-infos": lambda site: install(site, "0.3.9"),
    "a METADATA that is no text": with_file("METADATA", b"Version: \xff\n"),
    "no METADATA": without("METADATA"),
    "no RECORD of files": without("METADATA", "RECORD"),
    "no dist-info": lambda site: shutil.rmtree(site / INFO),
    "no WHEEL": without("WHEEL"),
    "a WHEEL of another form": with_file("WHEEL", b"Tag: py3\nTag: py3-none-../x\n\xff"),
    "a direct_url.json that is no JSON": with_file("direct_url.json", b"{\xff"),
    "a direct_url.json of another form": with_file("direct_url.json", b'{"dir_info": []}'),
    "a direct_url.json that is a list": with_file("direct_url.json", b"[1]"),
    "a RECORD that names a file elsewhere": add_a_row_to_record,
}


@pytest.mark.parametrize("state", STATES)
def test_a_build_in_any_state_is_exchanged_and_comes_back_byte_for_byte(place: Place, state: str) -> None:
    STATES[state](place.site)
    before = contents(place.folder)
    place.swapper().exchange([CPU])
    assert place.version() == NEW
    assert [path.name for path in place.site.glob("*.dist-info")] == [f"llama_cpp_python-{NEW}.dist-info"]
    assert not os.path.lexists(place.site / "llama_cpp/lib/link")
    assert place.swapper().undo().before == NEW
    shutil.rmtree(place.data)
    assert contents(place.folder) == before


def test_files_that_an_installer_linked_to_its_cache_come_back_though_the_cache_was_cleared(place: Place, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    names = ("llama_cpp/__init__.py", "llama_cpp/lib/libllama.so", f"{INFO}/METADATA")
    before = {name: (place.site / name).read_bytes() for name in names}
    for i, name in enumerate(names):
        (place.site / name).rename(cache / str(i))
        (place.site / name).symlink_to(cache / str(i))
    place.swapper().exchange([CPU])
    shutil.rmtree(cache)
    place.swapper().undo()
    assert {name: (place.site / name).read_bytes() for name in names} == before


def test_a_build_that_pip_made_of_a_kept_wheel_is_exchanged(place: Place) -> None:
    install_again_from_a_kept_wheel(place.site)
    place.swapper().exchange([CPU])
    assert place.swapper().undo().before == NEW
    assert place.version() == OLD


def test_a_folder_of_libraries_that_is_a_link_is_named_before_anything_is_fetched(place: Place) -> None:
    own = place.folder / "own-llama.cpp"
    (place.site / "llama_cpp/lib").rename(own)
    (place.site / "llama_cpp/lib").symlink_to(own)
    before = contents(place.folder)
    with pytest.raises(InstallationError, match=rf"llama_cpp/lib is a link to {own}: its files are that folder's"):
        place.swapper().exchange([CPU])
    assert {name: held for name, held in contents(place.folder).items() if not name.startswith("data")} == before


def kills(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch, *, of_undo: bool = False) -> Iterator[None]:
    """The place as a kill at each rename of an exchange, or of its undoing, leaves it, one after another."""
    if of_undo:
        place.swapper().exchange([CPU])
    move = os.replace
    states: list[Path] = []

    def watched(*arguments: str) -> None:
        states.append(shutil.copytree(place.folder, folder / f"state-{len(states)}", symlinks=True))
        move(*arguments)

    monkeypatch.setattr(os, "replace", watched)
    if of_undo:
        place.swapper().undo()
    else:
        place.swapper().exchange([CPU])
    monkeypatch.undo()
    assert len(states) > 10
    for state in states:
        shutil.rmtree(place.folder)
        shutil.copytree(state, place.folder, symlinks=True)
        yield


@pytest.mark.parametrize("state", ["a link to nothing", "a link to a folder", "two dist-infos", "no METADATA", "no dist-info"])
def test_a_build_in_any_state_comes_back_wherever_its_exchange_is_killed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    STATES[state](place.site)
    before = contents(place.site)
    for _ in kills(place, tmp_path, monkeypatch):
        place.swapper().mend()
        assert contents(place.site) == before


def spoil_the_wheel(place: Place) -> None:
    for wheel in place.data.rglob("*.whl"):
        wheel.write_bytes(b"rotten")


@pytest.mark.parametrize("state", ["a link to nothing", "two dist-infos", "no METADATA", "no dist-info", ""])
def test_what_lies_aside_comes_back_where_the_kept_wheel_is_damaged(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    STATES.get(state, void)(place.site)
    before = contents(place.site)
    told = []
    for _ in kills(place, tmp_path, monkeypatch):
        spoil_the_wheel(place)
        told.append(place.swapper().mend() or "")
        assert contents(place.site) == before
        assert place.swapper().mend() is None
    assert "whl cannot be read" in told[-1]
    assert "is back in its place" in told[-1]


def test_an_undo_that_was_killed_and_whose_wheel_is_damaged_leaves_the_build_that_it_was_to_undo(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for _ in kills(place, tmp_path, monkeypatch, of_undo=True):
        spoil_the_wheel(place)
        told.append(place.swapper().mend() or "")
        assert place.version() == NEW
        assert {"llama_cpp/__init__.py", "llama_cpp/of_the_new.py", "include/llama.h"} <= contents(place.site).keys()
        assert "llama_cpp/of_the_old.py" not in contents(place.site)
        assert place.swapper().mend() is None
    assert f"llama-cpp-python {OLD} is lost" in told[-1]


def test_what_lies_aside_comes_back_though_that_is_broken_off_too(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, move = contents(place.site), packages._move
    for n_moves, _ in enumerate(kills(place, tmp_path, monkeypatch)):
        spoil_the_wheel(place)
        left = [n_moves // 2]

        def refuse(source: Path, target: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise PermissionError(13, "Permission denied", str(source))
            move(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(packages, "_move", refuse)
            with suppress(InstallationError):
                place.swapper().mend()
        place.swapper().mend()
        assert contents(place.site) == before


def test_a_build_of_which_nothing_is_left_is_told_to_be_lost_and_what_is_there_stays(place: Place) -> None:
    place.swapper().exchange([CPU])
    after = contents(place.site)
    done = next(place.data.rglob("done.json"))
    done.rename(done.with_name("going.json"))
    spoil_the_wheel(place)
    assert f"llama-cpp-python {OLD} is lost" in (place.swapper().mend() or "")
    assert contents(place.site) == after


def test_a_wheel_that_is_damaged_anywhere_is_not_put_back_or_comes_back_byte_for_byte(place: Place, tmp_path: Path) -> None:
    before = contents(place.site)
    place.swapper().exchange([CPU])
    wheel = next(place.data.rglob("*.whl"))
    whole, after = wheel.read_bytes(), contents(place.site)
    refused = 0
    saved = shutil.copytree(place.folder, tmp_path / "saved", symlinks=True)
    for position in range(0, len(whole), 7):
        wheel.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            place.swapper().undo()
        except InstallationError:
            refused += 1
            assert contents(place.site) == after
            continue
        names = {name: (content, changed_ns) for name, (_, changed_ns, content) in contents(place.site).items()}
        assert names == {name: (content, changed_ns) for name, (_, changed_ns, content) in before.items()}
        shutil.rmtree(place.folder)
        shutil.copytree(saved, place.folder, symlinks=True)
    assert refused > len(whole) / 7 / 3


def test_a_kept_wheel_that_cannot_be_deleted_spoils_no_exchange(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = shutil.rmtree

    def refuse(path: Path, *, ignore_errors: bool = False) -> None:  # as on Windows, where a scanner holds it
        if not path.name.startswith("kept-"):
            delete(path, ignore_errors=ignore_errors)
        elif not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    place.swapper().exchange([CPU])
    place.run.pip = installing("0.3.41")
    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert place.swapper().exchange([CPU]).before == NEW
    assert place.version() == "0.3.41"
    monkeypatch.undo()
    assert place.swapper().undo().before == "0.3.41"
    assert place.version() == NEW
    assert not list(place.data.rglob("*.whl"))


def test_a_folder_of_ones_own_among_the_kept_wheels_is_no_hindrance(place: Place) -> None:
    place.swapper().exchange([CPU])
    folder = next(place.data.rglob("kept-1"))
    folder.with_name("kept-before").mkdir()
    assert "kept-2" in place.swapper().steps(CPU)[2]


def test_a_package_that_is_a_link_is_somebodys_source_and_left_alone(place: Place) -> None:
    source = place.folder / "source"
    (place.site / "llama_cpp").rename(source)
    (place.site / "llama_cpp").symlink_to(source, target_is_directory=True)
    before = contents(place.folder)
    with pytest.raises(InstallationError, match=r"llama_cpp is a link to .*source: its files are that folder's") as caught:
        place.swapper().exchange([CPU])
    assert caught.value.hint
    assert place.run.orders == []
    shutil.rmtree(place.data, ignore_errors=True)
    assert contents(place.folder) == before


def test_a_file_whose_name_no_wheel_can_hold_is_named(place: Place) -> None:
    (place.site / os.fsdecode(b"llama_cpp/caf\xe9.py")).touch()
    before = contents(place.site)
    with pytest.raises(InstallationError, match=r"caf.*has a name that no wheel can hold") as caught:
        place.swapper().exchange([CPU])
    assert caught.value.hint
    assert contents(place.site) == before


def test_an_undo_does_not_begin_where_an_exchange_was_broken_off(place: Place) -> None:
    place.swapper().exchange([CPU])
    done = next(place.data.rglob("done.json"))
    shutil.copy(done, done.with_name("going.json"))
    after = contents(place.site)
    with pytest.raises(InstallationError, match="broken off before"):
        place.swapper().undo()
    assert contents(place.site) == after


def test_a_failure_in_its_place_puts_links_back(place: Place) -> None:
    STATES["a link to nothing"](place.site)
    before = contents(place.site)
    place.run.tried = [None, Ended(-11)]
    with pytest.raises(TrialError):
        place.swapper().exchange([CPU])
    assert contents(place.site) == before
